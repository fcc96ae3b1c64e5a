#include "metadata/host_check.hpp"

#include "runtime/ascii.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace credlet::metadata {

namespace {

constexpr std::size_t max_host = 255;

struct host_name {
    std::string_view name;
    bool bracketed = false;
};

bool valid_port(std::string_view port) {
    unsigned value = 0;
    const auto [end, problem] = std::from_chars(port.data(), port.data() + port.size(), value);
    return problem == std::errc() && end == port.data() + port.size() && value >= 1 && value <= 65535;
}

// "name", "name:port", "[v6]" or "[v6]:port"; an empty name is none of ours.
host_name without_port(std::string_view host) {
    if (host.starts_with('[')) {
        const auto end = host.find(']');
        if (end == std::string_view::npos)
            return {};
        const auto rest = host.substr(end + 1);
        if (!rest.empty() && (rest.front() != ':' || !valid_port(rest.substr(1))))
            return {};
        return {host.substr(1, end - 1), true};
    }
    const auto colon = host.find(':');
    if (colon != std::string_view::npos && !valid_port(host.substr(colon + 1)))
        return {};
    return {host.substr(0, colon), false};
}

} // namespace

host_check::host_check(std::span<const std::string> extra) {
    for (const auto* fixed :
         {"169.254.170.2", "169.254.170.23", "fd00:ec2::23", "169.254.169.254", "fd00:ec2::254"})
        names_.emplace(fixed, 0);
    for (std::string name : extra) {
        std::transform(name.begin(), name.end(), name.begin(), ascii::lower);
        if (name.starts_with('[') && name.ends_with(']'))
            name = name.substr(1, name.size() - 2);
        names_.emplace(std::move(name), 0);
    }
}

bool host_check::ours(std::string_view host, const boost::asio::ip::address& local) const {
    const auto [name, bracketed] = without_port(host);
    if (name.empty() || name.size() > max_host)
        return false;
    std::array<char, max_host> buffer{};
    std::transform(name.begin(), name.end(), buffer.begin(), ascii::lower);
    const std::string_view lowered(buffer.data(), name.size());
    if (bracketed != (lowered.find(':') != std::string_view::npos)) // brackets are for IPv6 addresses
        return false;
    if (names_.contains(lowered))
        return true;
    if (lowered == "localhost")
        return !bracketed && local.is_loopback();
    // What callers in a pod send to its listener. To parse it would cost more than the rest of a warm
    // request's decision.
    if ((lowered == "127.0.0.1" && local == boost::asio::ip::address_v4::loopback()) ||
        (lowered == "::1" && local == boost::asio::ip::address_v6::loopback()))
        return true;
    // The connection's own address, in whatever form it is written; a zone ("%eth0") is not part of an
    // address.
    if (lowered.find('%') != std::string_view::npos)
        return false;
    boost::system::error_code problem;
    const auto address = boost::asio::ip::make_address(lowered, problem);
    return !problem && address.is_v6() == bracketed && address_key(address) == address_key(local);
}

} // namespace credlet::metadata
