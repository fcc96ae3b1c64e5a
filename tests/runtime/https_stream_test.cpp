// Answers that are read as they come.

#include "tests/support/runtime_https_fixture.hpp"

#include <doctest/doctest.h>

#include <future>

using namespace credlet;
using namespace credlet::test;
using namespace std::chrono_literals;

namespace {

const std::string chunked_head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

tls_server::script streaming(std::string head, std::vector<std::string> pieces, bool orderly_end = false) {
    return [=](tls_peer& peer) {
        peer.shake_hands();
        while (!peer.read_request().empty()) {
            peer.write(head);
            for (const auto& piece : pieces)
                peer.write(piece);
            if (orderly_end) {
                peer.close_notify();
                return;
            }
        }
    };
}

} // namespace

TEST_CASE_FIXTURE(https_fixture, "a stream gives its bytes as they come and an empty string at its end") {
    for (const bool chunked : {true, false}) {
        tls_server server(trusted.issue(),
                          chunked
                              ? streaming(chunked_head, {"3\r\none\r\n", "3\r\ntwo\r\n", "0\r\n\r\n"})
                              : streaming("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", {"one", "two"}));
        start(server);
        for (int i = 0; i < 2; ++i) { // an ended stream leaves its connection for the next
            auto stream = open();
            REQUIRE_MESSAGE(stream.has_value(), failure_of(stream).message);
            CHECK((*stream)->head().status == 200);
            CHECK((*stream)->head().body.empty());
            std::string all;
            for (auto piece = read(**stream); !piece.value().empty(); piece = read(**stream))
                all += *piece;
            CHECK(all == "onetwo");
            CHECK(read(**stream).value().empty());
        }
        CHECK(server.handshakes() == 1);
    }
}

TEST_CASE_FIXTURE(https_fixture, "a piece of a stream is given before the next has come") {
    std::promise<void> first_read;
    tls_server server(trusted.issue(), [go_on = first_read.get_future().share()](tls_peer& peer) {
        peer.shake_hands();
        peer.read_request();
        peer.write(chunked_head + "3\r\none\r\n");
        go_on.wait();
        peer.write("3\r\ntwo\r\n");
        peer.wait_for_close();
    });
    auto lets_go_on = std::move(first_read); // at the latest when it goes: the server awaits its scripts
    start(server);
    auto stream = open();
    REQUIRE(stream.has_value());
    CHECK(read(**stream).value() == "one");
    lets_go_on.set_value();
    CHECK(read(**stream).value() == "two");
}

TEST_CASE_FIXTURE(https_fixture, "a stream may be longer than any bound, in pieces of at most 64 KiB") {
    const std::string chunk = "10000\r\n" + std::string(0x10000, 'x') + "\r\n";
    tls_server server(trusted.issue(), streaming(chunked_head, {chunk, chunk, chunk, "0\r\n\r\n"}));
    start(server);
    auto stream = open();
    REQUIRE(stream.has_value());
    std::size_t size = 0;
    for (auto piece = read(**stream); !piece.value().empty(); piece = read(**stream)) {
        CHECK(piece->size() <= 64 * 1024);
        size += piece->size();
    }
    CHECK(size == 3 * 0x10000);
}

TEST_CASE_FIXTURE(https_fixture, "a stream until the connection closes ends well only if TLS says so") {
    tls_server honest(trusted.issue(), streaming("HTTP/1.1 200 OK\r\n\r\n", {"all"}, true));
    start(honest);
    auto stream = open();
    CHECK(read(**stream).value() == "all");
    CHECK(read(**stream).value().empty());

    tls_server cut(trusted.issue(), [](tls_peer& peer) {
        peer.shake_hands();
        peer.read_request();
        peer.write("HTTP/1.1 200 OK\r\n\r\nall");
    });
    start(cut);
    stream = open();
    CHECK(read(**stream).value() == "all");
    CHECK(failure_of(read(**stream)).kind == errc::connection_lost);
}

TEST_CASE_FIXTURE(https_fixture, "F6: a stream cut short is an error, and stays one") {
    tls_server server(trusted.issue(), streaming(chunked_head, {"5\r\nab"}, true));
    start(server);
    auto stream = open();
    CHECK(read(**stream).value() == "ab");
    CHECK(failure_of(read(**stream)).kind == errc::connection_lost);
    CHECK(failure_of(read(**stream)).kind == errc::connection_lost);
}

TEST_CASE_FIXTURE(https_fixture,
                  "F26: a stream whose peer has gone silent is given up after the silence allowed") {
    tls_server server(trusted.issue(), streaming(chunked_head, {"3\r\none\r\n"}));
    start(server);
    auto stream = open();
    CHECK(read(**stream).value() == "one");
    const auto failure = failure_of(read(**stream, 100ms));
    CHECK(failure.kind == errc::timed_out);
    CHECK_MESSAGE(failure.message.find("within 100 ms") != std::string::npos, failure.message);
    CHECK(run_until([&] { return server.open() == 0; }));
    CHECK(failure_of(read(**stream, 100ms)).kind == errc::timed_out);
}

TEST_CASE_FIXTURE(https_fixture,
                  "a stream has one of max_connections, and dropping it closes its connection") {
    tls_server server(trusted.issue(), streaming(chunked_head, {"3\r\none\r\n"}));
    auto settings = settings_for(server);
    settings.max_connections = 1;
    start(settings);
    auto stream = open();
    REQUIRE(stream.has_value());
    CHECK(failure_of(open({}, 100ms)).kind == errc::timed_out);
    *stream = nullptr;
    CHECK(run_until([&] { return server.open() == 0; }));
    CHECK(open({}, 10s).has_value());
}

TEST_CASE_FIXTURE(https_fixture, "a stream with another status is returned with its body") {
    tls_server server(trusted.issue(),
                      [](tls_peer& peer) { peer.answer_all(plain_answer("gone", "410 Gone")); });
    start(server);
    auto stream = open();
    CHECK((*stream)->head().status == 410);
    CHECK(read(**stream).value() == "gone");
    CHECK(read(**stream).value().empty());
}

TEST_CASE_FIXTURE(https_fixture, "the head of a stream must come within its limit") {
    tls_server server(trusted.issue(), streaming("HTTP/1.1 200 OK\r\n", {}));
    start(server);
    CHECK(failure_of(open({}, 100ms)).kind == errc::timed_out);
}

TEST_CASE_FIXTURE(https_fixture, "a stream outlives its client") {
    tls_server server(trusted.issue(), streaming(chunked_head, {"3\r\none\r\n", "0\r\n\r\n"}));
    start(server);
    auto stream = open();
    client.reset();
    CHECK(read(**stream).value() == "one");
    CHECK(read(**stream).value().empty());
    CHECK(run_until([&] { return server.open() == 0; }));
}
