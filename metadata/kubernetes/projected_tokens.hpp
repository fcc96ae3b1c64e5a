#pragma once
// Tokens that the kubelet projects into pods, read from its directory on the host.
// <pods dir>/<pod uid>/volumes/kubernetes.io~projected/<volume>/<path>, where <path> is a symlink into a
// directory that is replaced as a whole when the token is renewed: every read opens anew.
//
// A token's file belongs to the user that the pod runs as, and to nobody else where that is configured; and
// SELinux labels it as the pod's own. Reading it takes root or CAP_DAC_READ_SEARCH, and type spc_t.

#include "runtime/clock.hpp"
#include "runtime/error.hpp"
#include "runtime/secret.hpp"

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace credlet::metadata::kubernetes {

struct projected_token {
    secret_string jwt;
    wall_time expires;
};

// What a genuine token says of itself.
struct expected_claims {
    std::string pod_uid;
    std::string namespace_name, service_account, service_account_uid;
    std::string audience;
    std::function<bool(std::string_view issuer)> issuer_may_be;
};

// The kubelet renews tokens after 24 hours at the latest; one that claims to live longer is none of its own.
inline constexpr std::chrono::hours longest_projected_life{25};

// The pod's tokens, the longest-lived first. Signatures are not checked, that is for STS to do; and a
// projected volume may also hold what somebody wrote into a ConfigMap, so several may look right of which one
// is. Never empty: errc::not_found where there is none, errc::io_failed where something could not be read.
result<std::vector<projected_token>> read_projected_tokens(const std::string& pods_dir,
                                                           const expected_claims& expected, wall_time now);

} // namespace credlet::metadata::kubernetes
