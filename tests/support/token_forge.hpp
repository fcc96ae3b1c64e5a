#pragma once
// Keys made at run time, and tokens signed with them: genuine and forged.

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace credlet::test {

inline std::string base64url(std::string_view bytes) {
    static constexpr char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    std::string out;
    std::uint32_t bits = 0;
    unsigned held = 0;
    for (const char c : bytes) {
        bits = (bits << 8) | static_cast<unsigned char>(c);
        held += 8;
        while (held >= 6) {
            held -= 6;
            out.push_back(alphabet[(bits >> held) & 63]);
        }
    }
    if (held > 0)
        out.push_back(alphabet[(bits << (6 - held)) & 63]);
    return out;
}

class signing_key {
public:
    static signing_key rsa(unsigned bits = 2048) { return {EVP_RSA_gen(bits), 0}; }
    static signing_key ec(const char* curve, std::size_t size) { return {EVP_EC_gen(curve), size}; }
    static signing_key ed25519() { return {EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), 0}; }

    // RSA: as it is. EC: r and s side by side, or DER.
    [[nodiscard]] std::string sign(const EVP_MD* digest, std::string_view text, bool pss = false,
                                   bool der = false) const {
        const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                              EVP_MD_CTX_free);
        EVP_PKEY_CTX* pkey_context = nullptr;
        if (EVP_DigestSignInit(context.get(), &pkey_context, digest, nullptr, key_.get()) != 1)
            throw std::runtime_error("sign");
        if (pss)
            EVP_PKEY_CTX_set_rsa_padding(pkey_context, RSA_PKCS1_PSS_PADDING);
        std::size_t size = 0;
        const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
        EVP_DigestSign(context.get(), nullptr, &size, bytes, text.size());
        std::vector<unsigned char> out(size);
        EVP_DigestSign(context.get(), out.data(), &size, bytes, text.size());
        out.resize(size);
        if (size_ > 0 && !der) {
            const unsigned char* at = out.data();
            const std::unique_ptr<ECDSA_SIG, decltype(&ECDSA_SIG_free)> both(
                d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(out.size())), ECDSA_SIG_free);
            out.assign(2 * size_, 0);
            BN_bn2binpad(ECDSA_SIG_get0_r(both.get()), out.data(), static_cast<int>(size_));
            BN_bn2binpad(ECDSA_SIG_get0_s(both.get()), out.data() + size_, static_cast<int>(size_));
        }
        return {out.begin(), out.end()};
    }

    [[nodiscard]] std::string number(const char* name, std::size_t padded = 0) const {
        BIGNUM* value = nullptr;
        EVP_PKEY_get_bn_param(key_.get(), name, &value);
        std::string out(padded > 0 ? padded : static_cast<std::size_t>(BN_num_bytes(value)), '\0');
        BN_bn2binpad(value, reinterpret_cast<unsigned char*>(out.data()), static_cast<int>(out.size()));
        BN_free(value);
        return out;
    }

    [[nodiscard]] std::string public_pem() const {
        BIO* memory = BIO_new(BIO_s_mem());
        PEM_write_bio_PUBKEY(memory, key_.get());
        char* data = nullptr;
        const long size = BIO_get_mem_data(memory, &data);
        std::string out(data, static_cast<std::size_t>(size));
        BIO_free(memory);
        return out;
    }

    // members: what else the JWK has, as ,"alg":"RS256" for one.
    [[nodiscard]] std::string jwk(const std::string& kid,
                                  const std::string& members = R"(,"use":"sig")") const {
        const std::string head = R"({"kid":")" + kid + "\"" + members;
        if (size_ == 0)
            return head + R"(,"kty":"RSA","n":")" + base64url(number(OSSL_PKEY_PARAM_RSA_N)) + R"(","e":")" +
                   base64url(number(OSSL_PKEY_PARAM_RSA_E)) + "\"}";
        const char* curve = size_ == 32 ? "P-256" : size_ == 48 ? "P-384" : "P-521";
        return head + R"(,"kty":"EC","crv":")" + curve + R"(","x":")" +
               base64url(number(OSSL_PKEY_PARAM_EC_PUB_X, size_)) + R"(","y":")" +
               base64url(number(OSSL_PKEY_PARAM_EC_PUB_Y, size_)) + "\"}";
    }

private:
    signing_key(EVP_PKEY* key, std::size_t size) : key_(key, EVP_PKEY_free), size_(size) {
        if (key == nullptr)
            throw std::runtime_error("key generation failed");
    }
    std::shared_ptr<EVP_PKEY> key_;
    std::size_t size_; // of an EC coordinate; 0: not EC
};

// The keys every test shares: making RSA keys takes time.
struct key_ring {
    signing_key rsa = signing_key::rsa(), other_rsa = signing_key::rsa();
    signing_key p256 = signing_key::ec("P-256", 32), p384 = signing_key::ec("P-384", 48),
                p521 = signing_key::ec("P-521", 66);
    static const key_ring& get() {
        static const key_ring ring;
        return ring;
    }
    [[nodiscard]] std::string jwks() const {
        return "{\"keys\":[" + rsa.jwk("rsa", R"(,"use":"sig","alg":"RS256")") + "," + rsa.jwk("rsa-any") +
               "," + p256.jwk("p256") + "," + p384.jwk("p384") + "," + p521.jwk("p521") + "]}";
    }
};

inline std::string hmac_sha256(std::string_view key, std::string_view text) {
    std::string out(32, '\0');
    unsigned size = 0;
    HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
         reinterpret_cast<const unsigned char*>(text.data()), text.size(),
         reinterpret_cast<unsigned char*>(out.data()), &size);
    return out;
}

inline std::string unsigned_part(std::string_view header, std::string_view claims) {
    return base64url(header) + "." + base64url(claims);
}

inline std::string token_of(const signing_key& key, const EVP_MD* digest, std::string_view header,
                            std::string_view claims) {
    const auto text = unsigned_part(header, claims);
    return text + "." + base64url(key.sign(digest, text));
}

} // namespace credlet::test
