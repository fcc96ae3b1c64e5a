#include "daemon/admin_address.hpp"

#include "daemon/option_values.hpp"
#include "runtime/socket_file.hpp"

#include <boost/asio/local/stream_protocol.hpp>

namespace credlet::app {

namespace {

constexpr std::string_view unix_scheme = "unix:";

} // namespace

result<admin_address> parse_admin_address(std::string_view text) {
    if (text.starts_with(unix_scheme)) {
        const auto path = text.substr(unix_scheme.size());
        if (!path.starts_with('/') || path.ends_with('/') || path.size() > socket_file::longest_path ||
            path.find('\0') != std::string_view::npos)
            return fail(errc::malformed, "must be unix: and the absolute path of a socket, of at most " +
                                             std::to_string(socket_file::longest_path) + " bytes");
        return admin_address(unix_path{std::string(path)});
    }
    const auto endpoint = parse_endpoint(text);
    if (!endpoint)
        return fail(errc::malformed, endpoint.error().message + ", or unix:/PATH");
    return admin_address(*endpoint);
}

std::string text_of(const admin_address& where) {
    if (const auto* socket = std::get_if<unix_path>(&where))
        return std::string(unix_scheme) + socket->path;
    return text_of(std::get<asio::ip::tcp::endpoint>(where));
}

admin_address reachable(admin_address where) {
    if (auto* e = std::get_if<asio::ip::tcp::endpoint>(&where); e != nullptr && e->address().is_unspecified())
        e->address(e->address().is_v6() ? asio::ip::address(asio::ip::address_v6::loopback())
                                        : asio::ip::address(asio::ip::address_v4::loopback()));
    return where;
}

asio::generic::stream_protocol::endpoint endpoint_of(const admin_address& where) {
    if (const auto* socket = std::get_if<unix_path>(&where))
        return asio::local::stream_protocol::endpoint(socket->path);
    return std::get<asio::ip::tcp::endpoint>(where);
}

} // namespace credlet::app
