#include "metadata/role_policy.hpp"

#include <algorithm>

namespace credlet::metadata {

bool glob_matches(std::string_view pattern, std::string_view text) {
    constexpr auto none = std::string_view::npos;
    std::size_t p = 0, t = 0;
    std::size_t star = none, resume = 0; // the last '*' and where its run would grow to next
    while (t < text.size()) {
        if (p < pattern.size() && pattern[p] == '*') {
            star = p++;
            resume = t;
        } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
            ++p;
            ++t;
        } else if (star != none) {
            p = star + 1;
            t = ++resume;
        } else {
            return false;
        }
    }
    while (p < pattern.size() && pattern[p] == '*')
        ++p;
    return p == pattern.size();
}

bool role_allowed(const std::optional<std::vector<role_rule>>& policy, std::string_view namespace_name,
                  std::string_view role_arn) {
    if (!policy)
        return true;
    return std::any_of(policy->begin(), policy->end(), [&](const role_rule& rule) {
        return glob_matches(rule.namespace_glob, namespace_name) &&
               std::any_of(rule.role_globs.begin(), rule.role_globs.end(),
                           [&](const std::string& glob) { return glob_matches(glob, role_arn); });
    });
}

} // namespace credlet::metadata
