#include "daemon/json_members.hpp"
#include "daemon/option_values.hpp"
#include "daemon/pods_file.hpp"
#include "runtime/canonical_address.hpp"

#include <algorithm>
#include <set>

namespace credlet::app {

namespace {

constexpr std::size_t max_bytes = 16 * 1024 * 1024;

// Entries are reported as "pod 3" while they have no name.
std::string entry_name(std::string_view kind, std::size_t number) {
    return std::string(kind) + " " + std::to_string(number);
}

struct object_name {
    std::string namespace_name, name, uid;
};

result<std::string> dns_name(simdjson::dom::element object, std::string_view member,
                             const std::string& where) {
    auto text = text_member(object, member, where);
    if (!text)
        return text.error();
    auto name = parse_dns_name(text->value_or(""));
    if (!name)
        return fail(errc::malformed, where + ": '" + std::string(member) + "' " + name.error().message);
    return name;
}

result<object_name> read_name(simdjson::dom::element object, const std::string& where) {
    object_name n;
    auto namespace_name = dns_name(object, "namespace", where);
    if (!namespace_name)
        return namespace_name.error();
    auto name = dns_name(object, "name", where);
    if (!name)
        return name.error();
    auto uid = text_member(object, "uid", where);
    if (!uid)
        return uid.error();
    n.namespace_name = std::move(*namespace_name);
    n.name = std::move(*name);
    n.uid = uid->value_or(n.namespace_name + "/" + n.name);
    return n;
}

result<metadata::pod> read_pod(simdjson::dom::element object, const std::string& where,
                               const std::string& node_name) {
    if (auto known = only_members(
            object, {"namespace", "name", "uid", "serviceAccount", "addresses", "hostNetwork"}, where);
        !known)
        return known.error();
    auto name = read_name(object, where);
    if (!name)
        return name.error();
    auto account = dns_name(object, "serviceAccount", where);
    if (!account)
        return account.error();
    const auto host_network = bool_member(object, "hostNetwork", where);
    if (!host_network)
        return host_network.error();
    const auto addresses = string_list(object, "addresses", where);
    if (!addresses)
        return addresses.error();

    metadata::pod p;
    p.namespace_name = std::move(name->namespace_name);
    p.name = std::move(name->name);
    p.uid = std::move(name->uid);
    p.service_account = std::move(*account);
    p.node_name = node_name;
    p.host_network = *host_network;
    for (const auto& text : *addresses) {
        boost::system::error_code problem;
        const auto address = asio::ip::make_address(text, problem);
        if (problem)
            return fail(errc::malformed, where + ": an entry of 'addresses' is no IP address");
        p.addresses.push_back(canonical(address));
    }
    return p;
}

result<metadata::service_account> read_account(simdjson::dom::element object, const std::string& where,
                                               const std::vector<std::string>& prefixes) {
    if (auto known = only_members(object, {"namespace", "name", "uid", "annotations", "tokenFile"}, where);
        !known)
        return known.error();
    auto name = read_name(object, where);
    if (!name)
        return name.error();
    metadata::service_account a;
    a.namespace_name = std::move(name->namespace_name);
    a.name = std::move(name->name);
    a.uid = std::move(name->uid);
    if (const auto annotations = json_member(object, "annotations")) {
        simdjson::dom::object members;
        if (annotations->get(members) != simdjson::SUCCESS)
            return fail(errc::malformed, where + ": 'annotations' is not an object");
        for (const auto member : members) {
            std::string_view value;
            if (member.value.get(value) != simdjson::SUCCESS)
                return fail(errc::malformed, where + ": the values of 'annotations' must be texts");
            if (std::any_of(prefixes.begin(), prefixes.end(),
                            [&](const std::string& prefix) { return member.key.starts_with(prefix); }))
                a.annotations.emplace_back(member.key, value);
        }
        std::sort(a.annotations.begin(), a.annotations.end());
        const auto same = std::adjacent_find(a.annotations.begin(), a.annotations.end(),
                                             [](const auto& x, const auto& y) { return x.first == y.first; });
        if (same != a.annotations.end())
            return fail(errc::malformed, where + ": an annotation stands there twice");
    }
    return a;
}

result<simdjson::dom::array> list_member(simdjson::dom::element root, std::string_view member) {
    simdjson::dom::array list;
    const auto found = json_member(root, member);
    if (!found || found->get(list) != simdjson::SUCCESS)
        return fail(errc::malformed, "there is no list '" + std::string(member) + "'");
    return list;
}

std::string beside(const std::string& directory, const std::string& file) {
    return file.empty() || file.front() == '/' ? file : directory + "/" + file;
}

// Two objects with one name, or one uid, cannot both be meant.
template <class Object>
result<void> all_different(const std::vector<Object>& objects, std::string_view kind) {
    std::set<std::string_view> uids;
    std::set<std::pair<std::string_view, std::string_view>> names;
    for (const auto& object : objects)
        if (!uids.insert(object.uid).second || !names.emplace(object.namespace_name, object.name).second)
            return fail(errc::malformed, std::string(kind) + " " + object.namespace_name + "/" + object.name +
                                             " stands there twice, by name or by uid");
    return {};
}

} // namespace

result<static_cluster> parse_pods_file(std::string_view json, const std::string& directory,
                                       const std::string& node_name,
                                       const std::vector<std::string>& annotation_prefixes) {
    const auto document = json_document::parse(json, max_bytes);
    if (!document)
        return document.error();
    const auto root = document->root();
    if (auto known = only_members(root, {"pods", "serviceAccounts", "issuer", "jwksFile"}, "the pods file");
        !known)
        return known.error();

    static_cluster all;
    const auto pods = list_member(root, "pods");
    if (!pods)
        return pods.error();
    for (const auto object : *pods) {
        auto pod = read_pod(object, entry_name("pod", all.pods.size() + 1), node_name);
        if (!pod)
            return pod.error();
        all.pods.push_back(std::move(*pod));
    }
    const auto accounts = list_member(root, "serviceAccounts");
    if (!accounts)
        return accounts.error();
    for (const auto object : *accounts) {
        const auto where = entry_name("service account", all.service_accounts.size() + 1);
        auto account = read_account(object, where, annotation_prefixes);
        if (!account)
            return account.error();
        const auto token_file = text_member(object, "tokenFile", where);
        if (!token_file)
            return token_file.error();
        all.service_accounts.push_back(std::move(*account));
        all.token_files.push_back(beside(directory, token_file->value_or("")));
    }
    if (auto different = all_different(all.pods, "pod"); !different)
        return different.error();
    if (auto different = all_different(all.service_accounts, "service account"); !different)
        return different.error();
    const auto issuer = text_member(root, "issuer", "the pods file");
    if (!issuer)
        return issuer.error();
    const auto jwks = text_member(root, "jwksFile", "the pods file");
    if (!jwks)
        return jwks.error();
    all.issuer = issuer->value_or("");
    all.jwks_file = beside(directory, jwks->value_or(""));
    if (!all.jwks_file.empty() && all.issuer.empty())
        return fail(errc::malformed, "with 'jwksFile', 'issuer' must say whose tokens its keys sign");
    return all;
}

} // namespace credlet::app
