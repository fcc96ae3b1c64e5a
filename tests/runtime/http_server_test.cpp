#include "runtime/http_listener.hpp"
#include "runtime/http_server.hpp"
#include "runtime/shared_address.hpp"
#include "tests/support/runtime_http_server_fixture.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::test;
using namespace std::chrono_literals;

namespace {

std::size_t occurrences(std::string_view text, std::string_view what) {
    std::size_t n = 0;
    for (auto at = text.find(what); at != std::string_view::npos; at = text.find(what, at + what.size()))
        ++n;
    return n;
}

} // namespace

TEST_CASE("a reply is its status line, its headers, a blank line and its body") {
    http_server_fixture f;
    auto peer = f.connect();
    CHECK(f.get(peer, "/now/hello") == "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n"
                                       "Cache-Control: no-store\r\n\r\nhello");
}

TEST_CASE("a rendered reply carries extra headers, and no content type if there is none") {
    const rendered_reply reply(405, "", "", "Allow: GET\r\n");
    CHECK(reply.status() == 405);
    CHECK(reply.head() ==
          "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nCache-Control: no-store\r\n"
          "Allow: GET\r\n");
    CHECK(reply.body().empty());
    CHECK(reply.whole() == std::string(reply.head()) + "\r\n");
}

TEST_CASE("an error body says its code and message in both spellings, escaped, as plain application/json") {
    const auto reply = render_error(503, "Unavailable", "say \"when\"\n", "Retry-After: 1\r\n");
    CHECK(reply->status() == 503);
    CHECK(reply->head() == "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
                           "Content-Length: " +
                               std::to_string(reply->body().size()) +
                               "\r\nCache-Control: no-store\r\nRetry-After: 1\r\n");
    CHECK(reply->body() == R"({"code":"Unavailable","message":"say \"when\"\n",)"
                           R"("Code":"Unavailable","Message":"say \"when\"\n"})");
}

TEST_CASE("a connection serves many requests until one asks to close it") {
    http_server_fixture f;
    auto peer = f.connect();
    for (int i = 0; i < 5; ++i) {
        const auto reply = f.get(peer, "/now/x");
        CHECK(body_of(reply) == "x");
        CHECK_FALSE(says_close(reply));
    }
    const auto last = f.get(peer, "/now/y", "Connection: close\r\n");
    CHECK(body_of(last) == "y");
    CHECK(says_close(last));
    CHECK(f.until_closed(peer));
    CHECK_FALSE(peer.was_reset());
    CHECK(f.opened == 1);
    CHECK(f.closed == 1);
    CHECK(f.server->connections() == 0);
}

TEST_CASE("a request of HTTP/1.0 is answered and the connection closed") {
    http_server_fixture f;
    auto peer = f.connect();
    const auto reply = f.ask(peer, "GET /now/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    CHECK(body_of(reply) == "x");
    CHECK(says_close(reply));
    CHECK(f.until_closed(peer));
}

TEST_CASE("a request may be split anywhere") {
    http_server_fixture f;
    auto peer = f.connect();
    const auto request = get_request("/now/split", "X-A: b\r\n");
    for (std::size_t at = 1; at < request.size(); ++at) {
        CAPTURE(at);
        const auto before = f.handler.asked;
        peer.clear();
        peer.send(request.substr(0, at));
        f.settle();
        CHECK(f.handler.asked == before);
        CHECK(body_of(f.ask(peer, request.substr(at))) == "split");
    }
    CHECK(f.opened == 1);
}

TEST_CASE("a reply to HEAD has the length of the body but no body") {
    http_server_fixture f;
    auto peer = f.connect();
    peer.send("HEAD /now/hello HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(f.until([&] { return peer.receive().ends_with("\r\n\r\n"); }));
    CHECK(peer.receive().find("Content-Length: 5\r\n") != std::string::npos);
    CHECK(f.get(peer, "/now/next") == "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n"
                                      "Cache-Control: no-store\r\n\r\nnext");
    peer.clear();
    peer.send("HEAD /now/hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    CHECK(f.until_closed(peer));
    CHECK(peer.receive().ends_with("Connection: close\r\n\r\n"));
}

TEST_CASE("pipelined requests are answered in their order, also when some answers take time") {
    http_server_fixture f;
    auto peer = f.connect();
    std::string all;
    for (int i = 0; i < 40; ++i)
        all += get_request((i % 3 == 1 ? "/later/<" : "/now/<") + std::to_string(i) + ">");
    peer.send(all);
    CHECK(f.until([&] {
        f.handler.release();
        return occurrences(peer.receive(), "HTTP/1.1 200 OK") == 40 && peer.receive().ends_with("<39>");
    }));
    std::size_t from = 0;
    for (int i = 0; i < 40; ++i) {
        const auto at = peer.receive().find("<" + std::to_string(i) + ">", from);
        REQUIRE(at != std::string::npos);
        from = at;
    }
    CHECK(f.opened == 1);
}

TEST_CASE("nothing behind a request is looked at while its answer takes time") {
    http_server_fixture f;
    auto peer = f.connect();
    peer.send(get_request("/later/first") + get_request("/now/second"));
    CHECK(f.until([&] { return f.handler.waiting == 1; }));
    f.settle();
    CHECK(f.handler.asked == 1);
    f.handler.release();
    CHECK(f.until([&] { return peer.receive().ends_with("second"); }));
}

TEST_CASE("the handler learns who asks, and where") {
    http_server_fixture f;
    auto peer = f.connect("127.0.0.9");
    f.get(peer, "/now/x");
    CHECK(f.handler.last_connection.peer == asio::ip::make_address("127.0.0.9"));
    CHECK(f.handler.last_connection.peer_port != 0);
    CHECK(f.handler.last_connection.local == f.server->endpoints().front());
    CHECK(f.handler.last_connection.listener == 0);
}

TEST_CASE("a server listens on several addresses, and knows its own also behind a wildcard") {
    http_server_fixture f;
    const auto second = f.server->listen({asio::ip::make_address("0.0.0.0"), 0});
    REQUIRE(second.has_value());
    CHECK(*second == 1);
    loopback_peer peer(f.server->endpoints()[1].port());
    f.get(peer, "/now/x");
    CHECK(f.handler.last_connection.listener == 1);
    CHECK(f.handler.last_connection.local.address() == asio::ip::make_address("127.0.0.1"));
    CHECK(f.handler.last_connection.local.port() == f.server->endpoints()[1].port());
}

TEST_CASE("a busy address is an error that names it") {
    http_server_fixture f;
    const auto again = f.server->listen(f.server->endpoints().front());
    REQUIRE(again.has_error());
    CHECK(again.error().message.find("127.0.0.1:" + std::to_string(f.port)) != std::string::npos);
    CHECK(f.server->endpoints().size() == 1);
}

TEST_CASE("T16: a refused request is answered, the connection closes, and what follows is never a request") {
    http_server_fixture f;
    auto peer = f.connect();
    peer.send("GET /now/a HTTP/1.1\r\nHost: a\r\nContent-Length: 44\r\nTransfer-Encoding: chunked\r\n\r\n" +
              get_request("/now/smuggled"));
    CHECK(f.until_closed(peer));
    CHECK(is_status(peer.receive(), 400));
    CHECK(says_close(peer.receive()));
    CHECK(occurrences(peer.receive(), "HTTP/1.1") == 1);
    CHECK(f.handler.asked == 0);
    CHECK(f.handler.faults["has_body"] == 1);
    CHECK_FALSE(peer.was_reset());
}

TEST_CASE("T26: a head of 24 KiB is served, one of a byte more is answered 431") {
    http_server_fixture f;
    const std::size_t limit = http_server_limits().max_head;
    REQUIRE(limit == std::size_t{24} * 1024);
    const auto of_size = [](std::size_t size) {
        return get_request(
            "/now/x", "X-A: " + std::string(size - get_request("/now/x", "X-A: \r\n").size(), 'a') + "\r\n");
    };
    auto peer = f.connect();
    CHECK(body_of(f.ask(peer, of_size(limit))) == "x");
    CHECK(body_of(f.ask(peer, of_size(limit) + get_request("/now/x"))) == "x");
    CHECK(body_of(f.ask(peer, of_size(3000))) == "x"); // the buffer grows again after it has shrunk
    const auto refused = f.ask(peer, of_size(limit + 1));
    CHECK(is_status(refused, 431));
    CHECK(says_close(refused));
    CHECK(f.until_closed(peer));
    CHECK_FALSE(peer.was_reset());
}

TEST_CASE("a refusal reaches a caller that goes on sending, who is then cut off") {
    http_server_fixture f;
    auto peer = f.connect();
    peer.send("POST /now/x HTTP/1.1\r\nHost: a\r\nContent-Length: 32000\r\n\r\n" + std::string(32000, 'x'));
    CHECK(f.until([&] { return peer.ended(); }));
    CHECK(is_status(peer.receive(), 400));
    CHECK_FALSE(peer.was_reset());
    CHECK(f.server->connections() == 1); // lingers
    CHECK(f.until([&] {
        peer.send(std::string(16384, 'x'));
        return f.server->connections() == 0; // after 64 KiB
    }));
}

TEST_CASE("a caller that stays after a refusal is cut off after a second") {
    http_server_fixture f;
    auto peer = f.connect();
    peer.send("GET * HTTP/1.1\r\n\r\n");
    CHECK(f.until_closed(peer));
    f.time.advance(999ms);
    f.run_for(30ms);
    CHECK(f.server->connections() == 1);
    f.time.advance(1ms);
    CHECK(f.until([&] { return f.server->connections() == 0; }));
}

TEST_CASE("a caller that has ended its side still gets its answer") {
    http_server_fixture f;
    auto at_once = f.connect();
    at_once.send(get_request("/now/x"));
    at_once.end_sending();
    CHECK(f.until_closed(at_once));
    CHECK(body_of(at_once.receive()) == "x");

    auto later = f.connect();
    later.send(get_request("/later/y"));
    later.end_sending();
    CHECK(f.until([&] { return f.handler.waiting == 1; }));
    f.handler.release();
    CHECK(f.until_closed(later));
    CHECK(body_of(later.receive()) == "y");
}

TEST_CASE("a caller that ends in the middle of a head is forgotten") {
    http_server_fixture f;
    auto peer = f.connect();
    peer.send("GET /now/x HTTP/1.1\r\nHo");
    peer.end_sending();
    CHECK(f.until_closed(peer));
    CHECK(peer.receive().empty());
    CHECK(f.handler.asked == 0);
    CHECK(f.server->connections() == 0);
}

TEST_CASE("F34: a caller that hangs up while its answer is under way harms nobody") {
    http_server_fixture f;
    auto closes = f.connect();
    auto resets = f.connect();
    auto stays = f.connect();
    for (auto* peer : {&closes, &resets, &stays})
        peer->send(get_request("/later/x") + get_request("/now/y"));
    CHECK(f.until([&] { return f.handler.waiting == 3; }));
    closes.close();
    resets.reset();
    f.handler.release();
    CHECK(f.until([&] { return f.server->connections() == 1 && stays.receive().ends_with("y"); }));
    CHECK(body_of(f.get(stays, "/now/z")) == "z");
}

TEST_CASE("an exception of the handler costs one connection and is reported") {
    http_server_fixture f;
    auto good = f.connect();
    for (const auto* path : {"/throw", "/throw/later", "/null"}) {
        CAPTURE(path);
        auto bad = f.connect();
        CHECK(f.get(bad, path).empty());
        CHECK(f.until_closed(bad));
        CHECK(body_of(f.get(good, "/now/x")) == "x");
    }
    REQUIRE(f.handler_failures.size() == 3);
    CHECK(f.handler_failures[0] == "thrown at once");
    CHECK(f.handler_failures[1] == "thrown later");
    CHECK(f.server->connections() == 1);
}

TEST_CASE("T8: closing a peer closes its idle connections at once and the others behind their answer") {
    http_server_fixture f;
    auto idle = f.connect("127.0.0.2");
    auto reading = f.connect("127.0.0.2");
    auto answering = f.connect("127.0.0.2");
    auto other = f.connect("127.0.0.3");
    f.get(idle, "/now/x");
    f.get(other, "/now/x");
    reading.send("GET /now");
    answering.send(get_request("/later/x") + get_request("/now/after"));
    CHECK(f.until([&] { return f.handler.waiting == 1 && f.server->connections() == 4; }));
    f.settle();

    f.server->close_peer(asio::ip::make_address("127.0.0.2"));
    CHECK(f.server->connections() == 2);
    CHECK(f.until_closed(idle));
    CHECK(f.until_closed(reading));
    const auto asked = f.handler.asked;
    f.handler.release();
    CHECK(f.until_closed(answering));
    CHECK(body_of(answering.receive()) == "x");
    CHECK(says_close(answering.receive()));
    CHECK(f.handler.asked == asked);
    CHECK(body_of(f.get(other, "/now/y")) == "y");
}

TEST_CASE("T8: a peer closed from within its own answer gets that answer and no other") {
    http_server_fixture f;
    auto peer = f.connect();
    f.handler.during_answer = [&] { f.server->close_peer(asio::ip::make_address("127.0.0.1")); };
    const auto reply = f.ask(peer, get_request("/now/x") + get_request("/now/y"));
    CHECK(body_of(reply) == "x");
    CHECK(f.until_closed(peer));
    CHECK(f.handler.asked == 1);
    CHECK(says_close(peer.receive()));
}

TEST_CASE("a server destroyed in the middle of everything lets go of everything") {
    http_server_fixture f;
    auto idle = f.connect();
    auto reading = f.connect();
    auto answering = f.connect();
    auto writing = f.connect_with_small_window();
    f.get(idle, "/now/x");
    reading.send("GET /");
    answering.send(get_request("/later/x"));
    writing.send(get_request("/big"));
    CHECK(f.until([&] { return f.handler.waiting == 1 && f.handler.asked == 3; }));
    auto queued = f.connect();
    f.server.reset();
    CHECK(f.until([&] { return f.handler.waiting == 0; }));
    CHECK(f.handler.cancelled == 1);
    for (auto* peer : {&idle, &reading, &answering, &writing, &queued})
        CHECK(f.until_closed(*peer));
    CHECK(f.closed == f.opened);
}

TEST_CASE("F43: a drain serves what was queued, and closes half-way who still asks nothing") {
    http_server_fixture f;
    auto idle = f.connect();
    auto answering = f.connect();
    f.get(idle, "/now/x");
    answering.send(get_request("/later/x"));
    CHECK(f.until([&] { return f.handler.waiting == 1; }));
    std::vector<loopback_peer> queued;
    for (int i = 0; i < 100; ++i) {
        queued.push_back(f.connect("127.0.0." + std::to_string(2 + i % 50)));
        queued.back().send(get_request("/now/q"));
    }
    auto silent = f.connect();

    f.handler.during_answer = [&] {
        if (f.handler.asked == 102) // the whole queue has been served
            f.handler.release();
    };
    REQUIRE(f.handler.asked == 2);
    f.begin_drain(2s);
    const auto close_ended = [&] { // so that its connection need not linger
        for (auto& peer : queued) {
            if (peer.ended())
                peer.close();
        }
        if (answering.ended())
            answering.close();
    };
    CHECK(f.until([&] {
        close_ended();
        return idle.ended();
    }));
    f.time.advance(1s); // and the one that never brought a request had its second
    CHECK(f.until([&] { return f.cut.has_value(); }));
    CHECK(f.cut == 0);
    CHECK(f.server->connections() == 0);
    CHECK(body_of(answering.receive()) == "x");
    CHECK(says_close(answering.receive()));
    for (auto& peer : queued) {
        CHECK(body_of(peer.receive()) == "q");
        CHECK(says_close(peer.receive()));
        CHECK(peer.ended());
        CHECK_FALSE(peer.was_reset());
    }
    CHECK(silent.ended());
    CHECK_THROWS(f.connect());
}

TEST_CASE("F43: a kept connection gets one more answer from a drain, which ends when it had it") {
    http_server_fixture f;
    auto kept = f.connect();
    CHECK_FALSE(says_close(f.get(kept, "/now/x")));
    f.begin_drain(60s);
    f.settle();
    const auto last = f.get(kept, "/now/y");
    CHECK(body_of(last) == "y");
    CHECK(says_close(last));
    CHECK(f.until_closed(kept));
    CHECK_FALSE(kept.was_reset());
    kept.close();
    CHECK(f.until([&] { return f.cut.has_value(); }));
    CHECK(f.cut == 0);
}

TEST_CASE("F43: while a drain owes an answer, new callers are answered too; then the listener closes") {
    http_server_fixture f;
    auto held = f.connect();
    held.send(get_request("/later/x"));
    CHECK(f.until([&] { return f.handler.waiting == 1; }));
    f.begin_drain(60s);
    for (int i = 0; i < 3; ++i) {
        auto newcomer = f.connect();
        const auto reply = f.get(newcomer, "/now/y");
        CHECK(body_of(reply) == "y");
        CHECK(says_close(reply));
        CHECK(f.until_closed(newcomer));
        CHECK_FALSE(newcomer.was_reset());
    }
    f.handler.release();
    CHECK(f.until_closed(held));
    CHECK(body_of(held.receive()) == "x");
    held.close();
    CHECK(f.until([&] { return f.cut.has_value(); }));
    CHECK(f.cut == 0);
    CHECK_THROWS(f.connect());
}

TEST_CASE("F43: a drain stops accepting when half its grace has passed, whoever still waits") {
    http_server_fixture f;
    auto held = f.connect();
    held.send(get_request("/later/x"));
    CHECK(f.until([&] { return f.handler.waiting == 1; }));
    f.begin_drain(2s);
    auto newcomer = f.connect();
    CHECK(body_of(f.get(newcomer, "/now/y")) == "y");
    newcomer.close();
    CHECK(f.until([&] { return !is_listened_on({asio::ip::make_address("127.0.0.1"), f.port}); }));
    CHECK_THROWS(f.connect());
    CHECK_FALSE(f.cut.has_value());
    f.handler.release();
    CHECK(f.until_closed(held));
    CHECK(body_of(held.receive()) == "x");
    held.close();
    CHECK(f.until([&] { return f.cut.has_value(); }));
    CHECK(f.cut == 0);
}

TEST_CASE("F43: who is told to come again just as a drain begins can come again") {
    http_server_fixture f;
    auto peer = f.connect();
    peer.send(get_request("/later/x"));
    CHECK(f.until([&] { return f.handler.waiting == 1; }));
    // In this order: the answer goes out, the drain begins, the session has its next turn.
    f.handler.release();
    f.begin_drain(60s);
    CHECK(f.until([&] { return body_of(peer.receive()).has_value(); }));
    f.settle();
    CHECK_FALSE(says_close(peer.receive()));
    const auto last = f.get(peer, "/now/y");
    CHECK(body_of(last) == "y");
    CHECK(says_close(last));
    peer.close();
    CHECK(f.until([&] { return f.cut.has_value(); }));
    CHECK(f.cut == 0);
}

TEST_CASE("F43: no listener opens in a draining server, nor in one that has drained") {
    http_server_fixture f;
    auto held = f.connect();
    held.send(get_request("/later/x"));
    CHECK(f.until([&] { return f.handler.waiting == 1; }));
    f.begin_drain(60s);
    f.settle();
    CHECK(f.server->listen({asio::ip::make_address("127.0.0.1"), 0}).has_error());
    f.handler.release();
    CHECK(f.until_closed(held));
    held.close();
    CHECK(f.until([&] { return f.cut.has_value(); }));
    const auto late = f.server->listen({asio::ip::make_address("127.0.0.1"), 0});
    REQUIRE(late.has_error());
    CHECK(late.error().kind == errc::cancelled);
    CHECK(f.server->endpoints().size() == 1);
}

TEST_CASE("a request that comes when no answer can be awaited any more ends its connection") {
    asio::io_context loop{1};
    manual_clock time;
    path_handler handler(loop);
    const auto core =
        std::make_shared<http_server_core>(loop, time, handler, http_server_limits(), http_server_events());
    const auto listener = http_listener::open(core, std::make_shared<reserve_descriptor>(),
                                              {asio::ip::make_address("127.0.0.1"), 0}, 0)
                              .value();
    core->cut_all();
    loopback_peer peer(listener->endpoint().port());
    peer.send(get_request("/later/x"));
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (!peer.ended() && std::chrono::steady_clock::now() < end)
        loop.run_one_for(10ms);
    CHECK(peer.ended());
    CHECK(handler.asked == 1);
    CHECK(core->connections.empty());
    listener->close();
    loop.run_for(10s);
}

TEST_CASE("F43: a drain gives up when its grace has passed, and cancels the answers") {
    http_server_fixture f;
    auto answering = f.connect();
    answering.send(get_request("/later/x"));
    CHECK(f.until([&] { return f.handler.waiting == 1; }));
    CHECK(f.drain(30ms) == 1);
    CHECK(f.handler.cancelled == 1);
    CHECK(f.handler.waiting == 0);
    CHECK(f.until_closed(answering));
    CHECK(f.server->connections() == 0);
    CHECK(f.handler_failures.empty());
}

TEST_CASE("a drain of a server without connections completes") {
    http_server_fixture f;
    CHECK(f.drain() == 0);
}
