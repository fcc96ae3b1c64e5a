// Names and addresses: who is asked when, and what happens when an address does not answer.

#include "tests/support/runtime_https_fixture.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::test;
using namespace std::chrono_literals;

namespace {

// Every answer ends its connection, so that each exchange connects anew.
void answer_once(tls_peer& peer) {
    peer.answer_all("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
}

std::vector<asio::ip::address> addresses(std::initializer_list<const char*> list) {
    std::vector<asio::ip::address> all;
    for (const char* one : list)
        all.push_back(asio::ip::make_address(one));
    return all;
}

const error no_dns = fail(errc::resolve_failed, "looking up sts.test: Temporary failure in name resolution");

} // namespace

TEST_CASE_FIXTURE(https_fixture,
                  "a name is looked up once in thirty seconds, and then behind the caller's back") {
    tls_server server(trusted.issue(), answer_once);
    start(server);
    REQUIRE(exchange().has_value());
    time.advance(29s);
    REQUIRE(exchange().has_value());
    CHECK(names->calls == 1);
    time.advance(1s);
    names->answer.reset(); // the name server has stopped answering
    REQUIRE(exchange().has_value());
    REQUIRE(exchange().has_value());
    CHECK(names->calls == 2);
}

TEST_CASE_FIXTURE(https_fixture, "callers that arrive together share one lookup") {
    tls_server server(trusted.issue(), answer_once);
    start(server);
    for (const auto& response : exchange_many(8))
        CHECK(response.has_value());
    CHECK(names->calls == 1);
}

TEST_CASE_FIXTURE(https_fixture, "F16: while DNS fails, the last good addresses serve for an hour") {
    tls_server server(trusted.issue(), answer_once);
    start(server);
    REQUIRE(exchange().has_value());
    names->answer = no_dns;
    for (int minute = 1; minute < 60; ++minute) {
        time.advance(1min);
        REQUIRE(exchange().has_value());
        REQUIRE(run_until([&] { return resolve_failures.size() == static_cast<std::size_t>(minute); }));
    }
    time.advance(1min);
    const auto failure = failure_of(exchange());
    CHECK(failure.kind == errc::resolve_failed);
    CHECK(failure.message.find("Temporary failure") != std::string::npos);
    names->answer = addresses({"127.0.0.1"});
    CHECK(exchange().has_value());
}

TEST_CASE_FIXTURE(https_fixture,
                  "F16: while DNS fails and old addresses serve, it is asked at most once a second") {
    tls_server server(trusted.issue(), answer_once);
    start(server);
    REQUIRE(exchange().has_value());
    names->answer = no_dns;
    time.advance(1min);
    for (int i = 0; i < 5; ++i)
        REQUIRE(exchange().has_value());
    CHECK(names->calls == 2);
    time.advance(1s);
    REQUIRE(exchange().has_value());
    CHECK(names->calls == 3);
}

TEST_CASE_FIXTURE(https_fixture,
                  "F16: a resolver that never answers costs a caller its limit and the loop nothing") {
    tls_server server(trusted.issue(), answer_once);
    names->answer.reset();
    auto settings = settings_for(server);
    settings.resolve_timeout = 100ms;
    start(settings);
    const auto failure = failure_of(exchange());
    CHECK(failure.kind == errc::timed_out);
    CHECK_MESSAGE(failure.message.find("looking up sts.test was not done within 100 ms") != std::string::npos,
                  failure.message);
    CHECK(resolve_failures == std::vector{errc::timed_out});
    // The answer comes after all: the next caller has it.
    names->pending.at(0)(addresses({"127.0.0.1"}));
    CHECK(exchange().has_value());
    CHECK(names->calls == 1);
}

TEST_CASE_FIXTURE(https_fixture, "a name without addresses is an error that says so") {
    tls_server server(trusted.issue(), answer_once);
    names->answer = addresses({});
    start(server);
    const auto failure = failure_of(exchange());
    CHECK(failure.kind == errc::resolve_failed);
    CHECK(failure.message == "the host name sts.test has no address");
}

TEST_CASE_FIXTURE(https_fixture,
                  "an answer of the resolver that comes after the client has gone is nobody's") {
    tls_server server(trusted.issue(), answer_once);
    names->answer.reset();
    start(server);
    const auto outcome = begin_exchange();
    REQUIRE(run_until([&] { return !names->pending.empty(); }));
    client.reset();
    REQUIRE(run_until([&] { return outcome->has_value(); }));
    CHECK(failure_of(**outcome).kind == errc::cancelled);
    names->pending.at(0)(addresses({"127.0.0.1"}));
}

TEST_CASE_FIXTURE(
    https_fixture,
    "F17: when an address does not answer, the next is tried beside it, and first from then on") {
    tls_server server(trusted.issue(), answer_once);
    const silent_address silent("127.0.1.2", server.port());
    names->answer = addresses({"127.0.1.2", "127.0.0.1"});
    auto settings = settings_for(server);
    settings.attempt_delay = 50ms;
    settings.connect_timeout = 1h; // an address that were awaited to its end would be awaited for ever
    start(settings);
    REQUIRE(exchange().has_value());

    // Another address comes before it, and would do.
    tls_server::options how;
    how.address = "127.0.1.3";
    how.port = server.port();
    const tls_server other(trusted.issue(), answer_once, how);
    names->answer = addresses({"127.0.1.3", "127.0.1.2", "127.0.0.1"});
    time.advance(1min);
    REQUIRE(exchange().has_value());
    REQUIRE(run_until([&] { return names->calls == 2 && at_rest(); }));
    REQUIRE(exchange().has_value());
    CHECK(server.accepted() == 3);
    CHECK(other.accepted() == 0);
}

TEST_CASE_FIXTURE(https_fixture, "F17: an address that refuses is followed by the next at once") {
    tls_server server(trusted.issue(), answer_once);
    names->answer = addresses({"127.0.1.2", "127.0.1.3", "127.0.0.1"});
    auto settings = settings_for(server);
    settings.attempt_delay = 1h;
    start(settings);
    CHECK(exchange().has_value());
}

TEST_CASE_FIXTURE(https_fixture, "F17: when every address refuses, the error names each") {
    std::uint16_t port = 0;
    {
        const tls_server gone(trusted.issue(), answer_once);
        port = gone.port();
        start(gone);
    }
    names->answer = addresses({"127.0.0.1", "127.0.1.2"});
    const auto failure = failure_of(exchange());
    CHECK(failure.kind == errc::connect_failed);
    CHECK(failure.message == "connecting to sts.test:" + std::to_string(port) +
                                 ": 127.0.0.1: Connection refused; 127.0.1.2: Connection refused");
}

TEST_CASE_FIXTURE(https_fixture, "F17: when no address answers, connecting ends at its limit") {
    tls_server server(trusted.issue(), answer_once);
    const silent_address one("127.0.1.2", server.port());
    const silent_address two("127.0.1.3", server.port());
    names->answer = addresses({"127.0.1.2", "127.0.1.3"});
    auto settings = settings_for(server);
    settings.attempt_delay = 50ms;
    settings.connect_timeout = 300ms;
    start(settings);
    const auto failure = failure_of(exchange());
    CHECK(failure.kind == errc::timed_out);
    CHECK_MESSAGE(failure.message.find("was not done within 300 ms") != std::string::npos, failure.message);
}

TEST_CASE_FIXTURE(https_fixture,
                  "F17: an address that accepts but does not serve is tried last from then on") {
    const auto shakes_hands_never = [](tls_peer& peer) { peer.wait_for_close(); };
    const auto resets_in_the_handshake = [](tls_peer& peer) {
        peer.wait_for_bytes();
        peer.reset();
    };
    const auto resets_before_its_answer = [](tls_peer& peer) {
        peer.shake_hands();
        peer.read_request();
        peer.reset();
    };
    const auto answers_never = [](tls_peer& peer) {
        peer.shake_hands();
        peer.read_request();
        peer.wait_for_close();
    };
    for (const tls_server::script& fails : std::initializer_list<tls_server::script>{
             shakes_hands_never, resets_in_the_handshake, resets_before_its_answer, answers_never}) {
        const tls_server good(trusted.issue(), answer_once);
        tls_server::options how;
        how.address = "127.0.1.2";
        how.port = good.port();
        const tls_server bad(trusted.issue(), fails, how);
        names->answer = addresses({"127.0.1.2", "127.0.0.1"});
        auto settings = settings_for(bad);
        settings.attempt_delay = 10s; // the address that accepts has no rival
        start(settings);
        CHECK_FALSE(exchange({}, 1s).has_value());
        REQUIRE(bad.accepted() == 1);
        for (int i = 0; i < 2; ++i) {
            const auto response = exchange();
            REQUIRE_MESSAGE(response.has_value(), failure_of(response).message);
        }
        CHECK(bad.accepted() == 1);
        CHECK(good.accepted() == 2);
    }
}

TEST_CASE_FIXTURE(https_fixture, "F17: a preferred address that stops serving loses its preference") {
    std::atomic<bool> broken = false;
    tls_server first(trusted.issue(), [&](tls_peer& peer) {
        if (!broken)
            return answer_once(peer);
        peer.wait_for_bytes();
        peer.reset();
    });
    tls_server::options how;
    how.address = "127.0.1.2";
    how.port = first.port();
    tls_server second(trusted.issue(), answer_once, how);
    auto settings = settings_for(first);
    settings.attempt_delay = 10s;
    names->answer = addresses({"127.0.0.1", "127.0.1.2"});
    start(settings);
    REQUIRE(exchange().has_value());
    CHECK(first.accepted() == 1);
    broken = true;
    CHECK_FALSE(exchange().has_value());
    CHECK(exchange().has_value());
    CHECK(second.accepted() == 1);
    // A fresh answer of the resolver does not make it forget.
    time.advance(1min);
    REQUIRE(exchange().has_value());
    REQUIRE(exchange().has_value());
    CHECK(first.accepted() == 2);
}
