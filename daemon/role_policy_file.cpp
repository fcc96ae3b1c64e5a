#include "daemon/role_policy_file.hpp"

#include "daemon/json_members.hpp"
#include "runtime/file.hpp"

#include <algorithm>

namespace credlet::app {

namespace {

constexpr std::size_t max_bytes = 1024 * 1024;
constexpr std::size_t longest_glob = 2048;

bool is_plain(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("-_.:/+=,@*?").find(c) != std::string_view::npos;
}
bool is_visible(char c) { return c >= '!' && c <= '~'; }

// No rule may silently match nothing because of a stray space or a regular expression's anchors. Only within
// its path does a role's ARN have other characters than plain ones.
bool glob_like(std::string_view glob, bool (*within)(char)) {
    return !glob.empty() && glob.size() <= longest_glob && is_plain(glob.front()) && is_plain(glob.back()) &&
           std::all_of(glob.begin(), glob.end(), within);
}

result<std::vector<std::string>> globs(simdjson::dom::element rule, std::string_view member,
                                       bool (*within)(char), const std::string& where) {
    auto all = string_list(rule, member, where);
    if (!all)
        return all;
    if (all->empty())
        return fail(errc::malformed, where + ": '" + std::string(member) + "' is missing or empty");
    for (const auto& glob : *all)
        if (!glob_like(glob, within))
            return fail(errc::malformed,
                        where + ": an entry of '" + std::string(member) +
                            "' is no glob of letters, digits, -_.:/+=,@ and * or ?" +
                            (within == is_visible ? "; other visible characters only inside" : ""));
    return all;
}

} // namespace

result<std::vector<metadata::role_rule>> parse_role_policy(std::string_view json) {
    const auto document = json_document::parse(json, max_bytes);
    if (!document)
        return document.error();
    if (auto known = only_members(document->root(), {"rules"}, "the role policy"); !known)
        return known.error();
    const auto rules = json_member(document->root(), "rules");
    simdjson::dom::array list;
    if (!rules || rules->get(list) != simdjson::SUCCESS)
        return fail(errc::malformed, "the role policy has no list 'rules'");

    std::vector<metadata::role_rule> all;
    std::size_t number = 0;
    for (const auto rule : list) {
        const auto where = "rule " + std::to_string(++number);
        if (auto known = only_members(rule, {"namespaces", "roles"}, where); !known)
            return known.error();
        auto namespaces = globs(rule, "namespaces", is_plain, where);
        if (!namespaces)
            return namespaces.error();
        auto roles = globs(rule, "roles", is_visible, where);
        if (!roles)
            return roles.error();
        for (auto& name : *namespaces)
            all.push_back({std::move(name), *roles});
    }
    return all;
}

result<std::vector<metadata::role_rule>> read_role_policy(const std::string& path) {
    const auto text = read_file(path, max_bytes);
    if (!text)
        return in_context("role policy file", text.error());
    auto rules = parse_role_policy(*text);
    if (!rules)
        return in_context("role policy file " + path, rules.error());
    return rules;
}

} // namespace credlet::app
