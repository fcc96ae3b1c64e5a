#pragma once
// What the annotations of a service account ask for.
//
// Prefixes are tried in order, and the first under which there is a role-arn decides: role-arn and audience
// are taken from it together, never one from here and one from there. The other keys are credlet's own and
// are read under the first configured prefix alone, whichever prefix names the role.
//
//   <prefix>role-arn                   the role: a full ARN, or a bare name where a base is configured
//   <prefix>audience                   of the token that STS is given
//   <first prefix>session-duration     seconds, 900 to 43200 (with a target role at most 3600, an STS limit)
//   <first prefix>target-role-arn      role chaining: assumed with the first role's credentials
//   <first prefix>external-id          for the target role
//   <first prefix>additional-role-arns further roles, by comma or white space, that may be asked for by name
//
// In that list a bare name ends at any comma. An ARN, whose path and name may hold commas, ends at one only
// where white space, another comma, the end or "arn:" follows; so a role with a comma in its name is given by
// its ARN.
//
// Annotations are written by whoever may edit the service account, so every value is checked against its
// grammar before it goes anywhere.

#include "metadata/objects.hpp"
#include "runtime/error.hpp"

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace credlet::metadata {

struct role_request {
    std::string role_arn;
    std::string audience;
    std::chrono::seconds duration{3600};
    std::string target_role_arn; // empty: none
    std::string external_id;     // empty: none
    std::vector<std::string> additional_role_arns;
};

struct annotation_rules {
    std::span<const std::string> prefixes;
    std::string_view default_audience;
    std::string_view role_arn_base; // empty: bare names are refused
};

inline constexpr std::size_t max_additional_roles = 16;

// None: no role-arn under any prefix. The error names the annotation and what is wrong with it.
result<std::optional<role_request>>
read_role_annotations(std::span<const std::pair<std::string, std::string>> annotations,
                      const annotation_rules& rules);

} // namespace credlet::metadata
