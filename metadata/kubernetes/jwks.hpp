#pragma once
// The keys that sign service-account tokens: RFC 7517 (JWK), RFC 7518 section 6 (RSA and EC keys). Signatures
// are checked by OpenSSL; which algorithm may be used is decided by the key, never by the token alone.

#include "metadata/kubernetes/jwt.hpp"

#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

using EVP_PKEY = struct evp_pkey_st;

namespace credlet::metadata::kubernetes {

inline constexpr std::size_t max_jwks = std::size_t{64} * 1024; // bytes of a key set
inline constexpr std::size_t max_keys = 64;
inline constexpr int min_rsa_bits = 2048, max_rsa_bits = 8192;

class verification_key {
public:
    // One member of `keys`. Fails for what cannot or must not verify tokens: other key types, other curves,
    // small or huge RSA keys, points that are not on the curve, use other than sig, key_ops without verify,
    // no kid.
    static result<verification_key> parse(simdjson::dom::element jwk);

    [[nodiscard]] const std::string& id() const { return id_; }
    // The same numbers, for the same algorithms.
    [[nodiscard]] bool same_key(const verification_key& other) const;
    // RS* for RSA keys, for EC keys the one that goes with the curve (RFC 7518 section 3.4); and where the
    // JWK has an `alg`, that one alone.
    [[nodiscard]] bool allows(signature_algorithm algorithm) const;
    // False as well when the algorithm is not allowed.
    [[nodiscard]] bool verify(signature_algorithm algorithm, std::string_view signed_part,
                              std::span<const std::uint8_t> signature) const;

private:
    enum class type { rsa, p256, p384, p521 };
    verification_key() = default;
    std::string id_;
    type type_{};
    std::optional<signature_algorithm> only_;
    std::shared_ptr<EVP_PKEY> key_;
};

class key_set {
public:
    key_set() = default;
    // Keys that cannot be used are left out, and so are usable ones that share a kid but are not the same
    // key: it cannot be told which one is meant. errc::malformed when it is no key set or no usable key is
    // left.
    static result<key_set> parse(std::string_view text);

    // Null: there is no such key.
    [[nodiscard]] const verification_key* find(std::string_view key_id) const;
    [[nodiscard]] std::size_t size() const { return keys_.size(); }
    // The kids of keys that were left out, each once; empty for those without a kid.
    [[nodiscard]] const std::set<std::string>& left_out() const { return left_out_; }

private:
    std::vector<verification_key> keys_;
    std::set<std::string> left_out_;
};

} // namespace credlet::metadata::kubernetes
