#include "daemon/option_values.hpp"

#include "sts/credentials.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace credlet::app {

namespace {

bool lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

bool is_dns_name(std::string_view text) {
    if (text.empty() || text.size() > 253)
        return false;
    while (!text.empty()) {
        const auto label = text.substr(0, text.find('.'));
        if (label.empty() || label.size() > 63 || !lower_or_digit(label.front()) ||
            !lower_or_digit(label.back()) ||
            !std::all_of(label.begin(), label.end(), [](char c) { return lower_or_digit(c) || c == '-'; }))
            return false;
        if (label.size() == text.size())
            return true;
        text.remove_prefix(label.size() + 1);
    }
    return false; // ends in a dot
}

template <class Number>
bool read_all(std::string_view text, Number& number) {
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
    return !text.empty() && problem == std::errc{} && end == text.data() + text.size();
}

std::string plain(double number) {
    std::array<char, 32> digits{};
    return {digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr};
}

std::string plain(std::chrono::milliseconds d) {
    return d.count() % 1000 == 0 ? std::to_string(d.count() / 1000) + "s" : std::to_string(d.count()) + "ms";
}

} // namespace

result<asio::ip::tcp::endpoint> parse_endpoint(std::string_view text) {
    error wrong =
        fail(errc::malformed,
             "must be ADDRESS:PORT, like 127.0.0.1:8080 or [::1]:8080, with a port from 0 to 65535");
    const auto colon = text.rfind(':');
    std::uint16_t port = 0;
    if (colon == std::string_view::npos || !read_all(text.substr(colon + 1), port))
        return wrong;
    std::string_view host = text.substr(0, colon);
    const bool brackets = host.starts_with('[') && host.ends_with(']');
    if (brackets)
        host = host.substr(1, host.size() - 2);
    boost::system::error_code problem;
    const auto address = asio::ip::make_address(std::string(host), problem);
    if (problem || address.is_v6() != brackets || host.find('\0') != std::string_view::npos)
        return wrong;
    return asio::ip::tcp::endpoint(address, port);
}

result<asio::ip::tcp::endpoint> parse_pod_endpoint(std::string_view text) {
    auto endpoint = parse_endpoint(text);
    const bool zone = endpoint && endpoint->address().is_v6() && endpoint->address().to_v6().scope_id() != 0;
    if (!endpoint || !endpoint->address().is_loopback() || zone || endpoint->port() == 0)
        return fail(errc::malformed, "must be a loopback address and a port from 1 to 65535, like "
                                     "127.0.0.1:9799 or [::1]:9799: it is inside of the pods' own network "
                                     "namespaces");
    return endpoint;
}

std::string text_of(const asio::ip::tcp::endpoint& e) {
    const auto host = e.address().to_string();
    return (e.address().is_v6() ? "[" + host + "]" : host) + ":" + std::to_string(e.port());
}

result<asio::ip::address> parse_link_address(std::string_view text) {
    boost::system::error_code problem;
    const auto slash = text.find('/');
    const std::string host(text.substr(0, slash));
    auto address = asio::ip::make_address(host, problem);
    const bool whole = slash == std::string_view::npos ||
                       text.substr(slash + 1) == (address.is_v6() ? std::string_view("128") : "32");
    if (problem || !whole || host.find('\0') != std::string::npos || address.is_unspecified() ||
        address.is_multicast() || (address.is_v6() && address.to_v6().scope_id() != 0))
        return fail(errc::malformed, "must be one address, like 169.254.170.23/32 or fd00:ec2::23/128");
    return address;
}

result<std::string> parse_link_name(std::string_view text) {
    constexpr std::size_t longest = 15; // IFNAMSIZ with its zero
    const bool characters = std::all_of(text.begin(), text.end(),
                                        [](char c) { return c > ' ' && c < 0x7f && c != '/' && c != ':'; });
    if (text.empty() || text.size() > longest || !characters || text == "." || text == "..")
        return fail(errc::malformed, "must be the name of a link: 1 to 15 printable characters without '/', "
                                     "':' and spaces");
    return std::string(text);
}

result<origin> parse_https_url(std::string_view text) {
    auto url = parse_origin(text);
    if (!url)
        return fail(errc::malformed, "must be an https:// URL of host, optional port and optional path (" +
                                         url.error().message + ")");
    return std::move(*url);
}

result<bool> parse_bool(std::string_view text) {
    std::string lower(text);
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    if (lower == "true" || lower == "1" || lower == "yes" || lower == "on")
        return true;
    if (lower == "false" || lower == "0" || lower == "no" || lower == "off")
        return false;
    return fail(errc::malformed, "must be true or false");
}

result<std::string> parse_path(std::string_view text) {
    if (text.empty() || text.size() > 4096 || text.find('\0') != std::string_view::npos)
        return fail(errc::malformed, "must be the path of a file, of at most 4096 bytes");
    return std::string(text);
}

result<std::string> parse_word(std::string_view text, std::size_t longest) {
    if (text.empty() || text.size() > longest ||
        !std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; }))
        return fail(errc::malformed,
                    "must be 1 to " + std::to_string(longest) + " printable characters without spaces");
    return std::string(text);
}

result<std::string> parse_dns_name(std::string_view text) {
    if (!is_dns_name(text))
        return fail(errc::malformed,
                    "must be a DNS name of lower-case letters, digits, '-' and '.', as Kubernetes names are");
    return std::string(text);
}

result<std::string> parse_annotation_prefix(std::string_view text) {
    const auto name = text.ends_with('/') ? text.substr(0, text.size() - 1) : text;
    if (!is_dns_name(name))
        return fail(errc::malformed, "must be a DNS name that ends in '/', like credlet.io/");
    return std::string(name) + "/";
}

result<std::string> parse_role_arn_base(std::string_view text) {
    if (!text.ends_with('/') || !sts::role_arn::parse(std::string(text) + "name"))
        return fail(
            errc::malformed,
            "must be the beginning of a role's ARN up to a '/', like arn:aws:iam::123456789012:role/");
    return std::string(text);
}

result<std::string> parse_host(std::string_view text) {
    const bool characters = std::all_of(text.begin(), text.end(), [](char c) {
        return lower_or_digit(c) || (c >= 'A' && c <= 'Z') ||
               std::string_view("-.:[]_").find(c) != std::string_view::npos;
    });
    if (text.empty() || text.size() > 260 || !characters)
        return fail(errc::malformed,
                    "must be a host as clients write it into the Host header: a name or an address, and the "
                    "port unless it is 80");
    return std::string(text);
}

result<std::string> parse_region(std::string_view text) {
    if (text.empty() || text.size() > 32 || text.front() == '-' || text.back() == '-' ||
        !std::all_of(text.begin(), text.end(), [](char c) { return lower_or_digit(c) || c == '-'; }))
        return fail(errc::malformed, "must be lower-case letters, digits and '-', like us-east-1");
    return std::string(text);
}

result<double> parse_number(std::string_view text, double least, double most) {
    double number = 0;
    if (!read_all(text, number) || !std::isfinite(number) || number < least || number > most)
        return fail(errc::malformed, "must be a number from " + plain(least) + " to " + plain(most));
    return number;
}

result<std::size_t> parse_count(std::string_view text, std::size_t least, std::size_t most) {
    std::size_t number = 0;
    if (!read_all(text, number) || number < least || number > most)
        return fail(errc::malformed,
                    "must be a whole number from " + std::to_string(least) + " to " + std::to_string(most));
    return number;
}

result<std::chrono::milliseconds> parse_duration(std::string_view text, std::chrono::milliseconds least,
                                                 std::chrono::milliseconds most) {
    error wrong = fail(errc::malformed, "must be a duration from " + plain(least) + " to " + plain(most) +
                                            ", like 500ms, 5s, 2m or 1h");
    struct unit {
        std::string_view name;
        double milliseconds;
    };
    static constexpr std::array<unit, 4> units{{{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}}};
    double scale = 1000;
    for (const auto& u : units) {
        if (text.ends_with(u.name)) {
            text.remove_suffix(u.name.size());
            scale = u.milliseconds;
            break;
        }
    }
    double number = 0;
    if (!read_all(text, number) || !std::isfinite(number))
        return wrong;
    const double total = number * scale;
    if (total < static_cast<double>(least.count()) || total > static_cast<double>(most.count()))
        return wrong;
    return std::chrono::milliseconds(std::llround(total));
}

} // namespace credlet::app
