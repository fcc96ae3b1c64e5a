#include "runtime/task_group.hpp"
#include "tests/support/coroutine.hpp"

#include <doctest/doctest.h>

#include <stdexcept>

using namespace credlet;
using namespace std::chrono_literals;

namespace {

awaitable<void> sleep_and_count(std::chrono::milliseconds d, int& ended, int& cancelled) {
    const auto slept = co_await sleep_for(d);
    if (slept.has_error())
        ++cancelled;
    ++ended;
}

awaitable<void> throw_something() {
    throw std::logic_error("bug");
    co_return;
}

awaitable<result<int>> answer_after(std::chrono::milliseconds d) {
    const auto slept = co_await sleep_for(d);
    if (slept.has_error())
        co_return slept.error();
    co_return 42;
}

awaitable<void> with_outer_deadline(errc& seen) {
    const auto inner = co_await with_deadline(answer_after(10s), 10s, "the answer");
    seen = inner.has_error() ? inner.error().kind : errc::internal;
}

} // namespace

TEST_CASE("a cancelled group ends its tasks and refuses new ones") {
    asio::io_context loop(1);
    task_group group(loop.get_executor());
    int ended = 0;
    int cancelled = 0;
    group.spawn(sleep_and_count(1h, ended, cancelled));
    group.spawn(sleep_and_count(1h, ended, cancelled));
    group.spawn(sleep_and_count(0ms, ended, cancelled));
    test::run(loop, sleep_and_count(5ms, ended, cancelled));
    CHECK(ended == 2);
    CHECK(group.size() == 2);
    group.cancel();
    test::run(loop, group.drained());
    CHECK(group.size() == 0);
    CHECK(ended == 4);
    CHECK(cancelled == 2); // the wait was cut short and said so
    CHECK_FALSE(group.spawn(sleep_and_count(0ms, ended, cancelled)));
    CHECK(group.size() == 0);
}

TEST_CASE("a task that ends before its cancellation is carried out takes nothing of it along") {
    asio::io_context loop(1);
    task_group group(loop.get_executor());
    asio::steady_timer gate(loop, asio::steady_timer::time_point::max());
    bool ended = false;
    group.spawn([](asio::steady_timer& opened, bool& done) -> awaitable<void> {
        co_await opened.async_wait(as_result);
        done = true;
    }(gate, ended));
    while (loop.poll() > 0) {
    }
    // Outside of the loop: the end of the task is queued first, its cancellation behind it.
    gate.cancel();
    group.cancel();
    test::run(loop, group.drained());
    CHECK(ended);
}

TEST_CASE("an exception in a task is reported and harms no other") {
    asio::io_context loop(1);
    task_group group(loop.get_executor());
    std::string what;
    group.on_exception = [&](const std::string& w) { what = w; };
    int ended = 0;
    int cancelled = 0;
    group.spawn(throw_something());
    group.spawn(sleep_and_count(1ms, ended, cancelled));
    test::run(loop, group.drained());
    CHECK(what == "bug");
    CHECK(ended == 1);
    CHECK(cancelled == 0);
}

TEST_CASE("a deadline that passes is a timeout, a result in time is the result") {
    asio::io_context loop(1);
    test::run(loop, []() -> awaitable<void> {
        const auto late = co_await with_deadline(answer_after(10s), 5ms, "the answer");
        REQUIRE(late.has_error());
        CHECK(late.error().kind == errc::timed_out);
        CHECK(late.error().message == "the answer took too long");
        const auto in_time = co_await with_deadline(answer_after(1ms), 10s, "the answer");
        REQUIRE(in_time.has_value());
        CHECK(*in_time == 42);
    }());
}

TEST_CASE("cancelling the caller of a deadline is no timeout") {
    asio::io_context loop(1);
    task_group group(loop.get_executor());
    errc seen = errc::internal;
    group.spawn(with_outer_deadline(seen));
    int ended = 0;
    int cancelled = 0;
    test::run(loop, sleep_and_count(5ms, ended, cancelled));
    group.cancel();
    test::run(loop, group.drained());
    CHECK(seen == errc::cancelled);
}
