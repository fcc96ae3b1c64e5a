#pragma once
// A plain TCP caller on loopback that does exactly what it is told: no HTTP library would send what these
// tests send. Its operations never wait; the test runs the server's loop between them.

#include <boost/asio/ip/tcp.hpp>

#include <cerrno>
#include <cstdint>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace credlet::test {

class loopback_peer {
public:
    // from: the source address, so that one machine is many peers; of IPv6 there is ::1. small_window: takes
    // few bytes before it reads.
    explicit loopback_peer(std::uint16_t port, const std::string& from = "127.0.0.1",
                           bool small_window = false) {
        using boost::asio::ip::tcp;
        const tcp::endpoint source(boost::asio::ip::make_address(from), 0);
        const bool v6 = source.address().is_v6();
        const tcp::endpoint target(boost::asio::ip::make_address(v6 ? "::1" : "127.0.0.1"), port);
        descriptor_ = ::socket(source.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (small_window) {
            const int bytes = 4096;
            ::setsockopt(descriptor_, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
        }
        const int one = 1;
        ::setsockopt(descriptor_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        // A connection is complete once it stands in the accept queue.
        if (::bind(descriptor_, source.data(), static_cast<socklen_t>(source.size())) != 0 ||
            ::connect(descriptor_, target.data(), static_cast<socklen_t>(target.size())) != 0) {
            ::close(descriptor_);
            throw std::runtime_error("cannot connect on loopback");
        }
    }
    loopback_peer(loopback_peer&& other) noexcept
        : descriptor_(std::exchange(other.descriptor_, -1)),
          received_(std::move(other.received_)),
          ended_(other.ended_),
          reset_(other.reset_) {}
    loopback_peer& operator=(loopback_peer&&) = delete;
    ~loopback_peer() { close(); }

    // How much the kernel took: all of it, unless the server has not been reading for long.
    std::size_t send(std::string_view bytes) {
        const auto n = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        return n < 0 ? 0 : static_cast<std::size_t>(n);
    }
    void end_sending() { ::shutdown(descriptor_, SHUT_WR); }
    void close() {
        if (descriptor_ >= 0)
            ::close(std::exchange(descriptor_, -1));
    }
    // Closes so that the server sees a reset.
    void reset() {
        const linger at_once{1, 0};
        ::setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        close();
    }

    // Takes what has come so far and returns everything received since the last clear().
    const std::string& receive() {
        char bytes[65536];
        while (!ended_) {
            const auto n = ::recv(descriptor_, bytes, sizeof bytes, MSG_DONTWAIT);
            if (n > 0) {
                received_.append(bytes, static_cast<std::size_t>(n));
                continue;
            }
            if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
                break;
            ended_ = true;
            reset_ = n < 0;
        }
        return received_;
    }
    void clear() { received_.clear(); }
    // Whether the server has closed its side, as far as receive() has got.
    [[nodiscard]] bool ended() {
        receive();
        return ended_;
    }
    [[nodiscard]] bool was_reset() const { return reset_; }

private:
    int descriptor_ = -1;
    std::string received_;
    bool ended_ = false;
    bool reset_ = false;
};

} // namespace credlet::test
