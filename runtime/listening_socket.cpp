#include "runtime/listening_socket.hpp"

#include "runtime/shared_address.hpp"

#include <cerrno>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sstream>
#include <sys/socket.h>
#include <system_error>

namespace credlet {

namespace {

using asio::ip::tcp;

// Per connection; the kernel doubles them. A head is at most 24 KiB and an answer of ten, so this is plenty,
// while what callers do not read or finish stays within some hundred KiB each of this process's memory
// account.
constexpr int receive_buffer = 32 * 1024;
constexpr int send_buffer = 64 * 1024;

errc kind_of(int number) {
    switch (number) {
    case EADDRINUSE:
        return errc::in_use;
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
        return errc::unavailable;
    default:
        return errc::io_failed;
    }
}

bool set(const descriptor& socket, int level, int option, int value) {
    return ::setsockopt(socket.get(), level, option, &value, sizeof value) == 0;
}

// On Linux accepted sockets inherit TCP_NODELAY and the buffer sizes, which saves setting them on each.
bool set_options(const descriptor& socket, const tcp::endpoint& where, const listening_socket_settings& how) {
    const bool v6 = where.protocol() == tcp::v6();
    return set(socket, SOL_SOCKET, SO_REUSEADDR, 1) &&
           (how.shares == sharing::no || set(socket, SOL_SOCKET, SO_REUSEPORT, 1)) &&
           (!v6 || set(socket, IPPROTO_IPV6, IPV6_V6ONLY, 1)) &&
           (how.presence == address_presence::required ||
            (v6 ? set(socket, IPPROTO_IPV6, IPV6_FREEBIND, 1) : set(socket, IPPROTO_IP, IP_FREEBIND, 1))) &&
           set(socket, IPPROTO_TCP, TCP_NODELAY, 1) && set(socket, SOL_SOCKET, SO_RCVBUF, receive_buffer) &&
           set(socket, SOL_SOCKET, SO_SNDBUF, send_buffer);
}

} // namespace

result<descriptor> make_listening_socket(const tcp::endpoint& where, const listening_socket_settings& how) {
    descriptor socket(::socket(where.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket || !set_options(socket, where, how) ||
        ::bind(socket.get(), where.data(), static_cast<socklen_t>(where.size())) != 0 ||
        ::listen(socket.get(), how.backlog) != 0) {
        const int number = errno;
        std::ostringstream message;
        message << "cannot listen on " << where << ": " << std::system_category().message(number);
        return fail(kind_of(number), message.str());
    }
    if (how.shares == sharing::yes)
        call_at(socket.get(), first_place); // who was there before us goes on
    return socket;
}

result<tcp::endpoint> endpoint_of(const descriptor& listening_socket) {
    const auto option = [&listening_socket](int name) {
        int value = 0;
        socklen_t length = sizeof value;
        return ::getsockopt(listening_socket.get(), SOL_SOCKET, name, &value, &length) == 0 ? value : -1;
    };
    const int family = option(SO_DOMAIN);
    tcp::endpoint where(family == AF_INET6 ? tcp::v6() : tcp::v4(), 0);
    auto length = static_cast<socklen_t>(where.capacity());
    if ((family != AF_INET && family != AF_INET6) || option(SO_PROTOCOL) != IPPROTO_TCP ||
        option(SO_ACCEPTCONN) != 1 || ::getsockname(listening_socket.get(), where.data(), &length) != 0)
        return fail(errc::io_failed, "this is no TCP socket that listens");
    return where;
}

} // namespace credlet
