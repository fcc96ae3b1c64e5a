#include "runtime/tls_connection.hpp"

#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include <cerrno>
#include <sys/socket.h>

namespace credlet {

namespace ssl = boost::asio::ssl;
namespace beast = boost::beast;
using boost::system::error_code;

// Beast's stream adds the deadline: when it passes, the socket is closed and what was under way ends with
// beast::error::timeout.
struct tls_connection::stream {
    stream(asio::ip::tcp::socket socket, ssl::context& context)
        : tls(beast::tcp_stream(std::move(socket)), context) {}
    ssl::stream<beast::tcp_stream> tls;
};

namespace {

// Names the peer to OpenSSL, for the check of its certificate and, unless an address, for SNI (RFC 6066
// section 3).
bool expect_peer(SSL* session, std::string host) {
    if (host.ends_with('.'))
        host.pop_back();
    error_code not_an_address;
    asio::ip::make_address(host, not_an_address);
    if (!not_an_address)
        return ::X509_VERIFY_PARAM_set1_ip_asc(::SSL_get0_param(session), host.c_str()) == 1;
    // The subject's common name counts for nothing (RFC 9525), nor do wildcards inside a label.
    ::SSL_set_hostflags(session, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return ::SSL_set1_host(session, host.c_str()) == 1 &&
           SSL_set_tlsext_host_name(session, host.c_str()) == 1;
}

} // namespace

tls_connection::tls_connection(asio::ip::tcp::socket socket, std::shared_ptr<ssl::context> trust,
                               std::string peer)
    : trust_(std::move(trust)),
      peer_(std::move(peer)),
      stream_(std::make_unique<stream>(std::move(socket), *trust_)) {}

tls_connection::~tls_connection() = default;

awaitable<result<std::unique_ptr<tls_connection>>>
tls_connection::shake_hands(asio::ip::tcp::socket socket, std::shared_ptr<ssl::context> trust,
                            std::string host, std::string peer, std::string trusted, step_limit limit) {
    std::unique_ptr<tls_connection> made(
        new tls_connection(std::move(socket), std::move(trust), std::move(peer)));
    auto& tls = made->stream_->tls;
    if (!expect_peer(tls.native_handle(), std::move(host)))
        co_return fail(errc::tls_failed,
                       "TLS handshake with " + made->peer_ + ": the host name cannot be checked");
    if (co_await caller_cancelled())
        co_return fail(errc::cancelled, "TLS handshake with " + made->peer_ + " was cancelled");

    tls.next_layer().expires_at(limit.at);
    const auto [ec] = co_await tls.async_handshake(ssl::stream_base::client, as_result);
    if (!ec)
        co_return made;
    auto failure = co_await made->explain("TLS handshake with", ec, limit);
    if (failure.kind == errc::connection_lost)
        failure.kind = errc::tls_failed;
    const auto verdict = ::SSL_get_verify_result(tls.native_handle());
    if (failure.kind == errc::tls_failed && verdict != X509_V_OK)
        failure.message = "TLS handshake with " + made->peer_ +
                          ": its certificate is not acceptable: " + ::X509_verify_cert_error_string(verdict) +
                          " (checked against " + trusted + ")";
    co_return failure;
}

awaitable<result<void>> tls_connection::write(std::string_view bytes, step_limit limit) {
    if (co_await caller_cancelled())
        co_return fail(errc::cancelled, "writing to " + peer_ + " was cancelled");
    stream_->tls.next_layer().expires_at(limit.at);
    const auto [ec, n] = co_await asio::async_write(stream_->tls, asio::buffer(bytes), as_result);
    if (ec)
        co_return co_await explain("writing to", ec, limit);
    co_return result<void>();
}

awaitable<result<std::size_t>> tls_connection::read_some(std::span<char> into, step_limit limit) {
    if (co_await caller_cancelled())
        co_return fail(errc::cancelled, "reading from " + peer_ + " was cancelled");
    stream_->tls.next_layer().expires_at(limit.at);
    const auto [ec, n] =
        co_await stream_->tls.async_read_some(asio::buffer(into.data(), into.size()), as_result);
    if (n > 0)
        co_return n;
    if (ec == asio::error::eof)
        co_return std::size_t{0};
    co_return co_await explain("reading from", ec, limit);
}

bool tls_connection::quiet() const {
    SSL* const session = stream_->tls.native_handle();
    if (::SSL_has_pending(session) == 1 || BIO_pending(::SSL_get_rbio(session)) > 0)
        return false; // read from the socket together with the last answer
    char byte = 0;
    const auto socket = stream_->tls.next_layer().socket().native_handle();
    const auto n = ::recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

awaitable<error> tls_connection::explain(std::string_view doing, error_code ec, step_limit limit) const {
    const std::string what = std::string(doing) + " " + peer_;
    if (ec == beast::error::timeout)
        co_return fail(errc::timed_out, what + " was not done " + limit.text());
    if (co_await caller_cancelled())
        co_return fail(errc::cancelled, what + " was cancelled");
    if (ec == ssl::error::stream_truncated)
        co_return fail(errc::connection_lost, what + ": the peer closed the connection");
    co_return fail(errc::connection_lost, what + ": " + ec.message());
}

} // namespace credlet
