#pragma once
// The vocabulary of the coroutines: completion tokens that never throw, and deadlines.

#include "runtime/error.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <chrono>

namespace credlet {

namespace asio = boost::asio;
using asio::awaitable;

// co_await socket.async_connect(e, as_result) yields a tuple (error_code, values...) and never throws for
// I/O.
inline constexpr auto as_result = asio::as_tuple(asio::use_awaitable);

// Runs op and cancels it when d has passed: errc::timed_out. If the caller itself was cancelled:
// errc::cancelled. op must report failure through its result; an exception would surface only once the timer
// fires.
template <class T>
awaitable<result<T>> with_deadline(awaitable<result<T>> op, std::chrono::steady_clock::duration d,
                                   std::string what) {
    using asio::experimental::awaitable_operators::operator||;
    asio::steady_timer timer(co_await asio::this_coro::executor, d);
    auto winner = co_await (std::move(op) || timer.async_wait(as_result));
    if (winner.index() == 0)
        co_return std::get<0>(std::move(winner));
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none)
        co_return fail(errc::cancelled, what + " was cancelled");
    co_return fail(errc::timed_out, what + " took too long");
}

// Sleeps; errc::cancelled when the caller is cancelled meanwhile.
awaitable<result<void>> sleep_for(std::chrono::steady_clock::duration d);

} // namespace credlet
