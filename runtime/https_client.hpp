#pragma once
// An HTTP/1.1 client for one origin over TLS, with a bounded pool of kept-alive connections. Runs on one
// event loop and is not thread-safe. The loop and the clock outlive the client and everything it handed out.
//
// What it promises:
// - TLS 1.2 or newer; the peer's chain and its name (or IP address) are checked, and nothing switches that
// off. Not a
//   byte of a request is sent before that. The CA file is read again when it changes.
// - Every step has its own deadline (resolve, connect, handshake, write, read) and the whole exchange has
// one.
// - Answers are bounded, redirects are returned as they are and never followed, no compression is offered,
// proxy
//   environment variables are ignored.
// - A pooled connection that turns out to be dead before any byte of the answer arrived costs one free retry.
// - When one address of the name does not accept within attempt_delay, the next is tried beside it (RFC
//   8305). One that accepts but does not shake hands or answer comes last from then on. Names are looked up
//   on a thread that the loop never waits for; the last good answer serves for an hour when DNS fails.
// - A caller that is cancelled gets errc::cancelled, never errc::timed_out and never an exception.
//
// Ending: the client may be destroyed at any time on its loop's thread, but not from one of its events. That
// is stop(), and no event is reported any more. Exchanges and streams still under way share what they need
// and end by their own limits: cancel and await them (task_group) before the loop and the clock go. An
// http_stream must not be destroyed while its read_some() runs.

#include "runtime/async.hpp"
#include "runtime/clock.hpp"
#include "runtime/error.hpp"
#include "runtime/secret.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/address.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace credlet {

// scheme https, a host (name, IPv4, or IPv6 without brackets) and a port.
struct origin {
    std::string host;
    std::uint16_t port = 443;
    // Where the origin's own path starts, without a trailing slash; empty for most.
    std::string base_path;
};
// Takes "https://host[:port][/base]". Refuses http, user information, a query or a fragment.
result<origin> parse_origin(std::string_view url);
// What the Host header says: the host without a trailing dot, an IPv6 address in brackets, and the port
// unless 443.
std::string authority(const origin& server);

struct http_header {
    std::string name;
    secret_string value; // an Authorization header is one of these
};

struct http_request {
    std::string method = "GET";
    std::string target = "/"; // path and query, appended to the origin's base path
    // Host, Content-Length, User-Agent, Connection, Transfer-Encoding and Accept-Encoding are the client's
    // own: with one of them, or with a byte in a name or value that could end the line, the request is
    // refused (malformed).
    std::vector<http_header> headers;
    secret_string body;
    std::size_t max_response_body = std::size_t{64} * 1024; // bytes
};

struct http_response {
    unsigned status = 0;
    std::vector<std::pair<std::string, std::string>> headers; // names as received
    secret_string body;
    // The value of the first header of that name, ignoring case.
    [[nodiscard]] std::optional<std::string_view> header(std::string_view name) const;
};

// Retry-After in seconds or as an HTTP date (RFC 9110 section 10.2.3), relative to now; none if absent or
// nonsense.
std::optional<std::chrono::milliseconds> retry_after(const http_response& response, wall_time now);
// The Date header (RFC 9110 section 6.6.1).
std::optional<wall_time> http_date(std::string_view text);

// How to find addresses; getaddrinfo in production. The callback comes on any thread, or not at all after
// stop.
class name_resolver {
public:
    virtual ~name_resolver() = default;
    using callback = std::function<void(result<std::vector<asio::ip::address>>)>;
    virtual void resolve(const std::string& host, callback done) = 0;
};
std::shared_ptr<name_resolver> make_system_resolver();

struct https_client_settings {
    origin server;
    std::string ca_file; // PEM bundle; empty: the system's own
    std::string user_agent;
    std::size_t max_connections = 16; // open at once, idle ones included; more wait their turn
    std::size_t max_waiting = 1024;   // requests that wait for a connection
    std::chrono::milliseconds resolve_timeout{2000};
    std::chrono::milliseconds connect_timeout{2000}; // all addresses together
    std::chrono::milliseconds attempt_delay{250};    // before the next address is tried beside the last
    std::chrono::milliseconds handshake_timeout{2000};
    std::chrono::milliseconds write_timeout{2000};
    std::chrono::milliseconds read_timeout{5000};  // between two reads of an answer
    std::chrono::milliseconds idle_timeout{55000}; // of a pooled connection
    std::chrono::seconds stale_addresses{3600};
    std::chrono::milliseconds tcp_user_timeout{30000}; // unacknowledged data: a silent peer
};

// What no caller learns from its own answer. Called on the client's loop.
struct https_client_events {
    // A lookup failed: while an older answer serves, exchanges go on as if nothing had happened.
    std::function<void(const error&)> resolve_failed;
    std::function<void()> ca_reloaded;
    // The CA file has changed but cannot be used; what was read before stays in force. Once per change of the
    // content; again and again while the file cannot be read.
    std::function<void(const error&)> ca_failed;
};

// The body of an answer, as it comes. Dropping the stream closes its connection.
class http_stream {
public:
    virtual ~http_stream() = default;
    [[nodiscard]] virtual const http_response& head() const = 0; // status and headers; its body is empty
    // The next bytes, at most 64 KiB. Empty: the body ended as HTTP says it must. errc::timed_out after
    // `silence` without a byte (the stream is then dead), errc::connection_lost when cut short.
    virtual awaitable<result<std::string>> read_some(std::chrono::milliseconds silence) = 0;
};

class https_client {
public:
    virtual ~https_client() = default;
    // The whole exchange within `limit`. Any status is a success here. Retrying is the caller's business, but
    // for the free retry named above: every request is taken to be safe to send twice.
    virtual awaitable<result<http_response>> exchange(http_request request,
                                                      std::chrono::milliseconds limit) = 0;
    // Head of the answer within `limit`; then the body at the server's pace. A status other than 200 is
    // returned too; its body can be read the same way.
    virtual awaitable<result<std::unique_ptr<http_stream>>> open(http_request request,
                                                                 std::chrono::milliseconds limit) = 0;
    // Closes idle connections, refuses new requests and those that wait for a connection with
    // errc::cancelled. Exchanges under way are cancelled by their own callers.
    virtual void stop() = 0;
};

// Fails if the CA file cannot be read or holds no certificate.
result<std::unique_ptr<https_client>> make_https_client(asio::io_context& loop, const clock& time,
                                                        std::shared_ptr<name_resolver> names,
                                                        https_client_settings settings,
                                                        https_client_events events = {});

} // namespace credlet
