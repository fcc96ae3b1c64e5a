// The client against servers that are slow, broken or mean. Whatever they do: an error in time, never half an
// answer.

#include "tests/support/runtime_https_fixture.hpp"

#include <doctest/doctest.h>

#include <future>
#include <thread>

using namespace credlet;
using namespace credlet::test;
using namespace std::chrono_literals;
using namespace std::string_literals;

namespace {

const std::string chunked_answer =
    "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked\r\n\r\n"
    "6;ext=1\r\n<reply\r\n7\r\n>abc</r\r\n5\r\neply>\r\n0\r\nTrailer: x\r\n\r\n";

// Shakes hands, reads a request, writes that, and leaves the client waiting.
tls_server::script answering_then_silent(std::string bytes) {
    return [bytes = std::move(bytes)](tls_peer& peer) {
        peer.shake_hands();
        if (!peer.read_request().empty() && peer.write(bytes))
            peer.wait_for_close();
    };
}

// As above, but says that nothing follows.
tls_server::script answering_then_ending(std::string bytes) {
    return [bytes = std::move(bytes)](tls_peer& peer) {
        peer.shake_hands();
        if (peer.read_request().empty())
            return;
        peer.write(bytes);
        peer.close_notify();
    };
}

bool contains(const error& e, std::string_view part) { return e.message.find(part) != std::string::npos; }

} // namespace

TEST_CASE_FIXTURE(https_fixture, "F3: a server that accepts and never shakes hands costs handshake_timeout") {
    tls_server server(trusted.issue(), [](tls_peer& peer) { peer.wait_for_close(); });
    auto settings = settings_for(server);
    settings.handshake_timeout = 100ms;
    start(settings);
    const auto failure = failure_of(exchange());
    CHECK(failure.kind == errc::timed_out);
    CHECK_MESSAGE(contains(failure, "TLS handshake with sts.test"), failure.message);
    CHECK_MESSAGE(contains(failure, "within 100 ms"), failure.message);
}

TEST_CASE_FIXTURE(https_fixture, "F3: a server that never answers costs read_timeout") {
    tls_server server(trusted.issue(), answering_then_silent(""));
    auto settings = settings_for(server);
    settings.read_timeout = 100ms;
    start(settings);
    const auto failure = failure_of(exchange());
    CHECK(failure.kind == errc::timed_out);
    CHECK_MESSAGE(contains(failure, "reading from sts.test"), failure.message);
    CHECK_MESSAGE(contains(failure, "(127.0.0.1) was not done within 100 ms"), failure.message);
    CHECK(run_until([&] { return server.open() == 0; }));
}

TEST_CASE_FIXTURE(https_fixture, "a server that never reads costs write_timeout") {
    tls_server server(trusted.issue(), [](tls_peer& peer) {
        peer.shake_hands();
        peer.park();
    });
    auto settings = settings_for(server);
    settings.write_timeout = 200ms;
    start(settings);
    http_request request;
    request.method = "POST";
    request.body.resize(32 * 1024 * 1024);
    const auto failure = failure_of(exchange(std::move(request)));
    CHECK(failure.kind == errc::timed_out);
    CHECK_MESSAGE(contains(failure, "writing to sts.test"), failure.message);
}

TEST_CASE_FIXTURE(https_fixture, "F8: a server that drips is cut by the limit on the whole exchange") {
    tls_server server(trusted.issue(), [](tls_peer& peer) {
        peer.shake_hands();
        peer.read_request();
        peer.write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        while (peer.write("x"))
            std::this_thread::sleep_for(10ms);
    });
    start(server);
    const auto failure = failure_of(exchange({}, 400ms));
    CHECK(failure.kind == errc::timed_out);
    CHECK_MESSAGE(contains(failure, "the 400 ms of the whole exchange"), failure.message);
}

TEST_CASE_FIXTURE(https_fixture, "the limit on the whole exchange holds in every step") {
    const auto cut = [&](const error& failure) {
        CHECK_MESSAGE(contains(failure, "the 100 ms of the whole exchange"), failure.message);
        return failure.kind == errc::timed_out;
    };
    tls_server mute(trusted.issue(), [](tls_peer& peer) { peer.wait_for_close(); });
    start(mute);
    CHECK(cut(failure_of(exchange({}, 100ms))));
    tls_server silent(trusted.issue(), answering_then_silent(""));
    start(silent);
    CHECK(cut(failure_of(exchange({}, 100ms))));
    names->answer.reset();
    start(silent);
    CHECK(cut(failure_of(exchange({}, 100ms))));
    names->answer = std::vector{asio::ip::make_address("127.0.1.2")};
    const silent_address full("127.0.1.2", silent.port());
    start(silent);
    CHECK(cut(failure_of(exchange({}, 100ms))));
}

TEST_CASE_FIXTURE(https_fixture,
                  "F5: a connection reset at any byte of the answer is an error, never half an answer") {
    for (const std::string& answer : {plain_answer("<reply>abc</reply>"), chunked_answer}) {
        std::atomic<std::size_t> cut = 0;
        tls_server server(trusted.issue(), [&](tls_peer& peer) {
            peer.shake_hands();
            peer.read_request();
            peer.write(std::string_view(answer).substr(0, cut));
            peer.reset();
        });
        start(server);
        for (cut = 0; cut < answer.size(); ++cut) {
            const auto response = exchange();
            REQUIRE_MESSAGE(failure_of(response).kind == errc::connection_lost, cut);
        }
        CHECK(server.handshakes() == answer.size());
    }
}

TEST_CASE_FIXTURE(https_fixture, "F6: an answer cut short at any byte is an error, never half an answer") {
    for (const std::string& answer : {plain_answer("<reply>abc</reply>"), chunked_answer}) {
        std::atomic<std::size_t> cut = 0;
        tls_server server(trusted.issue(), [&](tls_peer& peer) {
            peer.shake_hands();
            peer.read_request();
            peer.write(std::string_view(answer).substr(0, cut));
            if (peer.number() % 2 == 0) // an attacker who closes TCP cannot fake this
                peer.close_notify();
        });
        start(server);
        for (cut = 0; cut < answer.size(); ++cut) {
            const auto response = exchange();
            REQUIRE_MESSAGE(failure_of(response).kind == errc::connection_lost, cut);
        }
        cut = answer.size();
        CHECK(exchange().value().body.reveal() == "<reply>abc</reply>");
    }
}

TEST_CASE_FIXTURE(https_fixture,
                  "F6: a body that lasts until the connection closes is whole only if TLS says so") {
    const std::string answer = "HTTP/1.1 200 OK\r\n\r\n<reply>abc</reply>";
    tls_server honest(trusted.issue(), answering_then_ending(answer));
    start(honest);
    CHECK(exchange().value().body.reveal() == "<reply>abc</reply>");
    tls_server cut(trusted.issue(), [&](tls_peer& peer) {
        peer.shake_hands();
        peer.read_request();
        peer.write(answer);
    });
    start(cut);
    CHECK(failure_of(exchange()).kind == errc::connection_lost);
}

TEST_CASE_FIXTURE(https_fixture, "F8: an answer larger than its bound is refused however it is framed") {
    const std::string megabyte(1024 * 1024, 'x');
    for (const std::string& head :
         {std::string("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n"),
          std::string("HTTP/1.1 200 OK\r\n\r\n"),
          std::string("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40000000\r\n")}) {
        CAPTURE(head);
        tls_server server(trusted.issue(), [&](tls_peer& peer) {
            peer.shake_hands();
            peer.read_request();
            peer.write(head);
            for (int i = 0; i < 1024 && peer.write(megabyte); ++i) {
            }
        });
        start(server);
        const auto failure = failure_of(exchange());
        CHECK(failure.kind == errc::too_large);
        CHECK_MESSAGE(contains(failure, "the body of the answer exceeds 65536 bytes"), failure.message);
        CHECK_MESSAGE(contains(failure, "sts.test"), failure.message);
    }
}

TEST_CASE_FIXTURE(https_fixture, "F8: a body of exactly its bound is taken, one byte more is not") {
    tls_server server(trusted.issue(), [](tls_peer& peer) {
        peer.shake_hands();
        peer.read_request();
        peer.write(plain_answer(std::string(1000, 'x')));
        peer.read_request();
        peer.write(plain_answer(std::string(1001, 'x')));
        peer.wait_for_close();
    });
    start(server);
    http_request request;
    request.max_response_body = 1000;
    CHECK(exchange(std::move(request)).value().body.size() == 1000);
    request = {};
    request.max_response_body = 1000;
    CHECK(failure_of(exchange(std::move(request))).kind == errc::too_large);
}

TEST_CASE_FIXTURE(https_fixture, "T33: a redirect is returned as it is and followed by nobody") {
    tls_server elsewhere(trusted.issue(), [](tls_peer& peer) { peer.answer_all(plain_answer("stolen")); });
    tls_server server(trusted.issue(),
                      answering_then_silent("HTTP/1.1 307 Temporary Redirect\r\nLocation: https://"
                                            "127.0.0.1:" +
                                            std::to_string(elsewhere.port()) +
                                            "/\r\nContent-Length: 0\r\n\r\n"));
    start(server);
    CHECK(exchange().value().status == 307);
    CHECK(elsewhere.accepted() == 0);
}

TEST_CASE_FIXTURE(https_fixture, "T33: an answer that is not plain HTTP/1.x is refused") {
    const std::string many_interim = [] {
        std::string all;
        for (int i = 0; i < 100; ++i)
            all += "HTTP/1.1 103 Early Hints\r\n\r\n";
        return all;
    }();
    for (const std::string& answer : std::initializer_list<std::string>{
             "garbage\r\n\r\n",
             "<html>hello</html>",
             "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n"s,
             "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
             "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
             "HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
             "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
             "HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\ncontent-encoding: gzip\r\nContent-Length: "
             "0\r\n\r\n",
             "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
             "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\nx",
             "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\nContent-Length: 1\r\n\r\nx",
             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
             "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
             "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
             "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
             "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
             "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
             many_interim,
         }) {
        CAPTURE(answer);
        tls_server server(trusted.issue(), answering_then_ending(answer));
        start(server);
        const auto failure = failure_of(exchange());
        CHECK_MESSAGE(failure.kind == errc::malformed, failure.message);
        CHECK_MESSAGE(contains(failure, "the answer of sts.test"), failure.message);
    }
}

TEST_CASE_FIXTURE(https_fixture, "T33: a head or a line between chunks without end is refused at its bound") {
    const std::string padding(8000, 'x');
    for (const std::string& start_of_answer :
         {std::string("HTTP/1.1 200 OK\r\nX: "), std::string("HTTP/1.1 200 "),
          std::string("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;"),
          std::string("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ")}) {
        CAPTURE(start_of_answer);
        tls_server server(trusted.issue(), [&](tls_peer& peer) {
            peer.shake_hands();
            peer.read_request();
            peer.write(start_of_answer);
            for (int i = 0; i < 1000 && peer.write(padding); ++i) {
            }
        });
        start(server);
        CHECK(failure_of(exchange()).kind == errc::too_large);
    }
}

TEST_CASE_FIXTURE(https_fixture, "T33: interim answers are passed over") {
    tls_server server(trusted.issue(),
                      answering_then_silent("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n"
                                            "Link: x\r\n\r\n" +
                                            plain_answer("ok")));
    start(server);
    const auto response = exchange();
    REQUIRE_MESSAGE(response.has_value(), failure_of(response).message);
    CHECK(response->status == 200);
    CHECK_FALSE(response->header("Link"));
    CHECK(response->body.reveal() == "ok");
}

TEST_CASE_FIXTURE(https_fixture,
                  "a cancelled caller gets errc::cancelled in every step, and its connection is closed") {
    tls_server mute(trusted.issue(), [](tls_peer& peer) { peer.wait_for_close(); });
    tls_server silent(trusted.issue(),
                      answering_then_silent("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"));
    const auto cancelled_while = [&](std::string_view doing, const std::function<bool()>& reached) {
        const auto failure = failure_of(exchange_cancelled_when([&] { return reached() && at_rest(); }));
        CHECK(failure.kind == errc::cancelled);
        CHECK_MESSAGE(failure.message.starts_with(doing), failure.message);
    };
    SUBCASE("while the name is looked up") {
        names->answer.reset();
        start(silent);
        cancelled_while("looking up", [&] { return names->calls == 1; });
    }
    SUBCASE("while connecting") {
        const silent_address full("127.0.1.2", silent.port());
        names->answer = std::vector{asio::ip::make_address("127.0.1.2")};
        start(silent);
        cancelled_while("connecting to", [&] { return names->calls == 1; });
    }
    SUBCASE("while shaking hands") {
        start(mute);
        cancelled_while("TLS handshake with", [&] { return mute.accepted() == 1; });
    }
    SUBCASE("while reading") {
        start(silent);
        cancelled_while("reading from", [&] { return silent.requests().size() == 1; });
    }
    SUBCASE("while waiting for a connection") {
        std::promise<void> done;
        tls_server busy(trusted.issue(), [ended = done.get_future().share()](tls_peer& peer) {
            peer.shake_hands();
            peer.read_request();
            ended.wait();
        });
        const auto ends_first = std::move(done); // at the latest: the server awaits its scripts
        auto settings = settings_for(busy);
        settings.max_connections = 1;
        start(settings);
        const auto first = begin_exchange(1h);
        cancelled_while("waiting for a connection", [&] { return busy.requests().size() == 1; });
    }
    CHECK(run_until([&] { return mute.open() == 0 && silent.open() == 0; }));
    CHECK(resolve_failures.empty());
}

TEST_CASE_FIXTURE(https_fixture, "a place in the pool is free again after every kind of failure") {
    tls_server server(trusted.issue(), [](tls_peer& peer) {
        if (peer.number() == 0)
            return;
        peer.shake_hands();
        peer.read_request();
        if (peer.number() == 1)
            peer.reset();
        else if (peer.number() == 2)
            peer.write("garbage\r\n\r\n");
        else
            peer.write(plain_answer("ok"));
        peer.wait_for_close();
    });
    auto settings = settings_for(server);
    settings.max_connections = 1;
    start(settings);
    CHECK(failure_of(exchange()).kind == errc::tls_failed);
    CHECK(failure_of(exchange()).kind == errc::connection_lost);
    CHECK(failure_of(exchange()).kind == errc::malformed);
    CHECK(exchange().value().status == 200);
}
