#pragma once
// Runs one coroutine on an event loop to its end and rethrows what it threw, so that REQUIRE works inside.

#include "runtime/async.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <chrono>
#include <exception>
#include <stdexcept>

namespace credlet::test {

// Throws if the coroutine is still running after `limit` of real time: a test must not hang.
inline void run(asio::io_context& loop, awaitable<void> body,
                std::chrono::seconds limit = std::chrono::seconds(30)) {
    bool finished = false;
    std::exception_ptr failure;
    asio::co_spawn(loop, std::move(body), [&](const std::exception_ptr& e) {
        failure = e;
        finished = true;
    });
    loop.restart();
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (!finished && std::chrono::steady_clock::now() < deadline)
        loop.run_one_until(deadline);
    if (failure)
        std::rethrow_exception(failure);
    if (!finished)
        throw std::runtime_error("the coroutine did not finish in time");
}

} // namespace credlet::test
