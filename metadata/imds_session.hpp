#pragma once
// IMDSv2 session tokens without a table: each carries its pod's uid and its expiry under an HMAC-SHA256 whose
// key is random per process. Nobody can evict another's session by asking for many, and a token of one pod is
// of no use to another. After a restart clients get 401 and ask for a new one, as they do of the real
// service.
//
// A token is short: the AWS C SDK, and what is built on it, has room for 64 characters (the real service's
// are 56). With a uid of the usual form it has 51.

#include "runtime/clock.hpp"

#include <openssl/evp.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace credlet::metadata {

class imds_sessions {
public:
    static constexpr std::chrono::seconds max_ttl{21600};
    using key = std::array<std::uint8_t, 32>;
    explicit imds_sessions(const key& k); // throws std::runtime_error if OpenSSL has no HMAC

    // by_token: the pod proved itself with its service-account token, not by its address alone.
    [[nodiscard]] std::string issue(std::string_view pod_uid, bool by_token, boot_time expires);

    struct session {
        std::string_view pod_uid; // valid until the next call
        bool by_token = false;
    };
    // None: not one of ours, or expired.
    [[nodiscard]] std::optional<session> check(std::string_view token, boot_time now);

private:
    static constexpr std::size_t max_uid = 64;
    static constexpr std::size_t head_size = 6; // flags, expiry in seconds
    static constexpr std::size_t uuid_size = 16;
    static constexpr std::size_t mac_size = 16; // of 32: RFC 2104 section 5 allows half
    using mac = std::array<std::uint8_t, 32>;
    mac sign(std::span<const std::uint8_t> bytes);

    struct closer {
        void operator()(EVP_MAC_CTX* context) const { EVP_MAC_CTX_free(context); }
    };
    std::unique_ptr<EVP_MAC_CTX, closer> context_;
    std::array<std::uint8_t, head_size + max_uid + mac_size> buffer_{};
    std::array<char, 36> uuid_{}; // what session::pod_uid points into when the token has a UUID
};

} // namespace credlet::metadata
