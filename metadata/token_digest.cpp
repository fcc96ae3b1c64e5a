#include "metadata/token_digest.hpp"

#include <stdexcept>

namespace credlet::metadata {

token_hasher::token_hasher()
    : algorithm_(EVP_MD_fetch(nullptr, "SHA256", nullptr)),
      context_(EVP_MD_CTX_new()) {
    if (!algorithm_ || !context_)
        throw std::runtime_error("OpenSSL has no SHA-256");
}

token_digest token_hasher::operator()(std::string_view token) {
    token_digest digest{};
    unsigned size = 0;
    if (EVP_DigestInit_ex2(context_.get(), algorithm_.get(), nullptr) != 1 ||
        EVP_DigestUpdate(context_.get(), token.data(), token.size()) != 1 ||
        EVP_DigestFinal_ex(context_.get(), digest.data(), &size) != 1)
        throw std::runtime_error("SHA-256 failed");
    return digest;
}

} // namespace credlet::metadata
