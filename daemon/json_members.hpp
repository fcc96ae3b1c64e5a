#pragma once
// Strict reading of JSON files that people write: what is misspelt or of another type is refused, with its
// place.

#include "runtime/json.hpp"

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace credlet::app {

// Refuses what is no object, a member that is not known, and one that stands there twice. `where` begins the
// message.
result<void> only_members(simdjson::dom::element object, std::initializer_list<std::string_view> known,
                          const std::string& where);
// Missing: none. Of another type, empty, or with a control character: an error.
result<std::optional<std::string>> text_member(simdjson::dom::element object, std::string_view member,
                                               const std::string& where);
// Missing: empty.
result<std::vector<std::string>> string_list(simdjson::dom::element object, std::string_view member,
                                             const std::string& where);
// Missing: false.
result<bool> bool_member(simdjson::dom::element object, std::string_view member, const std::string& where);

} // namespace credlet::app
