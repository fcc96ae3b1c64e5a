// What one caller, or too many of them, can do to the others: nothing.

#include "runtime/http_server.hpp"
#include "tests/support/runtime_http_server_fixture.hpp"
#include "tests/support/runtime_no_more_descriptors.hpp"

#include <doctest/doctest.h>

#include <fstream>

using namespace credlet;
using namespace credlet::test;
using namespace std::chrono_literals;

namespace {

std::size_t resident_bytes() {
    std::ifstream statm("/proc/self/statm");
    std::size_t total = 0;
    std::size_t resident = 0;
    statm >> total >> resident;
    return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

http_server_limits with(const std::function<void(http_server_limits&)>& change) {
    auto limits = http_server_fixture::quick();
    change(limits);
    return limits;
}

} // namespace

TEST_CASE("T17: a caller that pipelines 100000 requests and never reads costs no memory and is cut off") {
    http_server_fixture f;
    auto other = f.connect("127.0.0.2");
    auto peer = f.connect_with_small_window();
    CHECK(body_of(f.get(other, "/now/x")) == "x");
    std::string batch;
    for (int i = 0; i < 1000; ++i)
        batch += get_request("/now/" + std::string(1000, 'x'));
    const auto before = resident_bytes();
    const std::size_t all = 100 * batch.size();
    std::size_t sent = 0;
    std::size_t stalled = 0;
    while (sent < all && stalled < 20) { // until neither side can go on
        const auto n = peer.send(std::string_view(batch).substr(sent % batch.size()));
        sent += n;
        stalled = n == 0 ? stalled + 1 : 0;
        f.run_for(1ms);
    }
    CHECK(sent < all);
    CHECK(f.handler.asked < 2000);
    CHECK(resident_bytes() < before + (1U << 20U));
    CHECK(body_of(f.get(other, "/now/x")) == "x");

    f.time.advance(10s);
    CHECK(f.until([&] { return f.server->connections() == 1; }));
    CHECK(f.rejected["write_timeout"] + f.rejected["request_timeout"] == 1);
}

TEST_CASE("T17: many small requests in one packet do not keep others waiting") {
    http_server_fixture f;
    auto greedy = f.connect("127.0.0.2");
    auto other = f.connect("127.0.0.3");
    f.get(greedy, "/now/x");
    f.get(other, "/now/x");
    std::string many;
    for (int i = 0; i < 60; ++i)
        many += get_request("/now/x");
    REQUIRE(many.size() < 2048);
    std::string order;
    f.handler.during_answer = [&] {
        order += f.handler.last_connection.peer == asio::ip::make_address("127.0.0.2") ? 'g' : 'o';
    };
    greedy.send(many);
    other.send(get_request("/now/x"));
    CHECK(f.until([&] { return order.size() == 61; }));
    CHECK(order.find('o') <= 32);
}

TEST_CASE("T18: a peer that keeps its connections busy is refused more, while others are served") {
    http_server_fixture f;
    std::vector<loopback_peer> held;
    for (int i = 0; i < 64; ++i) {
        held.push_back(f.connect("127.0.0.2"));
        held.back().send(get_request("/later/x"));
    }
    CHECK(f.until([&] { return f.handler.waiting == 64; }));
    auto refused = f.connect("127.0.0.2");
    CHECK(f.until_closed(refused));
    CHECK(f.rejected["peer_limit"] == 1);
    for (int i = 3; i < 20; ++i) {
        auto other = f.connect("127.0.0." + std::to_string(i));
        CHECK(body_of(f.get(other, "/now/x")) == "x");
    }
    CHECK(f.opened == 64 + 17);
}

TEST_CASE("T18: above its limit a peer's longest idle connection gives way to its newest") {
    http_server_fixture f(with([](auto& limits) { limits.max_connections_per_peer = 3; }));
    auto other = f.connect("127.0.0.3"); // idle longer than all of them
    f.get(other, "/now/x");
    std::vector<loopback_peer> held;
    for (int i = 0; i < 3; ++i) {
        f.time.advance(1s);
        held.push_back(f.connect("127.0.0.2"));
        f.get(held.back(), "/now/x");
    }
    f.time.advance(1s);
    f.get(held[0], "/now/x"); // so that the second is idle longest
    auto newest = f.connect("127.0.0.2");
    CHECK(body_of(f.get(newest, "/now/x")) == "x");
    CHECK(f.until_closed(held[1]));
    CHECK_FALSE(held[0].ended());
    CHECK_FALSE(held[2].ended());
    CHECK_FALSE(other.ended());
    CHECK(f.rejected["evicted"] == 1);
    CHECK(f.rejected["peer_limit"] == 0);
}

TEST_CASE("T18: a head that comes too slowly is cut, however steadily it comes") {
    http_server_fixture f(with([](auto& limits) {
        limits.head_timeout = 5s;
        limits.idle_timeout = 30s;
        limits.write_timeout = 40ms; // sets the pace of the sweep
    }));
    auto slow = f.connect("127.0.0.2");
    auto other = f.connect("127.0.0.3");
    for (int i = 0; i < 49; ++i) {
        slow.send(i == 0 ? "GET /" : "x");
        f.settle();
        f.time.advance(100ms);
    }
    f.run_for(30ms);
    CHECK_FALSE(slow.ended());
    CHECK(body_of(f.get(other, "/now/x")) == "x");
    f.time.advance(200ms);
    CHECK(f.until_closed(slow));
    CHECK(f.rejected["head_timeout"] == 1);
    CHECK(slow.receive().empty());
    CHECK(body_of(f.get(other, "/now/x")) == "x");
}

TEST_CASE("T18: an idle connection is closed after the idle time, counted from the last answer") {
    http_server_fixture f;
    auto peer = f.connect();
    auto silent = f.connect();
    f.get(peer, "/now/x");
    f.time.advance(29s);
    CHECK(body_of(f.get(peer, "/now/x")) == "x");
    f.time.advance(1s);
    CHECK(f.until_closed(silent));
    f.run_for(30ms);
    CHECK_FALSE(peer.ended());
    f.time.advance(29s);
    CHECK(f.until_closed(peer));
    CHECK(f.rejected["idle_timeout"] == 2);
}

TEST_CASE("T18: a caller that does not read its answer is cut, one that reads slowly is not before the whole "
          "time") {
    http_server_fixture f(with([](auto& limits) {
        limits.write_timeout = 2s;
        limits.request_timeout = 10s;
    }));
    auto stalled = f.connect_with_small_window();
    auto slow = f.connect_with_small_window();
    stalled.send(get_request("/big"));
    slow.send(get_request("/big"));
    CHECK(f.until([&] { return f.handler.asked == 2; }));
    f.settle();
    for (int second = 1; second < 10; ++second) {
        f.time.advance(1s);
        const auto before = slow.receive().size();
        // More than the buffers between the two hold: the server has written meanwhile.
        CHECK(f.until([&] { return slow.receive().size() > before + 500000; }));
    }
    CHECK(f.server->connections() == 1);
    CHECK(f.rejected["write_timeout"] == 1);
    CHECK_FALSE(slow.ended());
    f.time.advance(1s);
    CHECK(f.until([&] { return f.server->connections() == 0; }));
    CHECK(f.rejected["request_timeout"] == 1);
}

TEST_CASE("T18: a write that makes no progress is cut before the request's own time is over") {
    http_server_fixture f(with([](auto& limits) { limits.write_timeout = 2s; }));
    auto peer = f.connect_with_small_window();
    peer.send(get_request("/big"));
    CHECK(f.until([&] { return f.handler.asked == 1; }));
    for (int i = 0; i < 4; ++i) { // progress renews the time
        f.run_for(20ms);
        f.time.advance(1500ms);
        const auto before = peer.receive().size();
        CHECK(f.until([&] { return peer.receive().size() > before + 1000000; }));
    }
    f.run_for(20ms);
    CHECK(f.server->connections() == 1);
    f.time.advance(2s);
    CHECK(f.until([&] { return f.server->connections() == 0; }));
    CHECK(f.rejected["write_timeout"] == 1);
}

TEST_CASE("a large answer reaches a caller that reads it") {
    http_server_fixture f;
    auto peer = f.connect_with_small_window();
    const auto reply = f.get(peer, "/big", "Connection: close\r\n");
    CHECK(body_of(reply) == std::string(8U << 20U, 'b'));
    CHECK(says_close(reply));
    CHECK(f.until_closed(peer));
}

TEST_CASE("an answer that takes longer than a request may is cut, and dropped when it comes") {
    http_server_fixture f;
    auto peer = f.connect();
    peer.send(get_request("/later/x"));
    CHECK(f.until([&] { return f.handler.waiting == 1; }));
    f.time.advance(10s);
    CHECK(f.until_closed(peer));
    CHECK(f.rejected["request_timeout"] == 1);
    f.handler.release();
    CHECK(f.until([&] { return f.handler.waiting == 0; }));
    CHECK(peer.receive().empty());
    CHECK(f.handler.cancelled == 0);
}

TEST_CASE("a connection closes after the last request it may carry") {
    http_server_fixture f(with([](auto& limits) { limits.max_requests_per_connection = 3; }));
    auto peer = f.connect();
    CHECK_FALSE(says_close(f.get(peer, "/now/1")));
    CHECK_FALSE(says_close(f.get(peer, "/now/2")));
    const auto last = f.ask(peer, get_request("/now/3") + get_request("/now/4"));
    CHECK(body_of(last) == "3");
    CHECK(says_close(last));
    CHECK(f.until_closed(peer));
    CHECK_FALSE(peer.was_reset());
    CHECK(f.handler.asked == 3);
}

TEST_CASE("T18: in a full server the longest idle connection of the peer that holds most gives way") {
    http_server_fixture f(with([](auto& limits) { limits.max_connections = 4; }));
    auto lone = f.connect("127.0.0.2");
    f.get(lone, "/now/x");
    std::vector<loopback_peer> many;
    for (int i = 0; i < 3; ++i) {
        many.push_back(f.connect("127.0.0.3"));
        f.get(many.back(), "/now/x");
        f.time.advance(1s);
    }
    f.get(many[0], "/now/x"); // so that the second is idle longest
    auto newcomer = f.connect("127.0.0.4");
    CHECK(body_of(f.get(newcomer, "/now/x")) == "x");
    CHECK(f.until_closed(many[1]));
    CHECK_FALSE(many[0].ended());
    CHECK_FALSE(many[2].ended());
    CHECK_FALSE(lone.ended());
    CHECK(f.rejected["evicted"] == 1);
    CHECK(f.server->connections() == 4);
}

TEST_CASE("T18: a full server whose connections are all busy refuses the newcomer") {
    http_server_fixture f(with([](auto& limits) { limits.max_connections = 2; }));
    auto first = f.connect("127.0.0.2");
    auto second = f.connect("127.0.0.3");
    first.send(get_request("/later/x"));
    second.send("GET /");
    CHECK(f.until([&] { return f.handler.waiting == 1 && f.server->connections() == 2; }));
    f.settle();
    auto newcomer = f.connect("127.0.0.4");
    CHECK(f.until_closed(newcomer));
    CHECK(f.rejected["server_full"] == 1);
    second.send("now/y HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(f.until([&] { return body_of(second.receive()) == "y"; }));
}

TEST_CASE("F39: without free descriptors callers are turned away, slowly, and accepting goes on afterwards") {
    http_server_fixture f;
    auto served = f.connect("127.0.0.2");
    f.get(served, "/now/x");
    std::vector<loopback_peer> queued;
    for (int i = 0; i < 50; ++i)
        queued.push_back(f.connect());
    const auto turned_away = [&] {
        return std::count_if(queued.begin(), queued.end(), [](auto& peer) { return peer.ended(); });
    };
    {
        const no_more_descriptors none;
        CHECK(f.until([&] { return turned_away() == 1; }));
        const auto before = f.rejected["accept_failed"];
        CHECK(before >= 1);
        f.run_for(250ms);
        CHECK(f.rejected["accept_failed"] <= before + 20); // without a pause it would be thousands
        CHECK(body_of(f.get(served, "/now/y")) == "y");
    }
    CHECK(f.until([&] { return f.server->connections() > 1; }));
    auto peer = f.connect("127.0.0.3");
    CHECK(body_of(f.get(peer, "/now/x")) == "x");
    CHECK(turned_away() < 50);
}

TEST_CASE("a server without connections does not wake up") {
    http_server_fixture f;
    {
        auto peer = f.connect();
        f.get(peer, "/now/x");
    }
    CHECK(f.until([&] { return f.server->connections() == 0; }));
    f.loop.restart();
    int woken = 0; // by the last sweep, not by one every ten milliseconds
    while (woken < 10 && f.loop.run_one_for(500ms) > 0)
        ++woken;
    CHECK(woken < 10);
}
