#pragma once
// Service-account tokens: taking a JWT apart and judging its claims. Pure functions; the signature is a
// matter of jwks.hpp. RFC 7515 (JWS), RFC 7519 (JWT), RFC 8725 (best current practice), and for the claims
// https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#schema-for-service-account-private-claims

#include "metadata/cluster.hpp"
#include "runtime/json.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace credlet::metadata::kubernetes {

// The allow-list (RFC 8725 section 3.1). Everything else, "none" and the HMAC family above all, does not
// exist here.
enum class signature_algorithm { rs256, rs384, rs512, es256, es384, es512 };
std::optional<signature_algorithm> parse_algorithm(std::string_view name);

inline constexpr std::size_t max_jwt = 20000;   // characters: what STS takes as WebIdentityToken
inline constexpr std::size_t max_jwt_depth = 8; // of nested objects and arrays

// A token of the right form about which nothing has been proved.
struct unverified_jwt {
    signature_algorithm algorithm{};
    std::string key_id;
    std::string_view signed_part; // into the text that was parsed
    std::vector<std::uint8_t> signature;
    json_document claims; // an object
};

// JWS compact serialization with exactly one signature. errc::malformed: not that; untrusted: a header that
// must be refused (an algorithm that is not allowed, no kid, `crit`, `b64`, a `typ` other than JWT). Keys
// that the token brings along or points to (jwk, jku, x5c, x5u) are not looked at.
result<unverified_jwt> parse_jwt(std::string_view text);

// The claims of a bound service-account token, each of the right type; nothing is compared with anything yet
// but `sub` with the kubernetes.io claims.
struct service_account_claims {
    verified_token token; // `verified` only once expectations and signature hold
    std::optional<wall_time> not_before, issued_at;
};
result<service_account_claims> read_claims(const json_document& document);

struct claim_expectations {
    std::string issuer;
    std::vector<std::string> audiences; // the token must be for one of them
};
// RFC 8725 sections 3.8 to 3.10. exp is taken strictly, nbf and iat may lie clock_leeway ahead.
inline constexpr std::chrono::seconds clock_leeway{60};
result<void> check_claims(const service_account_claims& claims, const claim_expectations& expected,
                          wall_time now);

} // namespace credlet::metadata::kubernetes
