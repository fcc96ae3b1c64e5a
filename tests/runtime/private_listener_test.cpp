// Listeners that nobody can reach but the one they are for. Most of these tests need no network namespace for
// that: to the server a socket is a socket.

#include "runtime/async.hpp"
#include "runtime/http_server.hpp"
#include "runtime/listening_socket.hpp"
#include "tests/support/coroutine.hpp"
#include "tests/support/runtime_http_server_fixture.hpp"
#include "tests/support/runtime_network_namespaces.hpp"

#include <boost/asio/connect.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <doctest/doctest.h>

#include <fcntl.h>

namespace credlet::test {

using namespace std::chrono_literals;
using asio::ip::tcp;

namespace {

// A text of its own each time, as the directory makes one with each reading.
std::shared_ptr<const std::string> owner(const char* text) {
    return std::make_shared<const std::string>(text);
}

descriptor shared_socket(const std::string& address = "127.0.0.1", std::uint16_t port = 0) {
    return make_listening_socket({asio::ip::make_address(address), port}, {.shares = sharing::yes}).value();
}

http_server_limits with(const std::function<void(http_server_limits&)>& change) {
    auto limits = http_server_fixture::quick();
    change(limits);
    return limits;
}

struct fixture : http_server_fixture {
    explicit fixture(http_server_limits limits = quick()) : http_server_fixture(limits) {}

    // Opens one; returns its port.
    std::uint16_t open(std::uint64_t key, const char* whose, const std::string& address = "127.0.0.1") {
        auto socket = shared_socket(address);
        const auto where = endpoint_of(socket).value();
        const auto listening = server->listen(key, {std::move(socket), owner(whose)});
        REQUIRE_MESSAGE(listening.has_value(), listening.error().message);
        return where.port();
    }
    // A connection that has been answered once.
    loopback_peer served(std::uint16_t at, const std::string& from = "127.0.0.1") {
        loopback_peer caller(at, from);
        CHECK(body_of(get(caller, "/now/x")) == "x");
        return caller;
    }
    // A connection whose answer is awaited until handler.release().
    loopback_peer busy(std::uint16_t at, const std::string& from = "127.0.0.1") {
        const auto before = handler.waiting;
        loopback_peer caller(at, from);
        caller.send(get_request("/later/z"));
        CHECK(until([&] { return handler.waiting == before + 1; }));
        return caller;
    }
    bool is_refused(std::uint16_t at, const std::string& from = "127.0.0.1") {
        const auto before = rejected["peer_limit"];
        loopback_peer caller(at, from);
        return until_closed(caller) && rejected["peer_limit"] == before + 1;
    }
    bool ends_behind_its_answer(loopback_peer& caller) {
        return until_closed(caller) && body_of(caller.receive()) == "z" && says_close(caller.receive()) &&
               !caller.was_reset();
    }
};

awaitable<void> drain_into(http_server& server, std::chrono::milliseconds grace,
                           std::optional<std::size_t>& cut) {
    cut = co_await server.drain(grace);
}

// One of several processes that listen for the same pod, here on one loop.
struct sharing_server {
    sharing_server(asio::io_context& loop, const clock& time, descriptor socket)
        : handler(loop),
          server(make_http_server(loop, time, handler, http_server_fixture::quick())) {
        REQUIRE(server->listen(1, {std::move(socket), owner("pod")}).has_value());
    }
    void begin_drain(asio::io_context& loop) {
        asio::co_spawn(loop, drain_into(*server, 10s, cut), asio::detached);
    }
    path_handler handler;
    std::unique_ptr<http_server> server;
    std::optional<std::size_t> cut; // once it has drained
};

// Calls, again and again, one caller behind the other, until told to stop. None of its steps blocks the loop.
struct stream_of_callers {
    awaitable<void> run(asio::io_context& loop, std::uint16_t port) {
        while (!stop) {
            tcp::socket caller(loop);
            const tcp::endpoint where(asio::ip::make_address("127.0.0.1"), port);
            auto [refused] = co_await caller.async_connect(where, as_result);
            std::string answer;
            if (!refused) {
                const auto request = get_request("/now/x", "Connection: close\r\n");
                co_await asio::async_write(caller, asio::buffer(request), as_result);
                co_await asio::async_read_until(caller, asio::dynamic_buffer(answer), "\r\n\r\nx", as_result);
            }
            ++(is_status(answer, 200) ? answered : lost);
            co_await sleep_for(1ms);
        }
        ended = true;
    }
    std::size_t answered = 0, lost = 0;
    bool stop = false, ended = false;
};

} // namespace

TEST_CASE("what comes through a private listener carries its owner, and is in no row of addresses") {
    fixture f;
    const auto port = f.open(7, "pod");
    const auto caller = f.served(port, "127.0.0.5");
    const auto& seen = f.handler.last_connection;
    REQUIRE(seen.owner != nullptr);
    CHECK(*seen.owner == "pod");
    CHECK(seen.peer == asio::ip::make_address("127.0.0.5"));
    CHECK(seen.local == tcp::endpoint(asio::ip::make_address("127.0.0.1"), port));
    CHECK(f.server->endpoints().size() == 1);
    const auto other = f.served(f.port);
    CHECK(f.handler.last_connection.owner == nullptr);
}

TEST_CASE("T18: one owner is one peer, whatever his addresses, their family and the listener") {
    fixture f(with([](auto& limits) { limits.max_connections_per_peer = 3; }));
    const auto v4 = f.open(1, "pod"), again = f.open(2, "pod"), v6 = f.open(3, "pod", "::1");
    const auto first = f.busy(v4, "127.0.0.2"), second = f.busy(again, "127.0.0.3"),
               third = f.busy(v6, "::1");
    CHECK(f.is_refused(v4, "127.0.0.4"));
    CHECK(f.is_refused(v6, "::1"));
    CHECK(f.server->connections() == 3);
}

TEST_CASE("T18: owners have nothing of each other's, though all of them come from the same address") {
    fixture f(with([](auto& limits) { limits.max_connections_per_peer = 1; }));
    const auto greedy = f.open(1, "greedy"), modest = f.open(2, "modest");
    const auto held = f.busy(greedy);
    CHECK(f.is_refused(greedy));
    const auto other = f.served(modest);
    const auto of_the_node = f.served(f.port);
    CHECK(f.is_refused(greedy));
    CHECK(f.rejected["evicted"] == 0);
}

TEST_CASE("T18: above his limit an owner's own longest idle connection gives way") {
    fixture f(with([](auto& limits) { limits.max_connections_per_peer = 2; }));
    const auto port = f.open(1, "pod"), others = f.open(2, "other");
    auto other = f.served(others); // idle longer than all of them
    f.time.advance(1s);
    auto oldest = f.served(port, "127.0.0.2");
    f.time.advance(1s);
    auto second = f.served(port, "127.0.0.3");
    auto newest = f.served(port, "127.0.0.4");
    CHECK(f.until_closed(oldest));
    CHECK_FALSE(second.ended());
    CHECK_FALSE(other.ended());
    CHECK(f.rejected["evicted"] == 1);
}

TEST_CASE("T8: to close an address closes nothing that came through a private listener") {
    fixture f;
    const auto port = f.open(1, "pod");
    auto of_the_pod = f.served(port);
    auto of_the_node = f.served(f.port);
    f.server->close_peer(asio::ip::make_address("127.0.0.1"));
    CHECK(f.until_closed(of_the_node));
    CHECK(body_of(f.get(of_the_pod, "/now/y")) == "y");
}

TEST_CASE("T8: a private listener takes its connections with it, the busy ones behind their answer") {
    fixture f;
    const auto port = f.open(1, "pod"), remaining = f.open(2, "pod"), others = f.open(3, "other");
    auto idle = f.served(port), busy = f.busy(port);
    auto elsewhere = f.served(remaining), other = f.served(others), of_the_node = f.served(f.port);
    f.server->close_listener(1);
    CHECK(f.until_closed(idle));
    CHECK_THROWS(loopback_peer(port));
    CHECK(f.handler.cancelled == 0);
    f.handler.release();
    CHECK(f.ends_behind_its_answer(busy));
    busy.close();
    CHECK(f.until([&] { return f.server->connections() == 3; }));
    for (auto* kept : {&elsewhere, &other, &of_the_node})
        CHECK(body_of(f.get(*kept, "/now/y")) == "y");
    f.server->close_listener(1); // nobody's any more
    f.server->close_listener(99);
    CHECK(body_of(f.get(elsewhere, "/now/y")) == "y");
}

TEST_CASE("T8: a private listener closed from within an answer gives that answer and no other") {
    fixture f;
    const auto port = f.open(1, "pod");
    auto caller = f.served(port);
    f.handler.during_answer = [&] { f.server->close_listener(1); };
    const auto last = f.ask(caller, get_request("/now/y") + get_request("/now/z"));
    CHECK(body_of(last) == "y");
    CHECK(says_close(last));
    CHECK(f.until_closed(caller));
    CHECK(f.handler.asked == 2);
}

TEST_CASE("a key is free again when its listener has closed") {
    fixture f;
    f.open(1, "pod");
    f.server->close_listener(1);
    const auto caller = f.served(f.open(1, "another"));
    CHECK(*f.handler.last_connection.owner == "another");
}

TEST_CASE("what cannot be served is refused, and closed") {
    fixture f;
    const auto port = f.open(1, "pod");
    const auto refused = [&](std::uint64_t key, descriptor socket, std::shared_ptr<const std::string> whose) {
        const auto where = endpoint_of(socket);
        const auto listening = f.server->listen(key, {std::move(socket), std::move(whose)});
        REQUIRE(listening.has_error());
        if (where)
            CHECK_THROWS(loopback_peer(where->port()));
        return listening.error().kind;
    };
    CHECK(refused(2, descriptor(::open("/dev/null", O_RDONLY | O_CLOEXEC)), owner("pod")) == errc::io_failed);
    CHECK(refused(2, descriptor(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), owner("pod")) ==
          errc::io_failed);
    CHECK(refused(2, descriptor(), owner("pod")) == errc::io_failed);
    CHECK(refused(2, shared_socket(), nullptr) == errc::internal); // whose would its callers be?
    CHECK(refused(1, shared_socket(), owner("other")) == errc::internal);
    f.served(port).close();
    CHECK(*f.handler.last_connection.owner == "pod");
    f.drain();
    CHECK(refused(2, shared_socket(), owner("pod")) == errc::cancelled);
}

TEST_CASE("a listener whose socket was made to wait is served nevertheless") {
    fixture f;
    auto socket = shared_socket();
    REQUIRE(::fcntl(socket.get(), F_SETFL, 0) == 0);
    const auto port = endpoint_of(socket).value().port();
    REQUIRE(f.server->listen(1, {std::move(socket), owner("pod")}).has_value());
    const auto caller = f.served(port);
}

TEST_CASE("F43: a drain ends private listeners and loses no answer of theirs") {
    fixture f;
    const auto port = f.open(1, "pod"), closed = f.open(2, "pod");
    auto busy = f.busy(port), idle = f.served(port);
    f.begin_drain(60s);
    f.settle();
    const auto last = f.get(idle, "/now/y");
    CHECK(body_of(last) == "y");
    CHECK(says_close(last));
    f.server->close_listener(2); // in the middle of it
    CHECK_THROWS(loopback_peer(closed));
    f.handler.release();
    CHECK(f.ends_behind_its_answer(busy));
    busy.close();
    idle.close();
    CHECK(f.until([&] { return f.cut.has_value(); }));
    CHECK(f.cut == 0);
    CHECK_THROWS(loopback_peer(port));
}

TEST_CASE("F44: who drains names the place of the next one that listens for the pod") {
    fixture f;
    auto socket = shared_socket();
    const auto port = endpoint_of(socket).value().port();
    sharing_server old(f.loop, f.time, std::move(socket));
    sharing_server next(f.loop, f.time, shared_socket("127.0.0.1", port));
    const auto called = f.served(port);
    CHECK(old.handler.asked == 1);
    loopback_peer held(port);
    held.send(get_request("/later/z"));
    CHECK(f.until([&] { return old.handler.waiting == 1; }));
    old.begin_drain(f.loop);
    f.settle();
    const auto handed_over = f.served(port);
    CHECK(old.handler.asked == 2);
    CHECK(next.handler.asked == 1);
    old.handler.release();
    CHECK(f.ends_behind_its_answer(held));
    held.close();
    CHECK(f.until([&] { return old.cut.has_value(); }));
    CHECK(old.cut == 0);
}

TEST_CASE("F44: nobody is lost while one takes another's place in a pod, again and again") {
    fixture f;
    auto socket = shared_socket();
    const auto port = endpoint_of(socket).value().port();
    std::vector<std::unique_ptr<sharing_server>> all;
    all.push_back(std::make_unique<sharing_server>(f.loop, f.time, std::move(socket)));
    stream_of_callers callers;
    asio::co_spawn(f.loop, callers.run(f.loop, port), asio::detached);
    for (int i = 0; i < 10; ++i) {
        auto& old = *all.back();
        all.push_back(std::make_unique<sharing_server>(f.loop, f.time, shared_socket("127.0.0.1", port)));
        old.begin_drain(f.loop);
        CHECK(f.until([&] { return old.cut.has_value(); }));
        CHECK(old.cut == 0);
    }
    callers.stop = true;
    CHECK(f.until([&] { return callers.ended; }));
    CHECK(callers.answered > 10); // in every round somebody
    CHECK(callers.lost == 0);
    std::size_t asked = 0;
    for (const auto& s : all)
        asked += s->handler.asked;
    CHECK(asked == callers.answered);
}

TEST_CASE("F44: nobody is lost when the newcomer leaves first") {
    fixture f;
    auto socket = shared_socket();
    const auto port = endpoint_of(socket).value().port();
    sharing_server old(f.loop, f.time, std::move(socket));
    sharing_server newcomer(f.loop, f.time, shared_socket("127.0.0.1", port));
    stream_of_callers callers;
    asio::co_spawn(f.loop, callers.run(f.loop, port), asio::detached);
    CHECK(f.until([&] { return callers.answered > 0; }));
    newcomer.begin_drain(f.loop);
    CHECK(f.until([&] { return newcomer.cut.has_value(); }));
    CHECK(newcomer.cut == 0);
    const auto before = old.handler.asked;
    CHECK(f.until([&] { return old.handler.asked > before; })); // also the one who heard nothing for a second
    callers.stop = true;
    CHECK(f.until([&] { return callers.ended; }));
    CHECK(callers.lost == 0);
}

TEST_CASE("a socket made in another network namespace is served from this one, for those inside") {
    if (!namespaces_can_be_made())
        return;
    const auto there = make_network_namespace(), elsewhere = make_network_namespace();
    const auto visitor = namespace_visitor::make().value();
    fixture f;
    const auto listen = [](const char* address) {
        links::set_up("lo");
        return make_listening_socket({asio::ip::make_address(address), 9799},
                                     {.shares = sharing::yes, .presence = address_presence::awaited});
    };
    const auto caller_of = [&](const network_namespace& net, const char* from) {
        return visitor.inside(net, [&]() -> result<loopback_peer> { return loopback_peer(9799, from); });
    };
    std::uint64_t key = 0;
    for (const auto* address : {"127.0.0.1", "::1"}) { // the same in both pods
        for (const auto& [net, uid] : {std::pair(&there, "there"), std::pair(&elsewhere, "elsewhere")}) {
            CAPTURE(address);
            auto socket = visitor.inside(*net, [&] { return listen(address); });
            REQUIRE_MESSAGE(socket.has_value(), socket.error().message);
            REQUIRE(f.server->listen(++key, {std::move(*socket), owner(uid)}).has_value());
            auto caller = caller_of(*net, address);
            CHECK(body_of(f.get(*caller, "/now/x")) == "x");
            CHECK(*f.handler.last_connection.owner == uid);
            CHECK(f.handler.last_connection.peer == asio::ip::make_address(address));
        }
    }
    f.server->close_listener(1);
    CHECK_THROWS((void)caller_of(there, "127.0.0.1"));
    for (const auto& [net, from] : {std::pair(&there, "::1"), std::pair(&elsewhere, "127.0.0.1")}) {
        auto caller = caller_of(*net, from);
        CHECK(body_of(f.get(*caller, "/now/x")) == "x");
    }
}

} // namespace credlet::test
