#include "metadata/kubernetes/api_client.hpp"
#include "runtime/task_group.hpp"
#include "tests/support/coroutine.hpp"
#include "tests/support/kubernetes_fakes.hpp"
#include "tests/support/manual_clock.hpp"
#include "tests/support/scripted_http.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::metadata::kubernetes;
using namespace std::chrono_literals;

namespace {

struct fixture {
    asio::io_context loop{1};
    test::manual_clock time;
    test::scratch_directory dir;
    std::string path = dir.write("token", "first-token");
    daemon_token token{path, time, {}};
    test::scripted_http http;
    api_client api{http, token, time, "n1"};

    fixture() { REQUIRE(token.load().has_value()); }

    api_result<http_response> get(bool as_own_node = false) {
        api_result<http_response> out{api_error{}};
        api_request request;
        request.target = "/x";
        request.as_own_node = as_own_node;
        test::run(loop, ask(std::move(request), out));
        return out;
    }
    awaitable<void> ask(api_request request, api_result<http_response>& out) {
        out = co_await api.exchange(std::move(request), 1s);
    }
    awaitable<void> ask_stream(errc& kind, std::string& message) {
        api_request request;
        request.target = "/watch";
        auto stream = co_await api.open(std::move(request), 50ms);
        if (stream.has_error()) {
            kind = stream.error().kind;
            message = stream.error().message;
        }
    }
};

awaitable<void> drip(std::shared_ptr<test::scripted_feed> feed) {
    co_await asio::this_coro::throw_if_cancelled(false);
    while ((co_await sleep_for(5ms)).has_value())
        feed->push("x");
}

} // namespace

TEST_CASE("a request carries the daemon's token, and impersonates nobody unless told to") {
    fixture f;
    f.http.on_exchange = [](const auto&) { return test::answer_with(200, "{}"); };
    REQUIRE(f.get().has_value());
    REQUIRE(f.get(true).has_value());
    const auto& plain = f.http.exchanges[0].headers;
    CHECK(plain.at("Authorization") == "Bearer first-token");
    CHECK(plain.count("Impersonate-User") == 0);
    const auto& as_node = f.http.exchanges[1].headers;
    CHECK(as_node.at("Impersonate-User") == "system:node:n1");
    CHECK(std::count_if(as_node.begin(), as_node.end(),
                        [](const auto& h) { return h.first.starts_with("Impersonate"); }) == 1);
}

TEST_CASE(
    "F23: after a 401 the token file is read and the request sent once more, if the token is another one") {
    fixture f;
    f.http.on_exchange = [&](const test::seen_request& r) {
        return r.headers.at("Authorization") == "Bearer second-token" ? test::answer_with(200, "{}")
                                                                      : test::answer_with(401, "{}");
    };
    CHECK(f.get().error().kind == errc::denied);
    CHECK(f.http.exchanges.size() == 1); // the same token again would be of no use
    f.dir.write("token", "second-token");
    CHECK(f.get().has_value());
    f.http.exchanges.clear();
    f.http.on_exchange = [&](const test::seen_request&) {
        f.dir.write("token", "token-" + std::to_string(f.http.exchanges.size()) +
                                 std::string(f.http.exchanges.size(), 'x'));
        return test::answer_with(401, "{}");
    };
    CHECK(f.get().error().status == 401);
    CHECK(f.http.exchanges.size() == 2); // once more, not for ever
}

TEST_CASE(
    "F23: of two requests in flight with the same old token, both are sent once more with the new one") {
    fixture f;
    f.http.delay = 5ms;
    f.http.on_exchange = [&](const test::seen_request& r) {
        f.dir.write("token", "second-token");
        return r.headers.at("Authorization") == "Bearer second-token" ? test::answer_with(200, "{}")
                                                                      : test::answer_with(401, "{}");
    };
    task_group both(f.loop.get_executor());
    api_result<http_response> one{api_error{}}, other{api_error{}};
    both.spawn(f.ask({}, one));
    both.spawn(f.ask({}, other));
    test::run(f.loop, both.drained());
    CHECK(one.has_value());
    CHECK(other.has_value());
    CHECK(f.http.exchanges.size() == 4);
}

TEST_CASE("a refusal keeps what Kubernetes said, its reason and when to come back") {
    fixture f;
    f.http.on_exchange = [](const auto&) {
        return test::answer_with(403, test::status_json(403, "Forbidden", "pods is forbidden"));
    };
    auto e = f.get().error();
    CHECK(e.kind == errc::denied);
    CHECK(e.message == "pods is forbidden");
    CHECK(e.reason == "Forbidden");
    f.http.on_exchange = [](const auto&) { return test::answer_with(429, "<html>", {{"Retry-After", "7"}}); };
    e = f.get().error();
    CHECK(e.kind == errc::throttled);
    CHECK(e.retry_after == 7s);
    CHECK(e.message.find("html") == std::string::npos);
}

TEST_CASE("every status has its kind of error") {
    const std::pair<unsigned, errc> table[] = {
        {400, errc::rejected},    {401, errc::denied},      {403, errc::denied},      {404, errc::not_found},
        {409, errc::rejected},    {410, errc::rejected},    {422, errc::rejected},    {429, errc::throttled},
        {500, errc::unavailable}, {503, errc::unavailable}, {504, errc::unavailable}, {302, errc::malformed},
        {100, errc::malformed}};
    for (const auto& [status, kind] : table) {
        CAPTURE(status);
        CHECK(error_of_status(status, "", {}).kind == kind);
        CHECK(error_of_status(status, "", {}).status == status);
    }
}

TEST_CASE("a watch that is refused tells why, even if the explanation never ends") {
    fixture f;
    auto feed = std::make_shared<test::scripted_feed>(f.loop, 403);
    feed->push(test::status_json(403, "Forbidden", "no watching"));
    feed->finish();
    f.http.on_open = [&](const auto&) { return feed; };
    errc kind{};
    std::string message;
    test::run(f.loop, f.ask_stream(kind, message));
    CHECK(kind == errc::denied);
    CHECK(message == "no watching");
    feed = std::make_shared<test::scripted_feed>(f.loop, 503); // says nothing more
    test::run(f.loop, f.ask_stream(kind, message));
    CHECK(kind == errc::unavailable);
}

TEST_CASE("a refusal whose explanation drips is not read for longer than a head may take") {
    fixture f;
    auto feed = std::make_shared<test::scripted_feed>(f.loop, 403);
    f.http.on_open = [&](const auto&) { return feed; };
    task_group dripping(f.loop.get_executor());
    dripping.spawn(drip(feed)); // to its end it would take minutes
    errc kind{};
    std::string message;
    test::run(f.loop, f.ask_stream(kind, message));
    CHECK(kind == errc::denied);
    CHECK(feed->dropped);
    dripping.cancel();
    test::run(f.loop, dripping.drained());
}

TEST_CASE("a query's value is escaped to the last character that could mean something") {
    CHECK(query_escape("spec.nodeName=n-1_a~b,status.podIP=fd00::1") ==
          "spec.nodeName%3Dn-1_a~b%2Cstatus.podIP%3Dfd00%3A%3A1");
    CHECK(query_escape("a&b#c d%/?\xff") == "a%26b%23c%20d%25%2F%3F%FF");
}
