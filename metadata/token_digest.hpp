#pragma once
// SHA-256 of a caller's token: under this, and never under the token itself, a verified token is remembered.

#include <openssl/evp.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>

namespace credlet::metadata {

using token_digest = std::array<std::uint8_t, 32>;

struct token_digest_hash { // evenly spread already
    std::size_t operator()(const token_digest& d) const noexcept {
        std::size_t h = 0;
        std::memcpy(&h, d.data(), sizeof h);
        return h;
    }
};

// Keeps one OpenSSL context for all digests: looking the algorithm up costs more than hashing a token does.
class token_hasher {
public:
    token_hasher(); // throws std::runtime_error if OpenSSL has no SHA-256
    [[nodiscard]] token_digest operator()(std::string_view token);

private:
    struct closer {
        void operator()(EVP_MD* md) const { EVP_MD_free(md); }
        void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
    };
    std::unique_ptr<EVP_MD, closer> algorithm_;
    std::unique_ptr<EVP_MD_CTX, closer> context_;
};

} // namespace credlet::metadata
