#include "runtime/http_server_core.hpp"

#include <algorithm>

namespace credlet {

namespace {

std::chrono::milliseconds sweep_interval(const http_server_limits& limits) {
    using std::chrono::milliseconds;
    const auto smallest =
        std::min({limits.head_timeout, limits.request_timeout, limits.write_timeout, limits.idle_timeout});
    return std::clamp(smallest / 4, milliseconds(1), milliseconds(1000));
}

} // namespace

http_server_core::http_server_core(asio::io_context& serving_loop, const clock& serving_time,
                                   request_handler& serving_handler, const http_server_limits& its_limits,
                                   http_server_events its_events)
    : loop(serving_loop),
      time(serving_time),
      handler(serving_handler),
      limits(its_limits),
      connections(limits.max_connections, limits.max_connections_per_peer),
      answers(loop.get_executor()),
      events_(std::move(its_events)),
      sweep_interval_(sweep_interval(limits)),
      sweep_timer_(loop.get_executor()),
      emptied_timer_(loop.get_executor()) {
    answers.on_exception = [this](const std::string& what) { count_failed(what); };
}

void http_server_core::count_rejected(std::string_view reason) const {
    if (events_.rejected)
        events_.rejected(reason);
}

void http_server_core::count_failed(const std::string& what) const {
    if (events_.handler_failed)
        events_.handler_failed(what);
}

void http_server_core::opened(open_connection& connection) {
    connections.add(connection);
    if (events_.opened)
        events_.opened();
    if (!sweeping_)
        sweep_later();
}

void http_server_core::closed(open_connection& connection) {
    connections.remove(connection);
    if (events_.closed)
        events_.closed();
    if (connections.empty())
        emptied_timer_.cancel();
}

void http_server_core::close_peer(const asio::ip::address& peer) {
    const peer_id who(peer);
    connections.for_each([&who](open_connection& connection) {
        if (connection.peer() == who)
            connection.retire();
    });
}

void http_server_core::close_through(std::uint64_t private_listener) {
    connections.for_each([private_listener](open_connection& connection) {
        if (connection.private_listener() == private_listener)
            connection.retire();
    });
}

void http_server_core::close_idle() {
    closing_idle_ = true;
    const auto now = time.now();
    connections.for_each([now](open_connection& connection) { connection.wind_down(now); });
}

awaitable<void> http_server_core::emptied(std::chrono::steady_clock::time_point end) {
    while (!connections.empty() && std::chrono::steady_clock::now() < end) {
        emptied_timer_.expires_at(end);
        co_await emptied_timer_.async_wait(as_result);
    }
}

std::size_t http_server_core::cut_all() {
    std::size_t owed = 0;
    connections.for_each([&owed](open_connection& connection) {
        owed += connection.is_idle() ? 0 : 1;
        connection.cut();
    });
    answers.cancel();
    return owed;
}

// A timer per operation would cost more than the operation. One sweep over all connections is all there is,
// and none while there are no connections.
void http_server_core::sweep_later() {
    sweeping_ = true;
    sweep_timer_.expires_after(sweep_interval_);
    sweep_timer_.async_wait([self = shared_from_this()](const boost::system::error_code&) {
        const auto now = self->time.now();
        self->connections.for_each([now](open_connection& connection) { connection.expire(now); });
        self->sweeping_ = false;
        if (!self->connections.empty())
            self->sweep_later();
    });
}

} // namespace credlet
