#pragma once
// A TCP connection to one of several addresses, started one after the other until the first succeeds (RFC
// 8305).

#include "runtime/step_limit.hpp"

#include <boost/asio/ip/tcp.hpp>

#include <vector>

namespace credlet {

struct connect_settings {
    std::chrono::milliseconds attempt_delay;    // before the next address is tried beside those under way
    std::chrono::milliseconds tcp_user_timeout; // unacknowledged data for that long: the kernel gives up
    std::size_t max_parallel = 4;
};

// `server` names the peer in errors. A refused attempt starts the next at once; where max_parallel are under
// way, the oldest ends for the next; the losers are closed.
// Errors: connect_failed if every address failed, timed_out, cancelled.
awaitable<result<asio::ip::tcp::socket>> connect_any(std::string server,
                                                     std::vector<asio::ip::tcp::endpoint> candidates,
                                                     connect_settings settings, step_limit limit);

} // namespace credlet
