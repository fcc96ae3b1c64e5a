#include "daemon/link_command.hpp"

#include <cerrno>
#include <ostream>

namespace credlet::app {

namespace {

struct chosen_link {
    std::string name;
    link_state state;
};

std::string explained(const kernel_refusal& refusal) {
    std::string text = refusal.why;
    if (refusal.number == EPERM)
        text +=
            "; it takes the capability NET_ADMIN, in the network namespace of the node (hostNetwork: true)";
    return text;
}

error refusal_to(const std::string& what, const kernel_refusal& refusal) {
    return fail(errc::io_failed, "cannot " + what + ": " + explained(refusal));
}

result<chosen_link> use(const std::string& name, link_state state) {
    if (state.kind != "dummy" && !state.loopback)
        return fail(errc::io_failed,
                    "there is a link " + name + " already, and it is " +
                        (state.kind.empty() ? std::string("a device") : "of kind " + state.kind) +
                        "; take another --name");
    return chosen_link{name, std::move(state)};
}

result<chosen_link> loopback(links& node) {
    auto found = node.find("lo");
    if (!found)
        return refusal_to("find the link lo", found.error());
    return use("lo", std::move(*found));
}

result<chosen_link> find_or_make(links& node, const std::string& name, std::ostream& out) {
    auto found = node.find(name);
    if (!found && found.error().number == ENODEV) {
        const auto made = node.make_dummy(name);
        if (made)
            out << name << ": made\n";
        else if (made.error().number == EOPNOTSUPP) {
            out << name
                << ": not made, as this kernel has no dummy links (module dummy); the addresses go on lo\n";
            return loopback(node);
        } else if (made.error().number != EEXIST) // somebody else has made it just now
            return refusal_to("make the link " + name, made.error());
        found = node.find(name);
    }
    if (!found)
        return refusal_to("find the link " + name, found.error());
    return use(name, std::move(*found));
}

bool switched_off(const asio::ip::address& address, const kernel_refusal& refusal) {
    return address.is_v6() &&
           (refusal.number == EACCES || refusal.number == EOPNOTSUPP || refusal.number == EAFNOSUPPORT);
}

result<void> put_all(links& node, const link_options& o, std::ostream& out) {
    const auto link = find_or_make(node, o.name, out);
    if (!link)
        return link.error();
    std::size_t there = 0;
    for (const auto& address : o.addresses) {
        const auto text = address.to_string() + (address.is_v4() ? "/32" : "/128");
        const auto added = node.add_address(link->state.index, address);
        const bool off = !added && switched_off(address, added.error());
        if (!added && !off && added.error().number != EEXIST)
            return refusal_to("add " + text + " to " + link->name, added.error());
        there += off ? 0 : 1;
        out << link->name << ": " << text
            << (off     ? " left out, as this node has IPv6 switched off"
                : added ? " added"
                        : " is there already")
            << "\n";
    }
    if (there == 0)
        return fail(errc::io_failed, "no address is left that pods could ask; give an IPv4 --address");
    if (!link->state.up)
        if (const auto up = node.set_up(link->state.index); !up)
            return refusal_to("bring " + link->name + " up", up.error());
    out << link->name << (link->state.up ? ": is up already\n" : ": up\n");
    return {};
}

} // namespace

int put_addresses(links& node, const link_options& o, std::ostream& out, std::ostream& err) {
    const auto done = put_all(node, o, out);
    if (done)
        return 0;
    err << "credlet link: " << done.error().message << "\n";
    return 1;
}

int run_link(const link_options& o, std::ostream& out, std::ostream& err) {
    const auto node = open_links();
    if (node)
        return put_addresses(**node, o, out, err);
    err << "credlet link: " << node.error().message << "\n";
    return 1;
}

} // namespace credlet::app
