#pragma once
// Of those who share an address to listen on, who is called? Nobody can be asked, but one can call and see
// whether the call arrives.

#include "runtime/async.hpp"

#include <boost/asio/ip/tcp.hpp>

#include <functional>
#include <optional>

namespace credlet {

class trial_call {
public:
    explicit trial_call(const asio::any_io_executor& executor) : executor_(executor), waiting_(executor) {}

    // Calls there, and waits a moment for it to arrive with us: take_waiting has recognizes() asked of all
    // who have arrived so far. Also true if it could not be tried.
    awaitable<bool> arrives(asio::ip::tcp::endpoint where, std::function<void()> take_waiting);
    // To be asked of everybody who arrives: whether this is the call, which has then served its purpose.
    bool recognizes(const asio::ip::tcp::endpoint& caller);

private:
    asio::any_io_executor executor_;
    asio::steady_timer waiting_;
    std::optional<asio::ip::tcp::endpoint> caller_; // while under way
    bool arrived_ = false;
};

} // namespace credlet
