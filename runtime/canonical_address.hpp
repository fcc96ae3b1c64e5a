#pragma once
// One host, one address: as addresses are compared.

#include <boost/asio/ip/address.hpp>

namespace credlet {

// Without a zone; an IPv4-mapped IPv6 address as the IPv4 one.
inline boost::asio::ip::address canonical(const boost::asio::ip::address& address) {
    using namespace boost::asio::ip;
    if (address.is_v4())
        return address;
    const auto v6 = address.to_v6();
    if (v6.is_v4_mapped())
        return make_address_v4(v4_mapped, v6);
    return address_v6(v6.to_bytes());
}

} // namespace credlet
