#pragma once
// What credentials are asked for, what they are, and how asking fails.

#include "runtime/clock.hpp"
#include "runtime/error.hpp"
#include "runtime/secret.hpp"

#include <array>
#include <chrono>
#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace credlet::sts {

// SHA-256 over every field that makes two requests for credentials different, each with its length before it.
// Never an address, never the role alone, never the token.
struct credential_key {
    std::array<std::uint8_t, 32> digest{};
    friend auto operator<=>(const credential_key&, const credential_key&) = default;
};

inline constexpr std::chrono::seconds default_duration{3600};
inline constexpr std::chrono::seconds min_duration{900};
inline constexpr std::chrono::seconds max_duration{43200};

// Credentials are served until this long before they expire, and not taken with no more life than that.
inline constexpr std::chrono::seconds serve_until_before_expiry{60};

// One set of credentials somebody is entitled to.
struct credential_spec {
    // Whose web identity is traded: part of the key.
    std::string service_account_uid;
    std::string pod_uid; // only where sessions are per pod; else empty
    // What for: part of the key.
    std::string role_arn;
    std::string target_role_arn; // role chaining: assumed with role_arn's credentials; empty: none
    std::string external_id;     // for the target role; empty: none
    std::string audience;
    std::chrono::seconds duration = default_duration;
    // For people and CloudTrail: not part of the key.
    std::string namespace_name;
    std::string service_account;
    std::string session_name; // within STS's rules already (make_session_name)

    [[nodiscard]] credential_key key() const;
    // The role whose credentials come out: the target role where there is one.
    [[nodiscard]] const std::string& final_role_arn() const {
        return target_role_arn.empty() ? role_arn : target_role_arn;
    }
    // Of STS: role chaining takes two.
    [[nodiscard]] unsigned calls_needed() const { return target_role_arn.empty() ? 1 : 2; }
};

// RoleSessionName is 2 to 64 of [\w+=,.@-]. A wanted name within that stays as it is. In any other, what is
// not allowed becomes '-', what is too long is cut, and a hash of the whole goes at the end: two names that
// had to be changed stay different.
std::string make_session_name(std::string_view wanted);

// A role ARN, taken apart. Grammar: arn:PARTITION:iam::ACCOUNT:role/PATH/NAME; 20 to 2048 characters, 12
// digits, a path of at most 512 characters from '!' to '~' without empty parts, a name of 1 to 64 of
// [\w+=,.@-]. The path can hold '%', '"', '<' and the like: encode it for wherever it goes.
struct role_arn {
    std::string partition, account;
    std::string path; // "/", or "/team/": with both its slashes, as IAM has it
    std::string name;
    static result<role_arn> parse(std::string_view arn);
};

struct credentials {
    std::string access_key_id; // not secret by AWS's own rules; still logged only in the audit line
    secret_string secret_access_key;
    secret_string session_token;
    wall_time expiration; // as STS said
    wall_time issued;     // our wall clock when the answer came
    boot_time fetched;    // our boot clock when the answer came
    boot_time expires;    // fetched + (Expiration - STS's own Date, or our wall clock where there is none)
    std::string assumed_role_arn; // arn:aws:sts::ACCOUNT:assumed-role/NAME/SESSION
    std::string account_id;
    std::string role_arn; // the IAM role's ARN
    std::string session_name;
};
using credentials_ptr = std::shared_ptr<const credentials>;

enum class failure_kind {
    transient,      // network, 5xx, IDPCommunicationError, "Couldn't retrieve verification key", garbage: try
                    // again
    throttled,      // Throttling and its kind, 429
    token_rejected, // ExpiredTokenException, InvalidIdentityToken: once more with a fresh token, then as
                    // denied
    denied,         // AccessDenied, IDPRejectedClaim: definitive until somebody changes a policy
    misconfigured,  // ValidationError, MalformedPolicyDocument, PackedPolicyTooLarge: the annotations are
                    // wrong
    unusable,       // RegionDisabledException, wrong partition: the daemon's own configuration is wrong
    no_token,       // the token source did not deliver; STS was not asked. Transient unless `definitive`
    cancelled,
};
std::string_view to_string(failure_kind kind);

struct failure {
    failure_kind kind = failure_kind::transient;
    std::string code;       // STS's own, or a name of ours in the same style: "Timeout", "NoToken"
    std::string message;    // one line, no secret
    std::string request_id; // STS's, or empty
    unsigned http_status = 0;
    std::optional<std::chrono::milliseconds> retry_after;
    bool definitive = false;       // no_token: retrying soon is pointless (refused by Kubernetes)
    std::optional<errc> transport; // what happened below HTTP, where that was it
};

template <class T>
using outcome = boost::system::result<T, failure>;

} // namespace credlet::sts

namespace credlet::sts {
[[noreturn]] inline void throw_exception_from_error(const failure& e, const boost::source_location&) {
    throw std::runtime_error(e.code + ": " + e.message);
}
} // namespace credlet::sts
