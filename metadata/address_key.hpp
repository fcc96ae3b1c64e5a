#pragma once
// An IP address as a table key: sixteen bytes, an IPv4 address as its IPv4-mapped form. So ::ffff:10.0.0.1
// and 10.0.0.1 are one address, and a zone (fe80::1%eth0) does not make two of one.

#include "runtime/canonical_address.hpp"

#include <boost/asio/ip/address.hpp>

#include <array>
#include <cstdint>
#include <cstring>

namespace credlet::metadata {

struct address_key {
    std::array<std::uint8_t, 16> bytes{};

    address_key() = default;
    explicit address_key(const boost::asio::ip::address& address) {
        if (address.is_v4()) {
            bytes[10] = bytes[11] = 0xff;
            const auto v4 = address.to_v4().to_bytes();
            std::memcpy(bytes.data() + 12, v4.data(), v4.size());
        } else {
            bytes = address.to_v6().to_bytes();
        }
    }
    friend auto operator<=>(const address_key&, const address_key&) = default;

    [[nodiscard]] boost::asio::ip::address address() const {
        return canonical(boost::asio::ip::address_v6(bytes));
    }
};

struct address_key_hash {
    std::size_t operator()(const address_key& k) const noexcept {
        std::uint64_t high = 0, low = 0;
        std::memcpy(&high, k.bytes.data(), 8);
        std::memcpy(&low, k.bytes.data() + 8, 8);
        // A multiplication mixes what neighbouring addresses have in common (splitmix64's constants).
        std::uint64_t h = (low ^ (high * 0x9e3779b97f4a7c15U)) * 0xbf58476d1ce4e5b9U;
        h ^= h >> 29;
        return static_cast<std::size_t>(h * 0x94d049bb133111ebU);
    }
};

} // namespace credlet::metadata
