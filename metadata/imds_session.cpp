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

constexpr std::uint8_t flag_by_token = 1, flag_uuid = 2;
constexpr std::size_t expiry_size = 5;

// Whole seconds, rounded down: good for less time rather than more.
void put_expiry(std::uint8_t* out, boot_time expires) {
    const auto seconds = std::chrono::floor<std::chrono::seconds>(expires.time_since_epoch()).count();
    const auto value = static_cast<std::uint64_t>(seconds);
    for (unsigned i = 0; i < expiry_size; ++i)
        out[i] = static_cast<std::uint8_t>(value >> (8 * (expiry_size - 1 - i)));
}

boot_time get_expiry(const std::uint8_t* in) {
    std::uint64_t value = 0;
    for (unsigned i = 0; i < expiry_size; ++i)
        value = value << 8 | in[i];
    return boot_time(std::chrono::seconds(static_cast<std::int64_t>(value)));
}

constexpr std::string_view hex = "0123456789abcdef";
constexpr bool dash_at(std::size_t i) { return i == 8 || i == 13 || i == 18 || i == 23; }

// The 16 bytes of a UUID in its canonical lower-case form, which is what Kubernetes gives to pods.
std::optional<std::array<std::uint8_t, 16>> pack_uuid(std::string_view text) {
    if (text.size() != 36)
        return std::nullopt;
    std::array<std::uint8_t, 16> bytes{};
    std::size_t digits = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (dash_at(i)) {
            if (text[i] != '-')
                return std::nullopt;
            continue;
        }
        const auto value = hex.find(text[i]);
        if (value == std::string_view::npos)
            return std::nullopt;
        auto& byte = bytes[digits++ / 2];
        byte = static_cast<std::uint8_t>(static_cast<std::size_t>(byte) << 4U | value);
    }
    return bytes;
}

void unpack_uuid(const std::uint8_t* bytes, std::array<char, 36>& text) {
    std::size_t digits = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (dash_at(i)) {
            text[i] = '-';
            continue;
        }
        const auto byte = bytes[digits / 2];
        text[i] = hex[(digits++ % 2 == 0 ? byte >> 4U : byte & 15U) & 15U];
    }
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

std::string imds_sessions::issue(std::string_view pod_uid, bool by_token, boot_time expires) {
    const auto uuid = pack_uuid(pod_uid);
    buffer_[0] = static_cast<std::uint8_t>((by_token ? flag_by_token : 0) | (uuid ? flag_uuid : 0));
    put_expiry(buffer_.data() + 1, expires);
    std::size_t signed_size = head_size;
    if (uuid) {
        std::memcpy(buffer_.data() + head_size, uuid->data(), uuid_size);
        signed_size += uuid_size;
    } else {
        pod_uid = pod_uid.substr(0, max_uid); // a longer one then matches no pod
        std::memcpy(buffer_.data() + head_size, pod_uid.data(), pod_uid.size());
        signed_size += pod_uid.size();
    }
    const auto signature = sign(std::span(buffer_).first(signed_size));
    std::memcpy(buffer_.data() + signed_size, signature.data(), mac_size);
    return encode(std::span(buffer_).first(signed_size + mac_size));
}

std::optional<imds_sessions::session> imds_sessions::check(std::string_view token, boot_time now) {
    const auto size = decode(token, buffer_);
    if (!size || *size < head_size + mac_size)
        return std::nullopt;
    const auto signed_size = *size - mac_size;
    const auto signature = sign(std::span(buffer_).first(signed_size));
    if (CRYPTO_memcmp(signature.data(), buffer_.data() + signed_size, mac_size) != 0 ||
        now >= get_expiry(buffer_.data() + 1))
        return std::nullopt;
    // From here on it is known to be one of ours, so its form is too.
    const bool by_token = (buffer_[0] & flag_by_token) != 0;
    if ((buffer_[0] & flag_uuid) == 0)
        return session{{reinterpret_cast<const char*>(buffer_.data()) + head_size, signed_size - head_size},
                       by_token};
    unpack_uuid(buffer_.data() + head_size, uuid_);
    return session{{uuid_.data(), uuid_.size()}, by_token};
}

} // namespace credlet::metadata
