#pragma once
// An HTTP server on loopback with a handler that answers by path, a clock moved by hand, and counted events.

#include "runtime/http_server.hpp"
#include "tests/support/loopback_peer.hpp"
#include "tests/support/manual_clock.hpp"

#include <boost/asio/steady_timer.hpp>

#include <functional>
#include <map>
#include <optional>

namespace credlet::test {

// /now/X: "X" at once. /later/X: "X" once released. /big: eight MiB. /throw, /throw/later, /null: bugs of a
// handler. Anything else: 404.
class path_handler final : public request_handler {
public:
    explicit path_handler(asio::io_context& loop);
    reply_ptr answer_now(const request_head& head, const connection_info& connection) override;
    awaitable<reply_ptr> answer_later(std::unique_ptr<owned_request> request,
                                      connection_info connection) override;
    reply_ptr answer_fault(request_fault fault, const connection_info& connection) override;
    // Lets all pending /later requests go on.
    void release() { gate_.cancel(); }

    std::size_t asked = 0;   // calls of answer_now
    std::size_t waiting = 0; // coroutines of answer_later
    std::size_t cancelled = 0;
    std::map<std::string, std::size_t> faults;
    connection_info last_connection;
    std::function<void()> during_answer; // called by answer_now

private:
    asio::steady_timer gate_;
    reply_ptr big_;
};

struct http_server_fixture {
    explicit http_server_fixture(http_server_limits limits = quick());
    http_server_fixture(const http_server_fixture&) = delete;
    http_server_fixture& operator=(const http_server_fixture&) = delete;
    ~http_server_fixture();

    // The default limits, but deadlines are looked at every ten milliseconds. They are reached by moving the
    // clock.
    static http_server_limits quick();

    loopback_peer connect(const std::string& from = "127.0.0.1") const { return loopback_peer(port, from); }
    loopback_peer connect_with_small_window() const { return loopback_peer(port, "127.0.0.1", true); }

    // Runs the loop until the condition holds; false if it does not within ten seconds.
    bool until(const std::function<bool()>& holds);
    // Runs all that is ready to run: what callers have sent has then been read.
    void settle();
    // Runs the loop for so long.
    void run_for(std::chrono::milliseconds d);
    // Sends and awaits a whole reply (or the end of the connection); returns it.
    std::string ask(loopback_peer& peer, std::string_view request);
    std::string get(loopback_peer& peer, std::string_view path, std::string_view lines = {});
    bool until_closed(loopback_peer& peer);
    // Starts a drain; `cut` is set when it has completed.
    void begin_drain(std::chrono::milliseconds grace);
    std::optional<std::size_t> cut;
    // Drains to the end; returns how many were cut.
    std::size_t drain(std::chrono::milliseconds grace = std::chrono::seconds(5));

    asio::io_context loop{1};
    manual_clock time;
    path_handler handler{loop};
    std::map<std::string, std::size_t> rejected;
    std::size_t opened = 0;
    std::size_t closed = 0;
    std::vector<std::string> handler_failures;
    std::unique_ptr<http_server> server;
    std::uint16_t port = 0;
};

std::string get_request(std::string_view path, std::string_view lines = {});
// The body of the first reply in there, as its Content-Length says; nothing if it is not whole yet.
std::optional<std::string> body_of(std::string_view received);
bool is_status(std::string_view received, unsigned status);
bool says_close(std::string_view received);

} // namespace credlet::test
