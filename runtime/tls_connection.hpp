#pragma once
// One connection whose peer has proved its name, with a limit on each step. After any error it is of no more
// use.

#include "runtime/connect.hpp"
#include "runtime/error.hpp"

#include <boost/asio/ip/tcp.hpp>

#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace boost::asio::ssl {
class context;
} // namespace boost::asio::ssl

namespace credlet {

class tls_connection {
public:
    // Shakes hands over a connected socket and checks that the peer is `host` (a name, or an IP address) by
    // the rules of `trust`. `peer` names the other side in errors, `trusted` what it is checked against.
    // Errors: tls_failed (with OpenSSL's reason), timed_out, cancelled.
    static awaitable<result<std::unique_ptr<tls_connection>>>
    shake_hands(asio::ip::tcp::socket socket, std::shared_ptr<asio::ssl::context> trust, std::string host,
                std::string peer, std::string trusted, step_limit limit);

    tls_connection(const tls_connection&) = delete;
    tls_connection& operator=(const tls_connection&) = delete;
    ~tls_connection();

    // Writes all of it. The bytes stay where they are until it is done.
    awaitable<result<void>> write(std::string_view bytes, step_limit limit);
    // At least one byte, or 0 when the peer has said that it ends here (TLS close_notify): only then is
    // "until the connection closes" a whole body. Any other end is errc::connection_lost.
    awaitable<result<std::size_t>> read_some(std::span<char> into, step_limit limit);

    // Nothing has come that nobody asked for, neither data nor an end: not to the socket, nor beyond it.
    [[nodiscard]] bool quiet() const;
    // By which context the peer was checked.
    [[nodiscard]] const std::shared_ptr<asio::ssl::context>& trust() const { return trust_; }
    [[nodiscard]] const std::string& peer() const { return peer_; }

private:
    struct stream;
    tls_connection(asio::ip::tcp::socket socket, std::shared_ptr<asio::ssl::context> trust, std::string peer);
    awaitable<error> explain(std::string_view doing, boost::system::error_code ec, step_limit limit) const;

    std::shared_ptr<asio::ssl::context> trust_;
    std::string peer_;
    std::unique_ptr<stream> stream_;
};

} // namespace credlet
