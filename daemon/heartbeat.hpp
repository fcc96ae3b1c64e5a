#pragma once
// Whether another event loop still turns, asked only when somebody wants to know: an idle daemon is not woken
// for it.

#include "runtime/async.hpp"
#include "runtime/clock.hpp"

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <memory>

namespace credlet::app {

// Lives on the asker's loop and goes before either loop does.
class heartbeat {
public:
    // watched: the loop in question, of another thread or of the same.
    heartbeat(const asio::any_io_executor& asker, asio::io_context& watched, const clock& time);
    ~heartbeat();

    // True once the watched loop has run a message sent now, or did so within the last second. False when it
    // does not within `limit`. However many ask, one message is under way at a time.
    awaitable<bool> beats(std::chrono::milliseconds limit);

private:
    struct pulse;
    std::shared_ptr<pulse> pulse_;
    asio::io_context& watched_;
    const clock& time_;
};

} // namespace credlet::app
