// Where requests go: the URL an operator configured, taken apart once and strictly.

#include "runtime/ascii.hpp"
#include "runtime/https_client.hpp"

#include <boost/asio/ip/address.hpp>

#include <algorithm>
#include <charconv>

namespace credlet {
namespace {

bool is_name_byte(char c) { return ascii::is_alphanumeric(c) || c == '-' || c == '_'; }

// RFC 1123 names, with the underscore that some clusters use. A name that ends in a number must be an IPv4
// address.
bool is_host(std::string_view host) {
    if (host.ends_with('.'))
        host.remove_suffix(1);
    if (host.empty() || host.size() > 253)
        return false;
    std::string_view label;
    for (std::size_t start = 0; start <= host.size(); start += label.size() + 1) {
        label = host.substr(start, host.find('.', start) - start);
        if (label.empty() || label.size() > 63 || !std::ranges::all_of(label, is_name_byte))
            return false;
    }
    if (!std::ranges::all_of(label, ascii::is_digit))
        return true;
    boost::system::error_code ec;
    asio::ip::make_address_v4(host, ec);
    return !ec;
}

bool is_path_byte(char c) { return c > ' ' && c < 0x7f && c != '\\' && c != '"' && c != '<' && c != '>'; }

// The URL itself is not repeated: it may carry a password.
error bad_url(std::string_view why) {
    return fail(errc::malformed, "this is not a usable URL: " + std::string(why));
}

} // namespace

result<origin> parse_origin(std::string_view url) {
    constexpr std::string_view scheme = "https://";
    if (!ascii::equal_ignoring_case(url.substr(0, scheme.size()), scheme))
        return bad_url("it must start with https://");
    std::string_view rest = url.substr(scheme.size());
    if (rest.find_first_of("?#") != std::string_view::npos)
        return bad_url("a query or a fragment has no place here");

    const std::string_view where = rest.substr(0, rest.find('/'));
    std::string_view path = rest.substr(where.size());
    if (where.find('@') != std::string_view::npos)
        return bad_url("user information has no place here");
    if (!std::ranges::all_of(path, is_path_byte))
        return bad_url("its path holds a byte that must be percent-encoded");
    while (path.ends_with('/'))
        path.remove_suffix(1);

    origin parsed;
    parsed.base_path = path;
    std::string_view host = where;
    std::string_view port;
    if (where.starts_with('[')) {
        const auto end = where.find(']');
        if (end == std::string_view::npos)
            return bad_url("the bracket around its IPv6 address is not closed");
        host = where.substr(1, end - 1);
        port = where.substr(end + 1);
        boost::system::error_code ec;
        asio::ip::make_address_v6(host, ec);
        if (ec || host.find('%') != std::string_view::npos)
            return bad_url("what stands in brackets is not an IPv6 address");
    } else {
        host = where.substr(0, where.find(':'));
        port = where.substr(host.size());
        if (!is_host(host))
            return bad_url("it names no valid host");
    }
    if (!port.empty()) {
        port.remove_prefix(1);
        const auto [end, ec] = std::from_chars(port.data(), port.data() + port.size(), parsed.port);
        if (where[where.size() - port.size() - 1] != ':' || ec != std::errc() ||
            end != port.data() + port.size() || parsed.port == 0)
            return bad_url("its port is not a number from 1 to 65535");
    }
    std::ranges::transform(host, std::back_inserter(parsed.host), ascii::lower);
    return parsed;
}

std::string authority(const origin& server) {
    std::string text = server.host;
    if (text.ends_with('.'))
        text.pop_back();
    if (text.find(':') != std::string::npos)
        text = "[" + text + "]";
    if (server.port != 443)
        text += ":" + std::to_string(server.port);
    return text;
}

} // namespace credlet
