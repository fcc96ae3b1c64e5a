#pragma once
// The role policy file: which namespaces may use which roles, beyond what IAM says.
//
//   {"rules": [{"namespaces": ["team-a-*"], "roles": ["arn:aws:iam::123456789012:role/team-a/*"]}]}
//
// Globs are anchored: '*' is any run of characters, '?' any one, and there is no escaping: where the path of
// a role holds a '*' or '?' of its own, it can only be matched as the wildcard it is. A role must be allowed
// by some rule; an empty list of rules allows none. Unknown members are refused, because a misspelt rule
// would not limit anything.

#include "metadata/service.hpp"
#include "runtime/error.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace credlet::app {

result<std::vector<metadata::role_rule>> parse_role_policy(std::string_view json);
// Of at most 1 MiB. The message names the file.
result<std::vector<metadata::role_rule>> read_role_policy(const std::string& path);

} // namespace credlet::app
