#include "metadata/imds_session.hpp"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>

#include <cstring>
#include <stdexcept>

namespace credlet::metadata {

namespace {

constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

constexpr std::array<std::uint8_t, 256> make_values() {
    std::array<std::uint8_t, 256> values{};
    values.fill(0xff);
    for (std::size_t i = 0; i < alphabet.size(); ++i)
        values[static_cast<std::uint8_t>(alphabet[i])] = static_cast<std::uint8_t>(i);
    return values;
}
constexpr auto values = make_values();

std::string encode(std::span<const std::uint8_t> bytes) {
    std::string text;
    text.reserve((bytes.size() * 4 + 2) / 3);
    std::uint32_t bits = 0;
    unsigned held = 0;
    for (const auto b : bytes) {
        bits = bits << 8 | b;
        held += 8;
        while (held >= 6) {
            held -= 6;
            text += alphabet[bits >> held & 63];
        }
    }
    if (held > 0)
        text += alphabet[bits << (6 - held) & 63];
    return text;
}

// How many bytes came out; none when the text is not base64url, or not in its one canonical form.
std::optional<std::size_t> decode(std::string_view text, std::span<std::uint8_t> out) {
    if (text.size() % 4 == 1 || text.size() * 6 / 8 > out.size())
        return std::nullopt;
    std::uint32_t bits = 0;
    unsigned held = 0;
    std::size_t size = 0;
    for (const char c : text) {
        const auto value = values[static_cast<std::uint8_t>(c)];
        if (value == 0xff)
            return std::nullopt;
        bits = bits << 6 | value;
        held += 6;
        if (held >= 8) {
            held -= 8;
            out[size++] = static_cast<std::uint8_t>(bits >> held);
        }
    }
    if ((bits & ((1U << held) - 1)) != 0)
        return std::nullopt;
    return size;
}

std::uint8_t* put_expiry(std::uint8_t* out, boot_time expires) {
    const auto value = static_cast<std::uint64_t>(expires.time_since_epoch().count());
    for (unsigned i = 0; i < 8; ++i)
        *out++ = static_cast<std::uint8_t>(value >> (56 - 8 * i));
    return out;
}

boot_time get_expiry(const std::uint8_t* in) {
    std::uint64_t value = 0;
    for (unsigned i = 0; i < 8; ++i)
        value = value << 8 | in[i];
    return boot_time(std::chrono::nanoseconds(static_cast<std::int64_t>(value)));
}

} // namespace

imds_sessions::imds_sessions(const key& k) {
    EVP_MAC* hmac = EVP_MAC_fetch(nullptr, "HMAC", nullptr);
    context_.reset(EVP_MAC_CTX_new(hmac)); // of a null HMAC: null
    EVP_MAC_free(hmac);
    char digest[] = "SHA256";
    const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                                     OSSL_PARAM_construct_end()};
    if (!context_ || EVP_MAC_init(context_.get(), k.data(), k.size(), parameters) != 1)
        throw std::runtime_error("OpenSSL has no HMAC-SHA256");
}

imds_sessions::mac imds_sessions::sign(std::span<const std::uint8_t> bytes) {
    mac result{};
    std::size_t size = 0;
    if (EVP_MAC_init(context_.get(), nullptr, 0, nullptr) != 1 || // the same key again
        EVP_MAC_update(context_.get(), bytes.data(), bytes.size()) != 1 ||
        EVP_MAC_final(context_.get(), result.data(), &size, result.size()) != 1)
        throw std::runtime_error("HMAC-SHA256 failed");
    return result;
}

std::string imds_sessions::issue(std::string_view pod_uid, bool by_token, std::chrono::seconds ttl,
                                 boot_time now) {
    pod_uid = pod_uid.substr(0, max_uid); // Kubernetes' own are 36 long; a longer one then matches no pod
    auto* at = put_expiry(buffer_.data(), now + ttl);
    *at++ = by_token ? 1 : 0;
    std::memcpy(at, pod_uid.data(), pod_uid.size());
    const auto signed_size = head_size + pod_uid.size();
    const auto signature = sign(std::span(buffer_).first(signed_size));
    std::memcpy(buffer_.data() + signed_size, signature.data(), signature.size());
    return encode(std::span(buffer_).first(signed_size + mac_size));
}

std::optional<imds_sessions::session> imds_sessions::check(std::string_view token, boot_time now) {
    const auto size = decode(token, buffer_);
    if (!size || *size < head_size + mac_size)
        return std::nullopt;
    const auto signed_size = *size - mac_size;
    const auto signature = sign(std::span(buffer_).first(signed_size));
    if (CRYPTO_memcmp(signature.data(), buffer_.data() + signed_size, mac_size) != 0 ||
        now >= get_expiry(buffer_.data()))
        return std::nullopt;
    return session{{reinterpret_cast<const char*>(buffer_.data()) + head_size, signed_size - head_size},
                   buffer_[8] == 1};
}

} // namespace credlet::metadata
