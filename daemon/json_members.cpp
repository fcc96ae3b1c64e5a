#include "daemon/json_members.hpp"

#include <algorithm>
#include <set>

namespace credlet::app {

namespace {

bool printable(std::string_view text) {
    return std::none_of(text.begin(), text.end(),
                        [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

// A name for a message, whatever is in it.
std::string shown(std::string_view text) {
    std::string name = "'";
    for (const char c : text.substr(0, 100))
        name.push_back(printable({&c, 1}) ? c : '?');
    return name + "'";
}

} // namespace

result<void> only_members(simdjson::dom::element object, std::initializer_list<std::string_view> known,
                          const std::string& where) {
    simdjson::dom::object members;
    if (object.get(members) != simdjson::SUCCESS)
        return fail(errc::malformed, where + " is not an object");
    std::set<std::string_view> seen;
    for (const auto member : members) {
        if (std::find(known.begin(), known.end(), member.key) == known.end())
            return fail(errc::malformed, where + " has an unknown member " + shown(member.key));
        if (!seen.insert(member.key).second)
            return fail(errc::malformed, where + " has the member " + shown(member.key) + " twice");
    }
    return {};
}

result<std::optional<std::string>> text_member(simdjson::dom::element object, std::string_view member,
                                               const std::string& where) {
    const auto found = json_member(object, member);
    if (!found)
        return std::optional<std::string>();
    std::string_view text;
    if (found->get(text) != simdjson::SUCCESS || text.empty() || !printable(text))
        return fail(errc::malformed,
                    where + ": '" + std::string(member) + "' must be a text that is not empty");
    return std::optional<std::string>(text);
}

result<std::vector<std::string>> string_list(simdjson::dom::element object, std::string_view member,
                                             const std::string& where) {
    std::vector<std::string> all;
    const auto found = json_member(object, member);
    if (!found)
        return all;
    simdjson::dom::array list;
    if (found->get(list) != simdjson::SUCCESS)
        return fail(errc::malformed, where + ": '" + std::string(member) + "' must be a list of texts");
    for (const auto entry : list) {
        std::string_view text;
        if (entry.get(text) != simdjson::SUCCESS || text.empty() || !printable(text))
            return fail(errc::malformed, where + ": '" + std::string(member) + "' must be a list of texts");
        all.emplace_back(text);
    }
    return all;
}

result<bool> bool_member(simdjson::dom::element object, std::string_view member, const std::string& where) {
    const auto found = json_member(object, member);
    if (!found)
        return false;
    bool value = false;
    if (found->get(value) != simdjson::SUCCESS)
        return fail(errc::malformed, where + ": '" + std::string(member) + "' must be true or false");
    return value;
}

} // namespace credlet::app
