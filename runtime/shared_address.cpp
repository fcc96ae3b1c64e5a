#include "runtime/shared_address.hpp"

#include "runtime/descriptor.hpp"

#include <array>
#include <cerrno>
#include <linux/filter.h>
#include <netinet/in.h>
#include <span>
#include <sys/socket.h>

namespace credlet {

namespace {

// Not being able to is no error: it only makes the hand-over less smooth.
void attach(int socket, int option, std::span<sock_filter> code) {
    const sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
    (void)::setsockopt(socket, SOL_SOCKET, option, &program, sizeof program);
}

} // namespace

// A bind that shares nothing fails where somebody listens; and with SO_REUSEADDR only there, not where
// connections of one who has gone still end. Whether the address is there (yet) does not matter.
bool is_listened_on(const asio::ip::tcp::endpoint& where) {
    const descriptor socket(::socket(where.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket)
        return false;
    const int one = 1;
    (void)::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (where.address().is_v6()) {
        (void)::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
        (void)::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_FREEBIND, &one, sizeof one);
    } else {
        (void)::setsockopt(socket.get(), IPPROTO_IP, IP_FREEBIND, &one, sizeof one);
    }
    return ::bind(socket.get(), where.data(), static_cast<socklen_t>(where.size())) != 0 &&
           errno == EADDRINUSE;
}

void call_at(int listener, std::uint32_t place) {
    std::array code{sock_filter BPF_STMT(BPF_RET | BPF_K, place)};
    attach(listener, SO_ATTACH_REUSEPORT_CBPF, code);
}

// A filter sees what comes to the listening socket itself, from the TCP header on. To drop the last packet of
// a handshake as well would reset callers who take themselves for connected.
void begin_no_handshakes(int listener) {
    constexpr std::uint32_t flags_offset = 13, syn = 0x02, ack = 0x10, drop = 0, keep = 0xffffffff;
    std::array code{
        sock_filter BPF_STMT(BPF_LD | BPF_B | BPF_ABS, flags_offset),
        sock_filter BPF_STMT(BPF_ALU | BPF_AND | BPF_K, syn | ack),
        sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, syn, 0, 1),
        sock_filter BPF_STMT(BPF_RET | BPF_K, drop),
        sock_filter BPF_STMT(BPF_RET | BPF_K, keep),
    };
    attach(listener, SO_ATTACH_FILTER, code);
}

} // namespace credlet
