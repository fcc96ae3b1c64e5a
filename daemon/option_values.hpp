#pragma once
// Values of options, from text. Each parser returns the value, or an error whose message is one clause on
// what is allowed ("must be ..."); who calls adds which setting it was and what was given.

#include "daemon/options.hpp"

#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace credlet::app {

// ADDRESS:PORT, an IPv6 address in brackets. Port 0 takes any free one.
result<asio::ip::tcp::endpoint> parse_endpoint(std::string_view text);
// The same, of the loopback, with a port that whoever asks can know beforehand.
result<asio::ip::tcp::endpoint> parse_pod_endpoint(std::string_view text);
// Written as it is read.
std::string text_of(const asio::ip::tcp::endpoint& e);
// ADDRESS or ADDRESS/32, for IPv6 ADDRESS/128: one of a node's own. A wider network would take what belongs
// to others to this node.
result<asio::ip::address> parse_link_address(std::string_view text);
// As the kernel takes it.
result<std::string> parse_link_name(std::string_view text);
result<origin> parse_https_url(std::string_view text);
result<bool> parse_bool(std::string_view text);
result<std::string> parse_path(std::string_view text);
// 1 to `longest` printable ASCII characters without white space.
result<std::string> parse_word(std::string_view text, std::size_t longest);
// A DNS-1123 subdomain, as names of nodes are.
result<std::string> parse_dns_name(std::string_view text);
// The first part of annotation keys; a missing '/' at the end is added.
result<std::string> parse_annotation_prefix(std::string_view text);
// "arn:aws:iam::123456789012:role/", perhaps with a path.
result<std::string> parse_role_arn_base(std::string_view text);
// As Host headers have it, a port included where there is one.
result<std::string> parse_host(std::string_view text);
// "us-east-1", "us-east-1a".
result<std::string> parse_region(std::string_view text);
result<double> parse_number(std::string_view text, double least, double most);
result<std::size_t> parse_count(std::string_view text, std::size_t least, std::size_t most);
// "5s", "500ms", "2m", "1h"; a bare number is seconds.
result<std::chrono::milliseconds> parse_duration(std::string_view text, std::chrono::milliseconds least,
                                                 std::chrono::milliseconds most);

template <class Enum>
struct named_value {
    std::string_view name;
    Enum value;
};
template <class Enum>
result<Enum> parse_name(std::string_view text, std::span<const named_value<Enum>> names) {
    std::string allowed;
    for (const auto& n : names) {
        if (n.name == text)
            return n.value;
        allowed.append(allowed.empty() ? "must be one of " : ", ").append(n.name);
    }
    return fail(errc::malformed, std::move(allowed));
}

} // namespace credlet::app
