#pragma once
// What each step of an exchange needs: until when it may take, and whether its caller has been cancelled
// meanwhile.

#include "runtime/async.hpp"

#include <algorithm>
#include <chrono>
#include <string>

namespace credlet {

// When a step must be done, and how an error says so.
struct step_limit {
    std::chrono::steady_clock::time_point at;
    std::chrono::milliseconds span;
    bool whole = false; // the limit is that of the whole exchange

    static step_limit after(std::chrono::milliseconds span) {
        return {std::chrono::steady_clock::now() + span, span, false};
    }
    static step_limit of_whole(std::chrono::milliseconds span) {
        return {std::chrono::steady_clock::now() + span, span, true};
    }
    // A step of its own span inside this one; this one still holds.
    [[nodiscard]] step_limit step(std::chrono::milliseconds own) const {
        const auto inner = after(own);
        return inner.at < at ? inner : *this;
    }
    [[nodiscard]] bool passed() const { return std::chrono::steady_clock::now() >= at; }
    [[nodiscard]] std::string text() const {
        return whole ? "within the " + std::to_string(span.count()) + " ms of the whole exchange"
                     : "within " + std::to_string(span.count()) + " ms";
    }
};

// Whether the coroutine that awaits this has been asked to stop. An operation that is started after that is
// not interrupted any more, so each step asks first.
inline awaitable<bool> caller_cancelled() {
    const auto state = co_await asio::this_coro::cancellation_state;
    co_return state.cancelled() != asio::cancellation_type::none;
}

} // namespace credlet
