#pragma once
// Which namespaces may use which roles, where an operator limits that beyond what IAM's trust policies do.
// Globs are anchored at both ends and match the whole text: "dev/*" matches no ARN at all, and "…:role/a" not
// "…:role/ab".

#include "metadata/service.hpp"

#include <optional>
#include <string_view>
#include <vector>

namespace credlet::metadata {

// '*' is any run of characters (also '/' and ':'), '?' any single one, everything else itself. Linear in the
// text for every '*', whatever the pattern.
[[nodiscard]] bool glob_matches(std::string_view pattern, std::string_view text);

// Without a policy every role is allowed. With one, some rule whose namespace glob matches must have a role
// glob that matches the full ARN.
[[nodiscard]] bool role_allowed(const std::optional<std::vector<role_rule>>& policy,
                                std::string_view namespace_name, std::string_view role_arn);

} // namespace credlet::metadata
