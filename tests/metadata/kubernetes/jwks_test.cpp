#include "metadata/kubernetes/jwks.hpp"
#include "tests/support/token_forge.hpp"

#include <doctest/doctest.h>

#include <span>

using namespace credlet;
using namespace credlet::metadata::kubernetes;
using algorithm = signature_algorithm;

namespace {

std::string set_of(const std::string& jwk) { return "{\"keys\":[" + jwk + "]}"; }

std::span<const std::uint8_t> bytes(const std::string& s) {
    return {reinterpret_cast<const std::uint8_t*>(s.data()), s.size()};
}

std::string rsa_jwk(const std::string& n, const std::string& e, const std::string& more = "") {
    return R"({"kty":"RSA","kid":"k","n":")" + test::base64url(n) + R"(","e":")" + test::base64url(e) + "\"" +
           more + "}";
}

std::string ec_jwk(const std::string& curve, const std::string& x, const std::string& y) {
    return R"({"kty":"EC","kid":"k","crv":")" + curve + R"(","x":")" + test::base64url(x) + R"(","y":")" +
           test::base64url(y) + "\"}";
}

} // namespace

TEST_CASE("every allowed algorithm verifies with its key, and with no other") {
    const auto& ring = test::key_ring::get();
    const auto set = key_set::parse(ring.jwks());
    REQUIRE(set.has_value());
    CHECK(set->size() == 5);
    struct row {
        const char* kid;
        const test::signing_key& key;
        algorithm allowed;
        const EVP_MD* digest;
    };
    const row rows[] = {{"rsa", ring.rsa, algorithm::rs256, EVP_sha256()},
                        {"rsa-any", ring.rsa, algorithm::rs256, EVP_sha256()},
                        {"rsa-any", ring.rsa, algorithm::rs384, EVP_sha384()},
                        {"rsa-any", ring.rsa, algorithm::rs512, EVP_sha512()},
                        {"p256", ring.p256, algorithm::es256, EVP_sha256()},
                        {"p384", ring.p384, algorithm::es384, EVP_sha384()},
                        {"p521", ring.p521, algorithm::es512, EVP_sha512()}};
    for (const auto& r : rows) {
        CAPTURE(r.kid);
        const auto* key = set->find(r.kid);
        REQUIRE(key != nullptr);
        const auto signature = r.key.sign(r.digest, "text");
        CHECK(key->allows(r.allowed));
        CHECK(key->verify(r.allowed, "text", bytes(signature)));
        CHECK_FALSE(key->verify(r.allowed, "texT", bytes(signature)));
        CHECK_FALSE(key->verify(r.allowed, "text", bytes(signature.substr(1))));
        CHECK_FALSE(key->verify(r.allowed, "text", bytes(signature + "x")));
        CHECK_FALSE(key->verify(r.allowed, "text", {}));
        for (const auto& other : rows) {
            if (&other.key != &r.key)
                CHECK_FALSE(set->find(other.kid)->verify(other.allowed, "text", bytes(signature)));
        }
    }
    CHECK_FALSE(set->find("rsa")->allows(algorithm::rs384)); // the JWK says RS256
    CHECK_FALSE(set->find("p256")->allows(algorithm::es384));
    CHECK(set->find("nobody") == nullptr);
    CHECK(ERR_peek_error() == 0); // nothing is left for TLS to stumble over
}

TEST_CASE("keys that cannot or must not verify tokens are left out") {
    const auto& ring = test::key_ring::get();
    const auto small = test::signing_key::rsa(1024);
    const auto n = ring.rsa.number(OSSL_PKEY_PARAM_RSA_N);
    const auto e = ring.rsa.number(OSSL_PKEY_PARAM_RSA_E);
    auto even = n;
    even.back() = static_cast<char>(even.back() & ~1);
    const auto x = ring.p256.number(OSSL_PKEY_PARAM_EC_PUB_X, 32);
    const auto y = ring.p256.number(OSSL_PKEY_PARAM_EC_PUB_Y, 32);
    auto off_curve = y;
    off_curve[5] = static_cast<char>(off_curve[5] ^ 1);
    const std::string bad[] = {
        small.jwk("k"),                        // 1024 bits
        rsa_jwk(even, e),                      // no RSA modulus
        rsa_jwk(n, std::string(1, '\1')),      // exponent 1
        rsa_jwk(n, std::string(1, '\2')),      // even exponent
        rsa_jwk(n, n.substr(0, 8)),            // huge exponent
        rsa_jwk(std::string(1025, '\xff'), e), // 8200 bits
        rsa_jwk("", e),
        R"({"kty":"RSA","kid":"k"})",
        R"({"kty":"RSA","kid":"k","n":"not base64!","e":"AQAB"})",
        ec_jwk("P-256", x, off_curve),
        ec_jwk("P-256", std::string(32, '\0'), std::string(32, '\0')),
        ec_jwk("P-384", x, y), // wrong length for the curve
        ec_jwk("P-256", x.substr(1), y),
        ec_jwk("secp256k1", x, y),
        R"({"kty":"oct","kid":"k","k":"c2VjcmV0"})", // a symmetric key
        R"({"kty":"OKP","kid":"k","crv":"Ed25519","x":"AAAA"})",
        R"({"kty":"AKP","kid":"k","alg":"ML-DSA-44","pub":"AAAA"})",
        ring.rsa.jwk("k", R"(,"use":"enc")"),
        ring.rsa.jwk("k", R"(,"use":7)"),
        ring.rsa.jwk("k", R"(,"key_ops":["sign"])"),
        ring.rsa.jwk("k", R"(,"key_ops":"verify")"),
        ring.rsa.jwk("k", R"(,"alg":"ES256")"),
        ring.rsa.jwk("k", R"(,"alg":"PS256")"),
        ring.rsa.jwk("k", R"(,"alg":"none")"),
        ring.rsa.jwk("k", R"(,"alg":7)"),
        ring.p256.jwk("k", R"(,"alg":"ES384")"),
        ring.rsa.jwk(""),
        R"("a string")",
        "7",
        "null",
        "[]",
        "{}",
    };
    for (const auto& jwk : bad) {
        CAPTURE(jwk);
        const auto set = key_set::parse(set_of(jwk));
        REQUIRE(set.has_error());
        CHECK(set.error().kind == errc::malformed);
        // Beside a good key they do no harm.
        CHECK(key_set::parse(set_of(jwk + "," + ring.p384.jwk("good")))->size() == 1);
    }
    CHECK(key_set::parse(set_of(ring.rsa.jwk("k", R"(,"key_ops":["verify"])")))->size() == 1);
    CHECK(ERR_peek_error() == 0);
}

TEST_CASE("two keys of one kid are both left out: it cannot be told which one is meant") {
    const auto& ring = test::key_ring::get();
    const auto set =
        key_set::parse(set_of(ring.rsa.jwk("a") + "," + ring.p256.jwk("a") + "," + ring.p384.jwk("b")));
    REQUIRE(set.has_value());
    CHECK(set->find("a") == nullptr);
    CHECK(set->find("b") != nullptr);
}

TEST_CASE("a key that is listed twice is one key, unless the two differ in what they may verify") {
    const auto& ring = test::key_ring::get();
    const auto doubled = key_set::parse(set_of(ring.rsa.jwk("a") + "," + ring.rsa.jwk("a")));
    REQUIRE(doubled.has_value());
    CHECK(doubled->size() == 1);
    CHECK(doubled->find("a") != nullptr);
    CHECK(doubled->left_out().empty());
    const auto rs256 = ring.rsa.jwk("a", R"(,"alg":"RS256")");
    const auto other_rsa = ring.other_rsa.jwk("a");
    for (const auto& second : {rs256, other_rsa}) {
        const auto set = key_set::parse(
            set_of(ring.rsa.jwk("a") + "," + second + "," + ring.rsa.jwk("a") + "," + ring.p256.jwk("b")));
        REQUIRE(set.has_value());
        CHECK(set->find("a") == nullptr);
        CHECK(set->size() == 1);
        CHECK(set->left_out() == std::set<std::string>{"a"});
    }
    // One that cannot verify anything takes no other's place.
    const auto set =
        key_set::parse(set_of(ring.p384.jwk("a", R"(,"use":"enc")") + "," + ring.rsa.jwk("a") + ",{}"));
    REQUIRE(set.has_value());
    CHECK(set->find("a") != nullptr);
    CHECK(set->left_out() == std::set<std::string>{"", "a"});
    CHECK(ERR_peek_error() == 0);
}

TEST_CASE("F53: an empty, huge, crowded or broken key set is an error") {
    for (const auto& text :
         {std::string(), std::string("{}"), std::string(R"({"keys":[]})"), std::string(R"({"keys":{}})"),
          std::string("[]"), std::string("<html>"), set_of(std::string(2 * 1024 * 1024, ' '))}) {
        CHECK(key_set::parse(text).has_error());
    }
    const auto& ring = test::key_ring::get();
    std::string many = ring.p256.jwk("k0");
    for (std::size_t i = 1; i < max_keys; ++i)
        many += "," + ring.p256.jwk("k" + std::to_string(i));
    CHECK(key_set::parse(set_of(many))->size() == max_keys);
    CHECK(key_set::parse(set_of(many + "," + ring.p256.jwk("more"))).has_error());
}
