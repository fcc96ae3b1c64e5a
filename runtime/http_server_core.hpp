#pragma once
// What the listeners and the sessions of one HTTP server share: limits, the table of connections, the sweep
// that enforces deadlines, and the coroutines of answers that take time. Kept alive by whoever still has
// something under way, so that a handler that comes late finds it.

#include "runtime/connection_table.hpp"
#include "runtime/http_server.hpp"
#include "runtime/task_group.hpp"

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/generic/stream_protocol.hpp>

namespace credlet {

// Knowing the executor's type saves what a type-erased one costs per operation.
using loop_executor = asio::io_context::executor_type;
using loop_socket = asio::basic_stream_socket<asio::generic::stream_protocol, loop_executor>; // TCP or unix
using loop_timer = asio::basic_waitable_timer<std::chrono::steady_clock,
                                              asio::wait_traits<std::chrono::steady_clock>, loop_executor>;

// Whose connections it counts with.
inline peer_id peer_of(const connection_info& connection) {
    return connection.owner ? peer_id(connection.owner) : peer_id(connection.peer);
}

class http_server_core : public std::enable_shared_from_this<http_server_core> {
public:
    http_server_core(asio::io_context& serving_loop, const clock& serving_time,
                     request_handler& serving_handler, const http_server_limits& its_limits,
                     http_server_events its_events);

    asio::io_context& loop;
    const clock& time;
    request_handler& handler;
    const http_server_limits limits;
    connection_table connections;
    task_group answers;
    // Where the session whose turn it is parses; answer_now is done with it on return.
    request_head head;

    // Whether every answer is its connection's last.
    [[nodiscard]] bool draining() const { return draining_; }
    // Whether who has not asked yet need not ask here any more.
    [[nodiscard]] bool closing_idle() const { return closing_idle_; }
    void count_rejected(std::string_view reason) const;
    void count_failed(const std::string& what) const;

    void opened(open_connection& connection);
    void closed(open_connection& connection);

    void close_peer(const asio::ip::address& peer);
    // Those that came through a private listener.
    void close_through(std::uint64_t private_listener);
    void start_draining() { draining_ = true; }
    void close_idle();
    // Waits until no connection is left, or until end.
    awaitable<void> emptied(std::chrono::steady_clock::time_point end);
    // Closes all connections and cancels their answers; returns how many were owed one.
    std::size_t cut_all();

private:
    void sweep_later();

    const http_server_events events_;
    std::chrono::milliseconds sweep_interval_;
    loop_timer sweep_timer_;
    loop_timer emptied_timer_; // cancelled when no connection is left
    bool sweeping_ = false;
    bool draining_ = false;
    bool closing_idle_ = false;
};

} // namespace credlet
