#include "daemon/link_command.hpp"

#include <doctest/doctest.h>

#include <cerrno>
#include <map>
#include <set>
#include <sstream>

using namespace credlet;
using namespace credlet::app;

namespace {

kernel_refusal no(int number) { return {number, std::system_category().message(number)}; }

// A node whose links are a table.
struct table_of_links final : links {
    kernel_result<link_state> find(const std::string& name) override {
        const auto found = by_name.find(name);
        if (found == by_name.end())
            return no(ENODEV);
        return found->second;
    }
    kernel_result<void> make_dummy(const std::string& name) override {
        if (refuses_to_make != 0)
            return no(refuses_to_make);
        if (somebody_else_is_faster)
            by_name[name] = {7, "dummy", false, false};
        if (by_name.contains(name))
            return no(EEXIST);
        by_name[name] = {7, "dummy", false, false};
        return {};
    }
    kernel_result<void> add_address(int link, const asio::ip::address& address) override {
        if (address.is_v6() && ipv6_refused_with != 0)
            return no(ipv6_refused_with);
        if (refuses_addresses != 0)
            return no(refuses_addresses);
        if (!addresses.emplace(link, address).second)
            return no(EEXIST);
        return {};
    }
    kernel_result<void> set_up(int link) override {
        for (auto& [name, state] : by_name)
            if (state.index == link)
                state.up = true;
        return {};
    }

    std::map<std::string, link_state> by_name{{"lo", {1, "", true, true}}, {"eth0", {2, "", false, true}}};
    std::set<std::pair<int, asio::ip::address>> addresses;
    int refuses_to_make = 0, ipv6_refused_with = 0, refuses_addresses = 0;
    bool somebody_else_is_faster = false;
};

struct outputs {
    int code;
    std::string out, err;
};

const auto v4 = asio::ip::make_address("169.254.170.23");
const auto v6 = asio::ip::make_address("fd00:ec2::23");

outputs link(table_of_links& node, const std::string& name = "credlet0",
             std::vector<asio::ip::address> addresses = {v4, v6}) {
    std::ostringstream out, err;
    const int code = put_addresses(node, {name, std::move(addresses)}, out, err);
    return {code, out.str(), err.str()};
}

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

} // namespace

TEST_CASE("a link is made with its addresses, and found as it is the next time") {
    table_of_links node;
    auto done = link(node);
    CHECK(done.code == 0);
    CHECK(done.out == "credlet0: made\n"
                      "credlet0: 169.254.170.23/32 added\n"
                      "credlet0: fd00:ec2::23/128 added\n"
                      "credlet0: up\n");
    CHECK(node.by_name["credlet0"].up);
    CHECK(node.addresses == std::set{std::pair(7, v4), std::pair(7, v6)});
    done = link(node);
    CHECK(done.code == 0);
    CHECK(done.out == "credlet0: 169.254.170.23/32 is there already\n"
                      "credlet0: fd00:ec2::23/128 is there already\n"
                      "credlet0: is up already\n");
    CHECK(done.err.empty());
}

TEST_CASE("what a run that was cut short has left is completed") {
    table_of_links node;
    node.by_name["credlet0"] = {7, "dummy", false, false};
    node.addresses.emplace(7, v4);
    CHECK(link(node).out == "credlet0: 169.254.170.23/32 is there already\n"
                            "credlet0: fd00:ec2::23/128 added\n"
                            "credlet0: up\n");
}

TEST_CASE("two that make the link at the same moment both find it") {
    table_of_links node;
    node.somebody_else_is_faster = true;
    const auto done = link(node);
    CHECK(done.code == 0);
    CHECK_FALSE(holds(done.out, "made"));
}

TEST_CASE("somebody else's link is left alone") {
    table_of_links node;
    node.by_name["br0"] = {3, "bridge", false, true};
    auto done = link(node, "br0");
    CHECK(done.code == 1);
    CHECK(holds(done.err, "br0 already, and it is of kind bridge; take another --name"));
    CHECK(link(node, "eth0").code == 1);
    CHECK(node.addresses.empty());
}

TEST_CASE("without dummy links the loopback serves, also when it is asked for") {
    table_of_links node;
    node.refuses_to_make = EOPNOTSUPP;
    const auto done = link(node);
    CHECK(done.code == 0);
    CHECK(holds(done.out, "module dummy"));
    CHECK(node.addresses == std::set{std::pair(1, v4), std::pair(1, v6)});
    CHECK(link(node, "lo").code == 0);
}

TEST_CASE("IPv6 that is switched off costs its addresses only") {
    for (const int number : {EACCES, EOPNOTSUPP, EAFNOSUPPORT}) {
        table_of_links node;
        node.ipv6_refused_with = number;
        const auto done = link(node);
        CHECK(done.code == 0);
        CHECK(holds(done.out, "fd00:ec2::23/128 left out, as this node has IPv6 switched off"));
        CHECK(node.addresses == std::set{std::pair(7, v4)});

        const auto nothing_left = link(node, "credlet0", {v6});
        CHECK(nothing_left.code == 1);
        CHECK(holds(nothing_left.err, "give an IPv4 --address"));
    }
}

TEST_CASE("a refusal says what is missing") {
    table_of_links node;
    node.refuses_to_make = EPERM;
    CHECK(holds(link(node).err,
                "cannot make the link credlet0: Operation not permitted; it takes the capability "
                "NET_ADMIN"));
    table_of_links full;
    full.refuses_addresses = ENOBUFS;
    const auto done = link(full);
    CHECK(done.code == 1);
    CHECK(holds(done.err, "cannot add 169.254.170.23/32 to credlet0: "));
}
