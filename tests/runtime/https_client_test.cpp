// The client against servers that mean well: exchanges, reuse, the bound of the pool, names and addresses.

#include "tests/support/runtime_https_fixture.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <future>

using namespace credlet;
using namespace credlet::test;
using namespace std::chrono_literals;

namespace {

tls_server::script answering(std::string answer) {
    return [answer = std::move(answer)](tls_peer& peer) { peer.answer_all(answer); };
}

http_header header(std::string name, std::string_view value) {
    return {std::move(name), secret_string(value)};
}

} // namespace

TEST_CASE_FIXTURE(https_fixture, "an exchange brings status, headers and body") {
    tls_server server(trusted.issue(),
                      answering("HTTP/1.1 201 Created\r\nX-Id: 7\r\nContent-Length: 5\r\n\r\nhello"));
    start(server);
    const auto response = exchange();
    REQUIRE_MESSAGE(response.has_value(), failure_of(response).message);
    CHECK(response->status == 201);
    CHECK(response->header("x-id") == "7");
    CHECK(response->body.reveal() == "hello");
}

TEST_CASE_FIXTURE(https_fixture,
                  "a request carries the client's own headers and the caller's, and nothing else") {
    tls_server server(trusted.issue(), answering(plain_answer("")));
    auto settings = settings_for(server);
    settings.server.base_path = "/base";
    start(settings);
    http_request request;
    request.method = "POST";
    request.target = "/path?a=b";
    request.headers.push_back(header("Authorization", "Bearer t"));
    request.body = secret_string("x=1");
    REQUIRE(exchange(std::move(request)).has_value());
    CHECK(server.requests().at(0) ==
          "POST /base/path?a=b HTTP/1.1\r\nHost: sts.test:" + std::to_string(server.port()) +
              "\r\nUser-Agent: credlet/test\r\nAuthorization: Bearer t\r\n"
              "Content-Length: 3\r\n\r\nx=1");
}

TEST_CASE_FIXTURE(https_fixture, "a request that could break out of its line is refused before it is sent") {
    tls_server server(trusted.issue(), answering(plain_answer("")));
    start(server);
    const auto refused = [&](http_request request) {
        const auto response = exchange(std::move(request));
        return failure_of(response).kind == errc::malformed;
    };
    for (const char* value : {"a\r\nX: y", "a\nb", "a\rb", "\x7f", "\xc3\xa9"}) {
        http_request request;
        request.headers.push_back(header("X-A", value));
        CHECK(refused(std::move(request)));
    }
    for (const char* name : {"", "a b", "a:", "Host", "content-length", "Transfer-Encoding", "CONNECTION"}) {
        http_request request;
        request.headers.push_back(header(name, "v"));
        CHECK(refused(std::move(request)));
    }
    for (const char* target : {"", "path", "/a b", "/a\r\nb", "/a#b", "https://evil/"}) {
        http_request request;
        request.target = target;
        CHECK(refused(std::move(request)));
    }
    CHECK(server.accepted() == 0);
}

TEST_CASE_FIXTURE(https_fixture, "ten exchanges in turn share one handshake") {
    tls_server server(trusted.issue(), answering(plain_answer("ok")));
    start(server);
    for (int i = 0; i < 10; ++i)
        REQUIRE(exchange().has_value());
    CHECK(server.handshakes() == 1);
    CHECK(server.requests().size() == 10);
}

TEST_CASE_FIXTURE(https_fixture, "no more than max_connections are open at once; the rest wait their turn") {
    tls_server server(trusted.issue(), answering(plain_answer("ok")));
    auto settings = settings_for(server);
    settings.max_connections = 3;
    start(settings);
    for (const auto& response : exchange_many(40))
        REQUIRE_MESSAGE(response.has_value(), failure_of(response).message);
    CHECK(server.requests().size() == 40);
    CHECK(server.accepted() <= 3);
}

TEST_CASE_FIXTURE(https_fixture, "above max_waiting a request is refused at once") {
    tls_server server(trusted.issue(), answering(plain_answer("ok")));
    auto settings = settings_for(server);
    settings.max_connections = 1;
    settings.max_waiting = 2;
    start(settings);
    const auto responses = exchange_many(5);
    int good = 0;
    int refused = 0;
    for (const auto& response : responses) {
        good += response.has_value() ? 1 : 0;
        refused += failure_of(response).kind == errc::overloaded ? 1 : 0;
    }
    CHECK(good == 3);
    CHECK(refused == 2);
}

TEST_CASE_FIXTURE(https_fixture, "who waits for a connection waits no longer than the limit") {
    tls_server server(trusted.issue(), [](tls_peer& peer) {
        peer.shake_hands();
        peer.wait_for_close();
    });
    auto settings = settings_for(server);
    settings.max_connections = 1;
    start(settings);
    const auto holder = begin_exchange(); // has the only connection until the server goes
    const auto waiter = begin_exchange(200ms);
    REQUIRE(run_until([&] { return waiter->has_value(); }));
    CHECK_FALSE(holder->has_value());
    CHECK(failure_of(**waiter).kind == errc::timed_out);
    CHECK(failure_of(**waiter).message.find("became free") != std::string::npos);
}

TEST_CASE_FIXTURE(https_fixture, "F18: a server that closes an idle connection causes no error") {
    tls_server server(trusted.issue(), [](tls_peer& peer) {
        peer.shake_hands();
        peer.read_request();
        peer.write(plain_answer("ok"));
    });
    start(server);
    for (std::size_t i = 1; i <= 5; ++i) {
        const auto response = exchange();
        REQUIRE_MESSAGE(response.has_value(), failure_of(response).message);
        REQUIRE(run_until([&] { return server.open() == 0; }));
        CHECK(server.accepted() == i);
    }
}

TEST_CASE_FIXTURE(https_fixture, "F18: a pooled connection that dies under the request gets one free retry") {
    tls_server server(trusted.issue(), [](tls_peer& peer) {
        peer.shake_hands();
        peer.read_request();
        peer.write(plain_answer("ok"));
        peer.read_request();
        peer.reset();
    });
    start(server);
    REQUIRE(exchange().has_value());
    const auto retried = exchange();
    REQUIRE_MESSAGE(retried.has_value(), failure_of(retried).message);
    CHECK(server.accepted() == 2);
    CHECK(server.requests().size() == 3);
}

TEST_CASE_FIXTURE(https_fixture, "the free retry is one, and its failure is reported") {
    tls_server server(trusted.issue(), [](tls_peer& peer) {
        peer.shake_hands();
        peer.read_request();
        if (peer.number() == 0) {
            peer.write(plain_answer("ok"));
            peer.read_request();
        }
        peer.reset();
    });
    start(server);
    REQUIRE(exchange().has_value());
    CHECK(failure_of(exchange()).kind == errc::connection_lost);
    CHECK(server.accepted() == 2);
}

TEST_CASE_FIXTURE(https_fixture, "a fresh connection that dies gets no retry") {
    tls_server server(trusted.issue(), [](tls_peer& peer) {
        peer.shake_hands();
        peer.read_request();
        peer.reset();
    });
    start(server);
    CHECK(failure_of(exchange()).kind == errc::connection_lost);
    CHECK(server.accepted() == 1);
}

TEST_CASE_FIXTURE(https_fixture, "an answer that has begun is not asked for again") {
    tls_server server(trusted.issue(), [](tls_peer& peer) {
        peer.shake_hands();
        peer.read_request();
        peer.write(plain_answer("ok"));
        peer.read_request();
        peer.write("HTTP/1.1 200 OK\r\nContent-L");
        peer.reset();
    });
    start(server);
    REQUIRE(exchange().has_value());
    CHECK(failure_of(exchange()).kind == errc::connection_lost);
    CHECK(server.accepted() == 1);
}

TEST_CASE_FIXTURE(https_fixture,
                  "a connection is not used again after an answer that ends it or is followed by more") {
    for (const char* answer : {
             "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
             "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
             "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
             "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
         }) {
        CAPTURE(answer);
        tls_server server(trusted.issue(), answering(answer));
        start(server);
        for (int i = 0; i < 2; ++i) {
            const auto response = exchange();
            REQUIRE_MESSAGE(response.has_value(), failure_of(response).message);
            CHECK(response->body.reveal() == "ok");
        }
        CHECK(server.handshakes() == 2);
    }
}

TEST_CASE_FIXTURE(https_fixture, "a connection is not used again when more than the answer came with it") {
    tls_server server(trusted.issue(), [](tls_peer& peer) {
        peer.shake_hands();
        peer.read_request();
        peer.write_at_once({plain_answer("ok"), plain_answer("evil")});
        peer.wait_for_close();
    });
    start(server);
    for (int i = 0; i < 2; ++i) {
        const auto response = exchange();
        REQUIRE_MESSAGE(response.has_value(), failure_of(response).message);
        CHECK(response->body.reveal() == "ok");
    }
    CHECK(server.handshakes() == 2);
}

TEST_CASE_FIXTURE(https_fixture, "answers that have no body by their nature end with their head") {
    tls_server server(trusted.issue(), answering("HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n"));
    start(server);
    CHECK(exchange().value().status == 304);
    tls_server other(trusted.issue(), answering("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"));
    start(other);
    for (int i = 0; i < 2; ++i) {
        http_request request;
        request.method = "HEAD";
        CHECK(exchange(std::move(request)).value().status == 200);
    }
    CHECK(other.handshakes() == 1);
}

TEST_CASE_FIXTURE(https_fixture, "an idle connection is not used after idle_timeout, and closed") {
    tls_server server(trusted.issue(), answering(plain_answer("ok")));
    auto settings = settings_for(server);
    settings.idle_timeout = 50ms;
    start(settings);
    REQUIRE(exchange().has_value());
    time.advance(50ms);
    REQUIRE(exchange().has_value());
    CHECK(server.handshakes() == 2);
    time.advance(50ms);
    CHECK(run_until([&] { return server.open() == 0; }));
}

TEST_CASE_FIXTURE(https_fixture, "a stopped client closes what is idle and refuses what comes") {
    tls_server server(trusted.issue(), answering(plain_answer("ok")));
    start(server);
    REQUIRE(exchange().has_value());
    client->stop();
    CHECK(run_until([&] { return server.open() == 0; }));
    CHECK(failure_of(exchange()).kind == errc::cancelled);
}

TEST_CASE_FIXTURE(https_fixture,
                  "a client may go while an exchange is under way, which then ends by itself") {
    std::promise<void> gone;
    tls_server server(trusted.issue(), [go_on = gone.get_future().share()](tls_peer& peer) {
        peer.shake_hands();
        peer.read_request();
        go_on.wait();
        peer.write(plain_answer("ok"));
        peer.wait_for_close();
    });
    auto lets_go_on = std::move(gone); // at the latest when it goes: the server awaits its scripts
    start(server);
    const auto outcome = begin_exchange();
    REQUIRE(run_until([&] { return server.requests().size() == 1; }));
    client.reset();
    lets_go_on.set_value();
    REQUIRE(run_until([&] { return outcome->has_value(); }));
    CHECK((*outcome)->value().body.reveal() == "ok");
    CHECK(run_until([&] { return server.open() == 0; }));
}

TEST_CASE_FIXTURE(https_fixture, "proxy variables of the environment change nothing") {
    for (const char* name : {"https_proxy", "HTTPS_PROXY", "ALL_PROXY"})
        ::setenv(name, "http://127.0.0.1:1", 1); // NOLINT(concurrency-mt-unsafe)
    tls_server server(trusted.issue(), answering(plain_answer("ok")));
    start(server);
    CHECK(exchange().has_value());
    for (const char* name : {"https_proxy", "HTTPS_PROXY", "ALL_PROXY"})
        ::unsetenv(name); // NOLINT(concurrency-mt-unsafe)
}
