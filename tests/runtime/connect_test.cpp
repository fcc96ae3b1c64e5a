#include "runtime/connect.hpp"
#include "tests/support/coroutine.hpp"
#include "tests/support/runtime_tls_server.hpp"

#include <doctest/doctest.h>

#include <deque>

using namespace credlet;
using namespace credlet::test;
using namespace std::chrono_literals;

TEST_CASE("F17: an address behind more silent ones than may be tried at once is reached") {
    asio::io_context loop{1};
    asio::ip::tcp::acceptor good(loop, {asio::ip::make_address("127.0.0.1"), 0});
    const auto port = good.local_endpoint().port();
    std::deque<silent_address> silent;
    std::vector<asio::ip::tcp::endpoint> candidates;
    const connect_settings settings{1ms, 30s};
    for (std::size_t i = 0; i < settings.max_parallel + 1; ++i) {
        const std::string address = "127.0.1." + std::to_string(i + 2);
        silent.emplace_back(address, port);
        candidates.emplace_back(asio::ip::make_address(address), port);
    }
    candidates.push_back(good.local_endpoint());

    error failure;
    run(loop, [&]() -> awaitable<void> {
        const auto socket = co_await connect_any("sts.test", candidates, settings, step_limit::after(5s));
        if (socket.has_error())
            failure = socket.error();
        else
            CHECK(socket->remote_endpoint() == candidates.back());
    }());
    CHECK_MESSAGE(failure.message.empty(), failure.message);
}
