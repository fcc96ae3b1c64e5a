#include "metadata/kubernetes/jwks.hpp"

#include "metadata/kubernetes/base64url.hpp"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

#include <algorithm>

namespace credlet::metadata::kubernetes {

namespace {

namespace dom = simdjson::dom;

template <auto Free>
struct freed_by {
    template <class T>
    void operator()(T* p) const noexcept {
        Free(p);
    }
};
using bignum = std::unique_ptr<BIGNUM, freed_by<BN_free>>;
using param_builder = std::unique_ptr<OSSL_PARAM_BLD, freed_by<OSSL_PARAM_BLD_free>>;
using params = std::unique_ptr<OSSL_PARAM, freed_by<OSSL_PARAM_free>>;
using key_context = std::unique_ptr<EVP_PKEY_CTX, freed_by<EVP_PKEY_CTX_free>>;
using digest_context = std::unique_ptr<EVP_MD_CTX, freed_by<EVP_MD_CTX_free>>;
using ecdsa_signature = std::unique_ptr<ECDSA_SIG, freed_by<ECDSA_SIG_free>>;

// TLS on this thread looks at OpenSSL's error queue too: what is ours must not stay there.
struct error_queue_guard {
    error_queue_guard() = default;
    error_queue_guard(const error_queue_guard&) = delete;
    error_queue_guard& operator=(const error_queue_guard&) = delete;
    ~error_queue_guard() { ERR_clear_error(); }
};

std::optional<std::vector<std::uint8_t>> bytes_of(dom::element jwk, std::string_view member) {
    const auto text = json_string(jwk, member);
    if (!text || text->empty())
        return std::nullopt;
    return decode_base64url(*text);
}

bignum to_bignum(std::span<const std::uint8_t> bytes) {
    return bignum(BN_bin2bn(bytes.data(), static_cast<int>(bytes.size()), nullptr));
}

std::shared_ptr<EVP_PKEY> make_key(const char* type, OSSL_PARAM_BLD* builder) {
    const params parameters(OSSL_PARAM_BLD_to_param(builder));
    const key_context context(EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr));
    EVP_PKEY* key = nullptr;
    if (!parameters || !context || EVP_PKEY_fromdata_init(context.get()) != 1 ||
        EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, parameters.get()) != 1)
        return nullptr;
    return {key, EVP_PKEY_free};
}

std::shared_ptr<EVP_PKEY> rsa_key(dom::element jwk) {
    const auto n = bytes_of(jwk, "n");
    const auto e = bytes_of(jwk, "e");
    if (!n || !e || n->size() > max_rsa_bits / 8 || e->size() > 8)
        return nullptr;
    const auto modulus = to_bignum(*n);
    const auto exponent = to_bignum(*e);
    // An even modulus or exponent, or 1, is no RSA key; a large exponent only costs time.
    if (!modulus || !exponent || BN_num_bits(modulus.get()) < min_rsa_bits || !BN_is_odd(modulus.get()) ||
        !BN_is_odd(exponent.get()) || BN_is_one(exponent.get()) || BN_num_bits(exponent.get()) > 33)
        return nullptr;
    const param_builder builder(OSSL_PARAM_BLD_new());
    if (!builder || OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, modulus.get()) != 1 ||
        OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, exponent.get()) != 1)
        return nullptr;
    return make_key("RSA", builder.get());
}

std::shared_ptr<EVP_PKEY> ec_key(dom::element jwk, const char* group, std::size_t size) {
    const auto x = bytes_of(jwk, "x");
    const auto y = bytes_of(jwk, "y");
    if (!x || !y || x->size() != size || y->size() != size) // RFC 7518 section 6.2.1.2: full length always
        return nullptr;
    std::vector<std::uint8_t> point{0x04}; // uncompressed
    point.insert(point.end(), x->begin(), x->end());
    point.insert(point.end(), y->begin(), y->end());
    const param_builder builder(OSSL_PARAM_BLD_new());
    if (!builder ||
        OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, group, 0) != 1 ||
        OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(),
                                         point.size()) != 1)
        return nullptr;
    auto key = make_key("EC", builder.get());
    if (!key)
        return nullptr;
    const key_context context(EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
    return context && EVP_PKEY_public_check(context.get()) == 1 ? key : nullptr;
}

bool meant_for_verifying(dom::element jwk) {
    if (jwk["use"].error() == simdjson::SUCCESS && json_string(jwk, "use") != "sig")
        return false;
    dom::array operations;
    if (jwk["key_ops"].error() != simdjson::SUCCESS)
        return true;
    if (jwk["key_ops"].get(operations) != simdjson::SUCCESS)
        return false;
    return std::any_of(operations.begin(), operations.end(), [](auto operation) {
        std::string_view name;
        return operation.get(name) == simdjson::SUCCESS && name == "verify";
    });
}

const EVP_MD* digest_of(signature_algorithm algorithm) {
    switch (algorithm) {
    case signature_algorithm::rs256:
    case signature_algorithm::es256:
        return EVP_sha256();
    case signature_algorithm::rs384:
    case signature_algorithm::es384:
        return EVP_sha384();
    case signature_algorithm::rs512:
    case signature_algorithm::es512:
        return EVP_sha512();
    }
    return nullptr;
}

// JWS has r and s side by side at full length (RFC 7518 section 3.4), OpenSSL wants them in DER.
std::vector<std::uint8_t> to_der(std::span<const std::uint8_t> signature, std::size_t size) {
    if (signature.size() != 2 * size)
        return {};
    const ecdsa_signature both(ECDSA_SIG_new());
    auto r = to_bignum(signature.first(size));
    auto s = to_bignum(signature.last(size));
    if (!both || !r || !s || BN_is_zero(r.get()) || BN_is_zero(s.get()))
        return {};
    // Takes both numbers over; it fails only where one is missing.
    if (ECDSA_SIG_set0(both.get(), r.release(), s.release()) != 1)
        return {};
    const int length = i2d_ECDSA_SIG(both.get(), nullptr);
    if (length <= 0)
        return {};
    std::vector<std::uint8_t> der(static_cast<std::size_t>(length));
    unsigned char* out = der.data();
    return i2d_ECDSA_SIG(both.get(), &out) == length ? der : std::vector<std::uint8_t>();
}

} // namespace

result<verification_key> verification_key::parse(dom::element jwk) {
    const error_queue_guard guard;
    verification_key key;
    const auto id = json_string(jwk, "kid");
    if (!id || id->empty())
        return fail(errc::malformed, "a key without kid");
    key.id_ = *id;
    const auto unusable = [&](const char* why) {
        return fail(errc::malformed, std::string("a key that cannot verify tokens: ") + why);
    };
    if (!meant_for_verifying(jwk))
        return unusable("it is meant for something else");
    if (jwk["alg"].error() == simdjson::SUCCESS) {
        key.only_ = parse_algorithm(json_string(jwk, "alg").value_or(""));
        if (!key.only_)
            return unusable("its alg is not allowed");
    }
    const auto type = json_string(jwk, "kty").value_or("");
    const auto curve = json_string(jwk, "crv").value_or("");
    if (type == "RSA") {
        key.type_ = type::rsa;
        key.key_ = rsa_key(jwk);
    } else if (type == "EC" && curve == "P-256") {
        key.type_ = type::p256;
        key.key_ = ec_key(jwk, "P-256", 32);
    } else if (type == "EC" && curve == "P-384") {
        key.type_ = type::p384;
        key.key_ = ec_key(jwk, "P-384", 48);
    } else if (type == "EC" && curve == "P-521") {
        key.type_ = type::p521;
        key.key_ = ec_key(jwk, "P-521", 66);
    } else {
        return unusable("neither RSA nor EC on P-256, P-384 or P-521");
    }
    if (!key.key_)
        return unusable("its numbers are no good key");
    if (key.only_ && !key.allows(*key.only_))
        return unusable("its alg does not go with its type");
    return key;
}

bool verification_key::allows(signature_algorithm algorithm) const {
    if (only_ && *only_ != algorithm)
        return false;
    switch (algorithm) {
    case signature_algorithm::rs256:
    case signature_algorithm::rs384:
    case signature_algorithm::rs512:
        return type_ == type::rsa;
    case signature_algorithm::es256:
        return type_ == type::p256;
    case signature_algorithm::es384:
        return type_ == type::p384;
    case signature_algorithm::es512:
        return type_ == type::p521;
    }
    return false;
}

bool verification_key::same_key(const verification_key& other) const {
    const error_queue_guard guard;
    return only_ == other.only_ && EVP_PKEY_eq(key_.get(), other.key_.get()) == 1;
}

bool verification_key::verify(signature_algorithm algorithm, std::string_view signed_part,
                              std::span<const std::uint8_t> signature) const {
    if (!allows(algorithm))
        return false;
    const error_queue_guard guard;
    std::vector<std::uint8_t> der;
    if (type_ == type::rsa) {
        if (signature.size() != static_cast<std::size_t>(EVP_PKEY_get_size(key_.get())))
            return false;
    } else {
        der = to_der(signature, type_ == type::p256 ? 32 : type_ == type::p384 ? 48 : 66);
        if (der.empty())
            return false;
        signature = der;
    }
    // PKCS #1 v1.5 padding is what EVP takes for RSA unless told otherwise; PSS is never asked for.
    const digest_context context(EVP_MD_CTX_new());
    return context &&
           EVP_DigestVerifyInit(context.get(), nullptr, digest_of(algorithm), nullptr, key_.get()) == 1 &&
           EVP_DigestVerify(context.get(), signature.data(), signature.size(),
                            reinterpret_cast<const unsigned char*>(signed_part.data()),
                            signed_part.size()) == 1;
}

result<key_set> key_set::parse(std::string_view text) {
    const auto document = json_document::parse(text, max_jwks);
    if (document.has_error())
        return in_context("the key set", document.error());
    dom::array keys;
    if (document->root()["keys"].get(keys) != simdjson::SUCCESS)
        return fail(errc::malformed, "the key set has no keys");
    if (keys.size() > max_keys)
        return fail(errc::malformed, "the key set has more than " + std::to_string(max_keys) + " keys");
    key_set set;
    std::set<std::string> ambiguous;
    for (const auto jwk : keys) {
        auto key = verification_key::parse(jwk);
        if (key.has_error()) {
            set.left_out_.emplace(json_string(jwk, "kid").value_or(""));
            continue;
        }
        const auto* const namesake = set.find(key->id());
        if (namesake == nullptr)
            set.keys_.push_back(std::move(*key));
        else if (!namesake->same_key(*key))
            ambiguous.insert(key->id());
    }
    std::erase_if(set.keys_, [&](const auto& key) { return ambiguous.contains(key.id()); });
    set.left_out_.merge(ambiguous);
    if (set.keys_.empty())
        return fail(errc::malformed, "the key set has no key that can verify tokens");
    return set;
}

const verification_key* key_set::find(std::string_view key_id) const {
    const auto found =
        std::find_if(keys_.begin(), keys_.end(), [&](const auto& key) { return key.id() == key_id; });
    return found == keys_.end() ? nullptr : &*found;
}

} // namespace credlet::metadata::kubernetes
