#pragma once
// What the loop of one thread has to do with that of another.

#include "runtime/async.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

namespace credlet::app {

// A loop with a thread of its own. Join it before what its handlers use goes.
class loop_thread {
public:
    explicit loop_thread(asio::io_context& loop)
        : loop_(loop),
          work_(loop.get_executor()),
          thread_([&loop] { loop.run(); }) {}
    loop_thread(const loop_thread&) = delete;
    loop_thread& operator=(const loop_thread&) = delete;
    ~loop_thread() { join(); }
    void join() {
        loop_.stop();
        if (thread_.joinable())
            thread_.join();
    }

private:
    asio::io_context& loop_;
    asio::executor_work_guard<asio::io_context::executor_type> work_;
    std::thread thread_;
};

// Runs a coroutine on another loop and resumes with its result on this one. The other loop must keep running
// until it has ended; a caller that is cancelled meanwhile leaves it to end by itself.
template <class T>
awaitable<T> run_on(asio::io_context& other, awaitable<T> body) {
    struct hand_over {
        explicit hand_over(const asio::any_io_executor& e) : done(e, asio::steady_timer::time_point::max()) {}
        asio::steady_timer done; // and value: the caller's loop only
        std::optional<T> value;
    };
    const auto here = co_await asio::this_coro::executor;
    const auto shared = std::make_shared<hand_over>(here);
    asio::co_spawn(other, std::move(body), [shared, here](const std::exception_ptr& failure, T value) {
        if (failure)
            std::rethrow_exception(failure); // a bug: it ends the process, loudly
        asio::post(here, [shared, v = std::move(value)]() mutable {
            shared->value.emplace(std::move(v));
            shared->done.cancel();
        });
    });
    while (!shared->value)
        co_await shared->done.async_wait(as_result);
    co_return std::move(*shared->value);
}

} // namespace credlet::app
