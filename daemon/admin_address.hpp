#pragma once
// Where operators and probes ask: ADDRESS:PORT, or unix:/PATH for a socket in the file system, which nobody
// reaches who cannot reach the file.

#include "runtime/http_server.hpp"

#include <boost/asio/generic/stream_protocol.hpp>

#include <string>
#include <string_view>
#include <variant>

namespace credlet::app {

using admin_address = std::variant<asio::ip::tcp::endpoint, unix_path>;

result<admin_address> parse_admin_address(std::string_view text);
// Written as it is read.
std::string text_of(const admin_address& where);
// The address to connect to: a daemon that listens on every address is asked on loopback.
admin_address reachable(admin_address where);
// As sockets take it.
asio::generic::stream_protocol::endpoint endpoint_of(const admin_address& where);

} // namespace credlet::app
