#pragma once
// An HTTP/1.1 server for small answers: no bodies in, rendered replies out. One event loop, one thread;
// nothing here is thread-safe. Requests of a connection are served strictly in turn, which is the
// backpressure against pipelining.
//
// Limits (http_server_limits) hold per request, per connection, per peer and in total. One peer cannot take
// the places of the others: at its own limit its longest idle connection gives way, or the new one is refused
// if all are busy; and when the server is full, the longest idle connection of the peer that holds most.

#include "runtime/async.hpp"
#include "runtime/clock.hpp"
#include "runtime/descriptor.hpp"
#include "runtime/http_request_parser.hpp"
#include "runtime/secret.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace credlet {

// A reply ready to be written, shared by all who get it. Immutable; wiped when the last one has let go.
class rendered_reply {
public:
    // Renders status line, Content-Type, Content-Length and Cache-Control: no-store. content_type empty: no
    // such header. extra_headers: whole lines, each ending in CRLF; neither they nor content_type may come
    // from outside.
    rendered_reply(unsigned status, std::string_view content_type, std::string_view body,
                   std::string_view extra_headers = {});
    [[nodiscard]] unsigned status() const { return status_; }
    // Without the blank line: "Connection: close" may still follow.
    [[nodiscard]] std::string_view head() const { return bytes_.reveal().substr(0, head_size_); }
    [[nodiscard]] std::string_view body() const {
        return bytes_.reveal().substr(head_size_ + blank_line.size());
    }
    // Head, blank line and body, as they go to a connection that stays open.
    [[nodiscard]] std::string_view whole() const { return bytes_.reveal(); }

    static constexpr std::string_view blank_line = "\r\n";

private:
    unsigned status_;
    std::size_t head_size_;
    secret_string bytes_;
};
using reply_ptr = std::shared_ptr<const rendered_reply>;

// application/json bodies carrying {"code":..,"message":..,"Code":..,"Message":..}, which every AWS SDK
// understands.
reply_ptr render_error(unsigned status, std::string_view code, std::string_view message,
                       std::string_view extra_headers = {});

// A unix socket as an address to listen on. Who may connect is a matter of the file's mode: see
// runtime/socket_file.hpp.
struct unix_path {
    std::string path;
    bool operator==(const unix_path&) const = default;
};

// Of a connection through a unix socket, peer and local are the defaults: all of them together count as one
// peer.
struct connection_info {
    asio::ip::address peer; // an IPv4-mapped IPv6 address is given as IPv4
    std::uint16_t peer_port = 0;
    asio::ip::tcp::endpoint local;
    std::size_t listener = 0; // index in the order of listen() calls; of a private listener, nothing
    std::shared_ptr<const std::string> owner{}; // of the private listener it came through; or nullptr
};

// A listening socket, made elsewhere, that nobody can reach but the one it is for. All connections through
// the private listeners of one owner count as one peer, whatever their addresses.
struct private_listener {
    descriptor socket; // of make_listening_socket()
    std::shared_ptr<const std::string> owner;
};

// A request that outlives its buffer, for answers that take time. The head must come from parse_request_head,
// whose views lie in one piece of memory.
struct owned_request {
    explicit owned_request(const request_head& original);
    secret_string bytes; // what the views of head point into
    request_head head;
};

class request_handler {
public:
    virtual ~request_handler() = default;
    // The answer, from memory alone; nullptr: answer_later is asked instead. Called for every request first.
    // The views in head die on return.
    virtual reply_ptr answer_now(const request_head& head, const connection_info& connection) = 0;
    // The answer once there is one. Never nullptr. Cancelled when the server is stopped for good; if the
    // caller hangs up meanwhile, the answer is dropped, but nobody notices before it is written: hold times
    // end it.
    virtual awaitable<reply_ptr> answer_later(std::unique_ptr<owned_request> request,
                                              connection_info connection) = 0;
    // The answer to a request that the server itself refuses. The connection closes after it.
    virtual reply_ptr answer_fault(request_fault fault, const connection_info& connection) = 0;
};

struct http_server_limits {
    std::size_t max_head = std::size_t{24} * 1024; // bytes
    std::size_t max_connections = 4096;
    std::size_t max_connections_per_peer = 64;
    std::size_t max_requests_per_connection = 100000;
    std::chrono::milliseconds head_timeout{5000};     // first byte of a request to the end of its head
    std::chrono::milliseconds request_timeout{10000}; // end of head to the last byte handed to the kernel
    std::chrono::milliseconds write_timeout{10000};
    std::chrono::milliseconds idle_timeout{30000}; // between requests
    int backlog = 4096;
};

struct http_server_events {
    std::function<void()> opened, closed;
    // peer_limit, server_full, head_timeout, idle_timeout, write_timeout, request_timeout, evicted,
    // accept_failed
    std::function<void(std::string_view reason)> rejected;
    // The handler threw, which is a bug of it: that connection was cut, the others go on.
    std::function<void(const std::string& what)> handler_failed;
};

// Deadlines are enforced by a sweep: at most a second late, or a quarter of the smallest limit if that is
// less. It runs only while a connection is open.
class http_server {
public:
    // To be called once drain() has completed. Called earlier, it cuts all connections; if answer_later is
    // running for one of them, the handler must live on and the loop must run until those coroutines have
    // ended.
    virtual ~http_server() = default;
    // Binds and listens. Retrying a busy or missing address is the caller's business. Port 0: see
    // endpoints(). IPv6 sockets take no IPv4 connections. errc::cancelled from the beginning of a drain on.
    virtual result<std::size_t> listen(const asio::ip::tcp::endpoint& where) = 0;
    virtual result<std::size_t> listen(const unix_path& where) = 0;
    // Likewise, but other processes may do so too, and take over in turn: see runtime/shared_address.hpp.
    virtual result<std::size_t> listen_shared(const asio::ip::tcp::endpoint& where) = 0;
    // The key is the caller's, one for each listener, to close it by. Fails only when a drain has begun
    // (errc::cancelled) or the socket does not listen; it is closed then. For want of an owner, or when the
    // key is in use, too, which are bugs.
    virtual result<void> listen(std::uint64_t key, private_listener listener) = 0;
    // Closes a private listener. Its connections are closed too; where a request is being answered, behind
    // that answer. No error if there is none of that key.
    virtual void close_listener(std::uint64_t key) = 0;
    // In the order of the listen() calls without a key, with the ports that port 0 became; a default one for
    // a unix socket.
    [[nodiscard]] virtual std::vector<asio::ip::tcp::endpoint> endpoints() const = 0;
    [[nodiscard]] virtual std::size_t connections() const = 0;
    // Closes every connection from an address, which now belongs to somebody else. Where a request is being
    // answered, the connection closes behind that answer. Those through private listeners stay.
    virtual void close_peer(const asio::ip::address& peer) = 0;
    // New callers go to another process that shares the address, if there is one. Those of this one get one
    // more answer, with Connection: close. When no connection is left, or after half of `grace`, idle ones
    // are closed (those just accepted have a second to bring their request), and nobody can begin to connect;
    // who has begun is still accepted and answered. Completes when no connection is left or `grace` has
    // passed, in which case the rest are cut and their answer_later is cancelled. Returns how many were cut
    // before their answer was whole.
    virtual awaitable<std::size_t> drain(std::chrono::milliseconds grace) = 0;
};

// handler, clock outlive the server.
std::unique_ptr<http_server> make_http_server(asio::io_context& loop, const clock& time,
                                              request_handler& handler, http_server_limits limits,
                                              http_server_events events = {});

} // namespace credlet
