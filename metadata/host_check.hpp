#pragma once
// Whether a Host header names this endpoint. A web page whose name was rebound to our address (DNS rebinding)
// sends its own name; a client of ours sends an address we listen on. With or without a port: the AWS C
// runtime leaves it out.

#include "metadata/view.hpp"

#include <boost/asio/ip/address.hpp>

#include <span>
#include <string>
#include <string_view>

namespace credlet::metadata {

class host_check {
public:
    // extra: names or addresses accepted besides the connection's own local address and the addresses at
    // which SDKs expect credentials (169.254.170.2, 169.254.170.23, fd00:ec2::23, 169.254.169.254,
    // fd00:ec2::254).
    explicit host_check(std::span<const std::string> extra);

    // local: the address the connection came in on. "localhost" is ours where that is a loopback address.
    [[nodiscard]] bool ours(std::string_view host, const boost::asio::ip::address& local) const;

private:
    string_map<char> names_; // lower case; addresses in their shortest form, without brackets
};

} // namespace credlet::metadata
