#pragma once
// The closed sets of label values. Each ends in "other", which stands for every value that is not in it:
// nothing that comes from outside (a path, a status, a code of STS) can make a new series.

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <string_view>

namespace credlet::metrics {

using label_set = std::span<const std::string_view>;

// The position of the value, or of "other".
constexpr std::size_t position_in(label_set values, std::string_view value) {
    const auto found = std::find(values.begin(), values.end() - 1, value);
    return static_cast<std::size_t>(found - values.begin());
}

inline constexpr std::array<std::string_view, 3> protocols{"ecs", "imds", "other"};
inline constexpr std::array<std::string_view, 3> outcomes{"hit", "wait", "error"};
inline constexpr std::array<std::string_view, 17> status_codes{"200", "204", "400", "401", "403",  "404",
                                                               "405", "408", "413", "414", "429",  "431",
                                                               "500", "502", "503", "505", "other"};

// Why a request or a connection was turned away.
inline constexpr std::array<std::string_view, 43> rejection_reasons{
    // the HTTP server: connections
    "peer_limit", "server_full", "head_timeout", "idle_timeout", "write_timeout", "request_timeout",
    "evicted", "accept_failed",
    // the HTTP server: requests that are not well-formed
    "bad_request_line", "bad_header", "bad_host", "has_body", "bad_version", "too_many_headers",
    "head_too_large",
    // the service: how it was asked
    "forwarded", "browser", "wrong_host", "unknown_path", "wrong_method", "bad_ttl",
    // the service: who asked
    "missing_token", "bad_token_form", "bad_token", "pod_not_here", "identity_mismatch", "identity_changed",
    "unknown_address", "host_network", "address_conflict", "mirror_pod", "bad_session",
    // the service: what for
    "no_role", "bad_annotation", "foreign_role", "role_policy", "denied_by_sts",
    // the service: how much, and what it lacks itself
    "rate_limit", "bad_token_limit", "too_many_waiting", "not_synced", "unavailable", "other"};

// Names of errc, for results that failed below the answer's meaning.
inline constexpr std::array<std::string_view, 19> plain_results{
    "ok",         "cancelled",       "timed_out", "resolve_failed", "connect_failed",
    "tls_failed", "connection_lost", "too_large", "malformed",      "overloaded",
    "not_found",  "denied",          "rejected",  "throttled",      "unavailable",
    "untrusted",  "io_failed",       "internal",  "other"};

inline constexpr std::array<std::string_view, 10> refresh_results{
    "ok",       "transient", "throttled", "token_rejected", "denied", "misconfigured",
    "unusable", "no_token",  "cancelled", "other"};

inline constexpr std::array<std::string_view, 3> sts_operations{"AssumeRoleWithWebIdentity", "AssumeRole",
                                                                "other"};
// https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html and the errors of the two operations.
inline constexpr std::array<std::string_view, 45> sts_results{
    "ok",
    // STS's own codes
    "AccessDenied", "AccessDeniedException", "ExpiredToken", "ExpiredTokenException", "IDPCommunicationError",
    "IDPRejectedClaim", "IncompleteSignature", "InternalFailure", "InvalidAction", "InvalidClientTokenId",
    "InvalidIdentityToken", "InvalidParameterValue", "MalformedPolicyDocument", "MissingParameter",
    "NotAuthorized", "OptInRequired", "PackedPolicyTooLarge", "RegionDisabledException", "RequestExpired",
    "RequestLimitExceeded", "ServiceUnavailable", "SignatureDoesNotMatch", "Throttling",
    "ThrottlingException", "TooManyRequestsException", "ValidationError",
    // answers that cannot be used
    "ExpiredCredentials", "WrongRole",
    // below HTTP: names of errc
    "timed_out", "resolve_failed", "connect_failed", "tls_failed", "connection_lost", "too_large",
    "malformed", "overloaded", "unavailable", "rejected", "denied", "throttled", "cancelled", "io_failed",
    "internal", "other"};

inline constexpr std::array<std::string_view, 6> token_sources{"caller",    "impersonate", "request",
                                                               "projected", "file",        "other"};
inline constexpr std::array<std::string_view, 9> restart_reasons{
    "closed", "expired", "throttled", "denied", "unavailable", "connection", "idle", "decode", "other"};
inline constexpr std::array<std::string_view, 5> pod_states{"live", "terminating", "terminal", "host_network",
                                                            "other"};
inline constexpr std::array<std::string_view, 4> pod_listener_states{"listening", "waiting", "failed",
                                                                     "other"};
inline constexpr std::array<std::string_view, 7> pod_listener_failures{
    "port_taken", "wrong_addresses", "shared_namespace", "limit", "denied", "io", "other"};
inline constexpr std::array<std::string_view, 3> reloaded_things{"token", "ca", "other"};

} // namespace credlet::metrics
