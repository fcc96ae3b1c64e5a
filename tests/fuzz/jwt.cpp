// A token from anybody: taken apart, its claims read and judged, its signature held against keys of every
// type. Nothing is believed: the fuzzer does not have the private keys.

#include "metadata/kubernetes/jwks.hpp"

#include <cstdint>
#include <cstdlib>

using namespace credlet;
using namespace credlet::metadata::kubernetes;

namespace {

// Public keys alone, of every type; their private halves were thrown away.
constexpr std::string_view public_keys = R"({"keys":[{"kty":"RSA","kid":"rsa","use":"sig",
"n":"vxrRvB3Yt3EwGGLfUhQJCY104VL9wG9LvKPHU4irIzVVFSfN0cBWMkBMv1eOP5It5qVBDQeyQVYYaEn_OCwZD3Dyu3B-GC3KO8uRDhvBOfqYymNF4E7VHAQ1FB-TPyIk8LeyhKK07FpJT0jALg2YXIZCfXpjPu_90b8ZK3bTCDigZ7xjYnmqcva1L4e5a4aysyVQ-Qfjl3mwZYyPf_6wvA1mpk3q9K1sEg_i9Lg9zVxcQuSaOm6XRKE9zbf0RdIaRpz1hGJVvyp03Y03BYl-Bf9S4VF0avdHBW9Hj-C0lmihU5KAYR-iztmCFZfMaTViT8HXHi4spzeToHrcfsdLoQ",
"e":"AQAB"},
{"kty":"EC","kid":"p256","use":"sig","crv":"P-256","x":"VNY6gLJM6YSe7qtuFlmrWm1HMdMZMIYC3ZrSj9UZmY0",
"y":"HPxUN9wlhjTOMNnjkjSXMI5tyzkHSCcPrVKb3wIEGt4"},
{"kty":"EC","kid":"p384","use":"sig","crv":"P-384","x":"ZOwvj9ViUfgnxJgqr5pPIqYycVALOp3CNDjn3ayOLqRSybqm0KNIM22eirfI56iM",
"y":"n7QwGJIu_BjT9vk9fWQgfmGxZZP30Gks3k6GMndW_HlngM8-pX1gI9HZ_hwqWHAt"},
{"kty":"EC","kid":"p521","use":"sig","crv":"P-521","x":"AGPC9sbuVz06DRTilsA9owqJY9IxkP2pn1n8VRywca2hcYIkjxk0GizjaZDikhQ-5IPA5zKcBYWZvT0FsIcp76L-",
"y":"ABiK4VQjdoEBICKuKtDRmuXCJa1FpNP6qM6RYYzW8wI1GNIkm2mlGlryQyaTMlQO6kSE88TgWwbIx7JiLKW6Nnea"}]})";

const key_set& keys() {
    static const auto set = key_set::parse(public_keys);
    if (set.has_error() || set->size() != 4)
        std::abort();
    return *set;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto jwt = parse_jwt(text);
    if (jwt.has_error())
        return 0;
    if (text.size() > max_jwt || jwt->key_id.empty() || jwt->signature.empty() ||
        !text.starts_with(jwt->signed_part))
        std::abort();
    for (const auto* kid : {"rsa", "p256", "p384", "p521"}) {
        const auto* key = keys().find(kid);
        if (key->verify(jwt->algorithm, jwt->signed_part, jwt->signature))
            std::abort();
    }
    const auto claims = read_claims(jwt->claims);
    if (claims.has_error())
        return 0;
    const auto& token = claims->token;
    if (token.pod_uid.empty() || token.namespace_name.find(':') != std::string::npos)
        std::abort();
    const wall_time now{std::chrono::seconds(1'760'000'000)};
    if (check_claims(*claims, {"https://issuer", {"sts.amazonaws.com"}}, now).has_value() &&
        token.expires <= now)
        std::abort();
    return 0;
}
