// One process takes another's place on the same address. Here they are servers on one loop, which the kernel
// cannot tell from processes.

#include "runtime/shared_address.hpp"
#include "runtime/trial_call.hpp"
#include "tests/support/coroutine.hpp"
#include "tests/support/runtime_http_server_fixture.hpp"

#include <boost/asio/detached.hpp>
#include <doctest/doctest.h>

#include <cerrno>
#include <netinet/tcp.h>
#include <poll.h>

namespace credlet::test {

using namespace std::chrono_literals;
using asio::ip::tcp;

namespace {

const auto loopback = asio::ip::make_address("127.0.0.1");

struct shared_server {
    shared_server(asio::io_context& loop, const clock& time, std::uint16_t port)
        : handler(loop),
          server(make_http_server(loop, time, handler, http_server_fixture::quick())) {
        REQUIRE(server->listen_shared({loopback, port}).has_value());
    }
    [[nodiscard]] std::uint16_t port() const { return server->endpoints().front().port(); }

    path_handler handler;
    std::unique_ptr<http_server> server;
    std::optional<std::size_t> cut; // once it has drained
};

awaitable<void> drain_into(http_server& server, std::chrono::milliseconds grace,
                           std::optional<std::size_t>& cut) {
    cut = co_await server.drain(grace);
}

// Its own server stands apart; it lends the loop, the clock and the callers.
struct row : http_server_fixture {
    shared_server& join() {
        all.push_back(std::make_unique<shared_server>(loop, time,
                                                      all.empty() ? std::uint16_t{0} : all.front()->port()));
        return *all.back();
    }
    // Which of them answer, of 20 callers.
    std::vector<std::size_t> called() {
        std::vector<std::size_t> before;
        for (const auto& s : all)
            before.push_back(s->handler.asked);
        for (int i = 0; i < 20; ++i) {
            loopback_peer caller(all.front()->port());
            CHECK(body_of(get(caller, "/now/x")) == "x");
        }
        std::vector<std::size_t> who;
        for (std::size_t i = 0; i < all.size(); ++i)
            if (all[i]->handler.asked > before[i])
                who.push_back(i);
        return who;
    }
    void begin_drain(shared_server& s, std::chrono::milliseconds grace) {
        asio::co_spawn(loop, drain_into(*s.server, grace, s.cut), asio::detached);
        settle();
    }
    // Begins a drain that a caller holds up until release().
    loopback_peer drain_held_up(shared_server& s) {
        loopback_peer held(s.port());
        held.send(get_request("/later/x"));
        CHECK(until([&] { return s.handler.waiting == 1; }));
        begin_drain(s, 60s);
        run_for(120ms); // for the trial call of one who is not called
        return held;
    }
    void release(shared_server& s, loopback_peer& held) {
        s.handler.release();
        CHECK(until_closed(held));
        CHECK(body_of(held.receive()) == "x");
        held.close();
        CHECK(until([&] { return s.cut.has_value(); }));
        CHECK(s.cut == 0);
    }
    std::vector<std::unique_ptr<shared_server>> all;
};

using who = std::vector<std::size_t>;

} // namespace

TEST_CASE("F44: who is there goes on serving, and a newcomer stands by") {
    row r;
    r.join();
    CHECK(r.called() == who{0});
    r.join();
    r.join();
    CHECK(r.called() == who{0});
}

TEST_CASE("F44: the one who stands by is called at once when the other has gone without a word") {
    row r;
    r.join();
    r.join();
    const auto port = r.all.front()->port();
    r.all.front()->server.reset();
    loopback_peer caller(port);
    CHECK(body_of(r.get(caller, "/now/x")) == "x");
    CHECK(r.all[1]->handler.asked == 1);
}

TEST_CASE("F44: a newcomer that ends again has taken nobody") {
    row r;
    auto& old = r.join();
    r.join();
    CHECK(r.called() == who{0});
    r.all.pop_back();
    CHECK(r.called() == who{0});
    CHECK(old.handler.asked == 40);
}

TEST_CASE("F44: who drains sends new callers to the one who stands by, and answers those it has") {
    row r;
    auto& old = r.join();
    auto kept = loopback_peer(old.port());
    r.get(kept, "/now/x");
    r.join();
    auto held = r.drain_held_up(old);
    CHECK(r.called() == who{1});
    const auto last = r.get(kept, "/now/y");
    CHECK(body_of(last) == "y");
    CHECK(says_close(last));
    CHECK(r.until_closed(kept));
    kept.close();
    r.release(old, held);
    CHECK(r.called() == who{1});
}

TEST_CASE("F44: who leaves while he stands by leaves the callers where they are") {
    row r;
    auto& old = r.join();
    auto& standing_by = r.join();
    r.begin_drain(standing_by, 2s);
    CHECK(r.until([&] { return standing_by.cut.has_value(); }));
    CHECK(r.called() == who{0});
    CHECK(old.handler.asked == 20);
}

TEST_CASE("F44: of three, each hands over to one who stays") {
    row r;
    auto& first = r.join();
    auto& second = r.join();
    auto held = r.drain_held_up(first);
    CHECK(r.called() == who{1});
    auto& third = r.join(); // calls the first back, who has not gone yet
    CHECK(r.called() == who{0});
    r.release(first, held);
    const auto serving = r.called();
    REQUIRE(serving.size() == 1);
    REQUIRE(serving != who{0});
    auto& next = serving == who{1} ? second : third;
    auto held_again = r.drain_held_up(next);
    CHECK(r.called() == (serving == who{1} ? who{2} : who{1}));
    r.release(next, held_again);
    CHECK(r.called() == (serving == who{1} ? who{2} : who{1}));
}

TEST_CASE("F44: all of a row can leave at once") {
    row r;
    auto& first = r.join();
    auto& second = r.join();
    r.begin_drain(first, 2s);
    r.begin_drain(second, 2s);
    CHECK(r.until([&] { return first.cut.has_value() && second.cut.has_value(); }));
    CHECK_THROWS(loopback_peer(first.port()));
}

TEST_CASE("F44: nobody is lost while one server takes another's place, again and again") {
    row r;
    r.join();
    const auto port = r.all.front()->port();
    std::size_t asked = 0;
    for (int i = 0; i < 20; ++i) {
        auto& old = *r.all.back();
        r.all.push_back(std::make_unique<shared_server>(r.loop, r.time, port));
        r.begin_drain(old, 5s);
        while (!old.cut.has_value()) {
            loopback_peer caller(port);
            CHECK(body_of(r.get(caller, "/now/x")) == "x");
            ++asked;
        }
        CHECK(old.cut == 0);
    }
    std::size_t answered = 0;
    for (const auto& s : r.all)
        answered += s->handler.asked;
    CHECK(answered == asked);
}

TEST_CASE("a shared address is not shared with who does not share it") {
    http_server_fixture f;
    const auto taken = f.server->listen_shared({loopback, f.port});
    REQUIRE(taken.has_error());
    CHECK(taken.error().message.find("in use") != std::string::npos);
}

TEST_CASE(
    "whether somebody listens on an address can be seen, also if it is shared, on all addresses or over") {
    row r;
    auto& s = r.join();
    const auto any = asio::ip::make_address("0.0.0.0");
    CHECK(is_listened_on({loopback, r.port}));
    CHECK(is_listened_on({loopback, s.port()}));
    CHECK(is_listened_on({any, s.port()}));
    CHECK_FALSE(is_listened_on({asio::ip::make_address("::"), s.port()}));
    CHECK_FALSE(is_listened_on({loopback, 0}));
    CHECK_FALSE(is_listened_on({asio::ip::make_address("192.0.2.1"), s.port()}));
    loopback_peer connected(s.port());
    CHECK(body_of(r.get(connected, "/now/x")) == "x");
    const auto port = s.port();
    r.begin_drain(s, 200ms);
    CHECK(r.until([&] { return s.cut.has_value(); }));
    CHECK_FALSE(is_listened_on({loopback, port})); // though a connection of it still ends
}

// With TCP_DEFER_ACCEPT a handshake stays incomplete, for the server, until the caller sends.
TEST_CASE("F43: a handshake that has begun completes when no other can begin any more") {
    asio::io_context loop;
    tcp::acceptor listener(loop, {loopback, 0});
    const int seconds = 5;
    REQUIRE(::setsockopt(listener.native_handle(), IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof seconds) ==
            0);
    loopback_peer caller(listener.local_endpoint().port());
    pollfd arrival{listener.native_handle(), POLLIN, 0};
    CHECK(::poll(&arrival, 1, 0) == 0);
    begin_no_handshakes(listener.native_handle());
    caller.send("x");
    CHECK(::poll(&arrival, 1, 10000) == 1);
    const auto accepted = listener.accept();

    tcp::socket late(loop, tcp::v4());
    late.native_non_blocking(true);
    const auto where = listener.local_endpoint();
    CHECK(::connect(late.native_handle(), where.data(), static_cast<socklen_t>(where.size())) != 0);
    CHECK(errno == EINPROGRESS);
    pollfd connected{late.native_handle(), POLLOUT, 0};
    CHECK(::poll(&connected, 1, 200) == 0);
}

TEST_CASE("a trial call arrives where it is recognized, and is not taken for another") {
    asio::io_context loop;
    tcp::acceptor listener(loop, {loopback, 0});
    listener.non_blocking(true);
    trial_call call(loop.get_executor());
    CHECK_FALSE(call.recognizes({loopback, 1})); // none is under way
    std::vector<tcp::endpoint> callers;
    bool recognizing = true;
    const auto take_waiting = [&] {
        for (;;) {
            boost::system::error_code ec;
            tcp::endpoint who;
            const auto accepted = listener.accept(who, ec);
            if (ec)
                return;
            callers.push_back(who);
            CHECK_FALSE(call.recognizes({loopback, static_cast<std::uint16_t>(who.port() + 1)}));
            CHECK_FALSE(call.recognizes({asio::ip::make_address("127.0.0.2"), who.port()}));
            if (recognizing)
                CHECK(call.recognizes(who));
        }
    };
    std::optional<bool> arrived;
    const auto make = [&]() -> awaitable<void> {
        arrived = co_await call.arrives(listener.local_endpoint(), take_waiting);
    };
    asio::co_spawn(loop, make, asio::detached);
    loop.run_for(10s);
    CHECK(arrived == true);
    REQUIRE(callers.size() == 1);
    CHECK_FALSE(call.recognizes(callers.front()));

    recognizing = false; // somebody else's listener
    asio::co_spawn(loop, make, asio::detached);
    loop.restart();
    loop.run_for(10s);
    CHECK(arrived == false);
    CHECK(callers.size() == 2);
}

TEST_CASE("a trial call that has arrived counts, however late its loop looks") {
    asio::io_context loop;
    tcp::acceptor listener(loop, {loopback, 0});
    trial_call call(loop.get_executor());
    int looked = 0;
    const auto take_waiting = [&] {
        if (++looked == 2) { // only when the time is over
            tcp::endpoint who;
            const auto accepted = listener.accept(who);
            CHECK(call.recognizes(who));
        }
    };
    std::optional<bool> arrived;
    const auto make = [&]() -> awaitable<void> {
        arrived = co_await call.arrives(listener.local_endpoint(), take_waiting);
    };
    asio::co_spawn(loop, make, asio::detached);
    loop.run_for(10s);
    CHECK(arrived == true);
}

TEST_CASE("a trial call that nobody hears is over after a moment") {
    asio::io_context loop;
    tcp::acceptor listener(loop, {loopback, 0});
    begin_no_handshakes(listener.native_handle());
    trial_call call(loop.get_executor());
    std::optional<bool> arrived;
    const auto make = [&]() -> awaitable<void> {
        arrived = co_await call.arrives(listener.local_endpoint(), [] {});
    };
    asio::co_spawn(loop, make, asio::detached);
    const auto began = std::chrono::steady_clock::now();
    loop.poll();
    CHECK(std::chrono::steady_clock::now() - began < 900ms); // the kernel tries again after a second
    loop.run_for(10s);
    CHECK(arrived == false);
}

TEST_CASE("a trial call that cannot be made counts as arrived") {
    asio::io_context loop;
    trial_call call(loop.get_executor());
    std::optional<bool> arrived;
    const auto make = [&]() -> awaitable<void> {
        // Not ours to call from.
        arrived = co_await call.arrives({asio::ip::make_address("192.0.2.1"), 80}, [] {});
    };
    asio::co_spawn(loop, make, asio::detached);
    loop.run_for(10s);
    CHECK(arrived == true);
}

} // namespace credlet::test
