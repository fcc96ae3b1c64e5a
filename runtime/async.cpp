#include "runtime/async.hpp"

namespace credlet {

awaitable<result<void>> sleep_for(std::chrono::steady_clock::duration d) {
    asio::steady_timer timer(co_await asio::this_coro::executor, d);
    const auto [ec] = co_await timer.async_wait(as_result);
    if (ec)
        co_return fail(errc::cancelled, "sleep was cancelled");
    co_return result<void>();
}

} // namespace credlet
