#include "runtime/address_book.hpp"
#include "tests/support/coroutine.hpp"

#include <doctest/doctest.h>

#include <condition_variable>
#include <mutex>

using namespace credlet;
using namespace std::chrono_literals;

namespace {

std::vector<asio::ip::address> list(std::initializer_list<const char*> texts) {
    std::vector<asio::ip::address> all;
    for (const char* text : texts)
        all.push_back(asio::ip::make_address(text));
    return all;
}

// Waits for the answers that come on the resolver's threads.
struct answers {
    std::mutex mutex;
    std::condition_variable more;
    std::vector<result<std::vector<asio::ip::address>>> all;

    name_resolver::callback taker() {
        return [this](result<std::vector<asio::ip::address>> answer) {
            const std::lock_guard lock(mutex);
            all.push_back(std::move(answer));
            more.notify_all();
        };
    }
    bool wait_for(std::size_t count) {
        std::unique_lock lock(mutex);
        return more.wait_for(lock, 10s, [&] { return all.size() >= count; });
    }
};

} // namespace

TEST_CASE("addresses alternate between the families, beginning with the resolver's first choice") {
    CHECK(by_turns(list({"fd00::1", "fd00::2", "fd00::3", "10.0.0.1"})) ==
          list({"fd00::1", "10.0.0.1", "fd00::2", "fd00::3"}));
    CHECK(by_turns(list({"10.0.0.1", "10.0.0.2", "fd00::1"})) == list({"10.0.0.1", "fd00::1", "10.0.0.2"}));
    CHECK(by_turns(list({"10.0.0.1", "10.0.0.1"})) == list({"10.0.0.1"}));
    CHECK(by_turns({}).empty());
}

TEST_CASE("no more than sixteen addresses of a name are kept") {
    std::vector<asio::ip::address> many;
    for (unsigned i = 0; i < 100; ++i)
        many.push_back(asio::ip::address_v4(0x0a000000U + i));
    CHECK(by_turns(many).size() == address_book::max_addresses);
}

TEST_CASE("the system's resolver finds a local name, on a thread of its own") {
    const auto resolver = make_system_resolver();
    answers got;
    for (int i = 0; i < 10; ++i)
        resolver->resolve("localhost", got.taker());
    REQUIRE(got.wait_for(10));
    for (const auto& answer : got.all) {
        REQUIRE(answer.has_value());
        REQUIRE_FALSE(answer->empty());
        CHECK(answer->front().is_loopback());
    }
}

TEST_CASE("the system's resolver names what it could not find") {
    const auto resolver = make_system_resolver();
    answers got;
    const std::string impossible =
        std::string(64, 'x') + ".test"; // no label is that long, so nobody is asked
    resolver->resolve(impossible, got.taker());
    REQUIRE(got.wait_for(1));
    REQUIRE(got.all[0].has_error());
    CHECK(got.all[0].error().kind == errc::resolve_failed);
    CHECK(got.all[0].error().message.find(impossible) != std::string::npos);
}

TEST_CASE("a resolver and its client may go while lookups are under way") {
    for (int round = 0; round < 20; ++round) {
        asio::io_context loop{1};
        const system_clock time;
        auto resolver = make_system_resolver();
        auto book = std::make_unique<address_book>(loop, time, resolver, "localhost", 1h, nullptr);
        result<std::vector<asio::ip::address>> first = fail(errc::internal, "");
        test::run(loop, [](address_book& b, auto& out) -> awaitable<void> {
            out = co_await b.addresses(step_limit::after(10s));
        }(*book, first));
        CHECK(first.has_value());
        auto second = std::make_unique<address_book>(loop, time, resolver, "localhost", 1h, nullptr);
        asio::co_spawn(loop, second->addresses(step_limit::after(10s)), [](auto&&...) {});
        loop.restart();
        loop.run_one();
        second->close();
        loop.restart();
        loop.run();
    }
}
