#pragma once
// Makes listening sockets. A socket belongs for good to the network namespace of the thread that made it,
// whichever thread uses it (network_namespaces(7)).

#include "runtime/descriptor.hpp"
#include "runtime/error.hpp"

#include <boost/asio/ip/tcp.hpp>

namespace credlet {

namespace asio = boost::asio;

// Whether other processes may listen on the same address: see runtime/shared_address.hpp.
enum class sharing : bool { no, yes };
// Whether the address must be there. Where it need not, callers are served as soon as it is (ip(7),
// IP_FREEBIND): the loopback of a new network namespace is down at first.
enum class address_presence : bool { required, awaited };

struct listening_socket_settings {
    int backlog = 4096;
    sharing shares = sharing::no;
    address_presence presence = address_presence::required;
};

// Bound, listening, non-blocking, closed on exec. What is accepted from it inherits TCP_NODELAY and its
// buffer sizes. An IPv6 socket takes no IPv4 connections. A newcomer among those who share the address leaves
// the callers to who was there before. errc::in_use: another socket listens there; errc::unavailable: this
// machine or namespace does not have the address or its family; io_failed: the rest.
result<descriptor> make_listening_socket(const asio::ip::tcp::endpoint& where,
                                         const listening_socket_settings& how);

// Where a socket listens. None: it is no listening TCP socket.
result<asio::ip::tcp::endpoint> endpoint_of(const descriptor& listening_socket);

} // namespace credlet
