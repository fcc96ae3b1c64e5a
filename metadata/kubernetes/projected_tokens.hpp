#pragma once
// Tokens that the kubelet projects into pods, read from its directory on the host.
// <pods dir>/<pod uid>/volumes/kubernetes.io~projected/<volume>/<path>, where <path> is a symlink into a
// directory that is replaced as a whole when the token is renewed: every read opens anew.

#include "runtime/clock.hpp"
#include "runtime/error.hpp"
#include "runtime/secret.hpp"

#include <string>

namespace credlet::metadata::kubernetes {

struct projected_token {
    secret_string jwt;
    wall_time expires;
};

// The longest-lived token of the pod for the audience, chosen by what the tokens say of themselves (nobody
// but the kubelet writes there). errc::not_found: there is none, errc::io_failed: the directory cannot be
// read.
result<projected_token> read_projected_token(const std::string& pods_dir, const std::string& pod_uid,
                                             const std::string& audience, wall_time now);

} // namespace credlet::metadata::kubernetes
