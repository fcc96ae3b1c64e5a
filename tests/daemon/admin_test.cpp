#include "daemon/admin.hpp"
#include "daemon/heartbeat.hpp"
#include "runtime/json.hpp"
#include "tests/support/coroutine.hpp"
#include "tests/support/manual_clock.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <doctest/doctest.h>

#include <thread>

using namespace credlet;
using namespace credlet::app;
using namespace std::chrono_literals;

namespace {

struct answer {
    unsigned status;
    std::string head, body;
};

struct fixture {
    fixture() {
        sources.metrics = [] { return std::string("# HELP a b\n# TYPE a counter\na 1\n"); };
        sources.ready = [this] { return state; };
        sources.explain = [this](std::string namespace_name, std::string pod) {
            return explain(std::move(namespace_name), std::move(pod));
        };
    }
    awaitable<std::vector<metadata::explain_step>> explain(std::string namespace_name, std::string pod) {
        asked.emplace_back(std::move(namespace_name), std::move(pod));
        if (hang) {
            asio::steady_timer never(co_await asio::this_coro::executor,
                                     asio::steady_timer::time_point::max());
            co_await never.async_wait(as_result);
        }
        co_return steps;
    }
    request_handler& handler() {
        if (!handler_)
            handler_ = make_admin_handler(loop, others, time, sources, limits);
        return *handler_;
    }
    // As the server would: from memory, else later.
    answer get(const std::string& target, const std::string& method = "GET") {
        const std::string text = method + " " + target + " HTTP/1.1\r\nHost: x\r\n\r\n";
        request_head head;
        std::size_t scanned = 0;
        REQUIRE(parse_request_head(text, 4096, scanned, head).state == parse_state::complete);
        auto reply = handler().answer_now(head, {});
        if (!reply) {
            auto later = [](request_handler& h, std::unique_ptr<owned_request> r,
                            reply_ptr& out) -> awaitable<void> {
                const connection_info connection;
                out = co_await h.answer_later(std::move(r), connection);
            };
            test::run(loop, later(handler(), std::make_unique<owned_request>(head), reply));
        }
        REQUIRE(reply);
        return {reply->status(), std::string(reply->head()), std::string(reply->body())};
    }

    asio::io_context loop{1}, serving{1}, discovery{1};
    std::vector<watched_loop> others{{serving, "serves pods"}};
    test::manual_clock time;
    readiness state;
    std::vector<metadata::explain_step> steps;
    std::vector<std::pair<std::string, std::string>> asked;
    bool hang = false;
    admin_sources sources;
    admin_limits limits;
    std::unique_ptr<request_handler> handler_;
};

struct turning_loop {
    explicit turning_loop(asio::io_context& c)
        : context(c),
          work(c.get_executor()),
          thread([&c] { c.run(); }) {}
    ~turning_loop() {
        work.reset();
        thread.join();
    }
    turning_loop(const turning_loop&) = delete;
    turning_loop& operator=(const turning_loop&) = delete;
    asio::io_context& context;
    asio::executor_work_guard<asio::io_context::executor_type> work;
    std::thread thread;
};

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

} // namespace

TEST_CASE_FIXTURE(fixture, "metrics come in the text format with its content type") {
    const auto a = get("/metrics");
    CHECK(a.status == 200);
    CHECK(holds(a.head, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    CHECK(holds(a.body, "a 1\n"));
}

TEST_CASE_FIXTURE(fixture, "readiness names what is missing") {
    state.reasons = {"the pods have \"not\" been listed yet", "no listener"};
    auto a = get("/readyz");
    CHECK(a.status == 503);
    CHECK(a.body ==
          "{\"ready\":false,\"reasons\":[\"the pods have \\\"not\\\" been listed yet\",\"no listener\"]}\n");
    state = {true, {}};
    a = get("/readyz");
    CHECK(a.status == 200);
    CHECK(a.body == "{\"ready\":true,\"reasons\":[]}\n");
}

TEST_CASE_FIXTURE(fixture, "F52: healthy is who turns all loops, whatever else is missing") {
    limits.heartbeat = 10s;
    others.push_back({discovery, "finds pods' namespaces"});
    const turning_loop other(serving), third(discovery);
    const auto a = get("/healthz");
    CHECK(a.status == 200);
    CHECK(a.body == "ok\n");
}

TEST_CASE_FIXTURE(fixture, "F52: a serving loop that does not turn is unhealthy, until it turns again") {
    limits.heartbeat = 50ms;
    CHECK(get("/healthz").status == 503);
    limits.heartbeat = 10s;
    const auto a = get("/healthz");
    CHECK(a.status == 503); // limits are the handler's own
    CHECK(a.body == "the loop that serves pods does not respond\n");
    // The message that is still under way arrives.
    serving.run();
    CHECK(get("/healthz").status == 200);
}

TEST_CASE_FIXTURE(fixture, "a loop besides the serving one that does not turn is unhealthy, and named") {
    others.push_back({discovery, "finds pods' namespaces"});
    limits.heartbeat = 50ms;
    CHECK(get("/healthz").body == "the loop that serves pods does not respond\n");
    serving.run();
    const auto a = get("/healthz");
    CHECK(a.status == 503);
    CHECK(a.body == "the loop that finds pods' namespaces does not respond\n");
    discovery.run();
    CHECK(get("/healthz").status == 200);
}

TEST_CASE_FIXTURE(fixture, "an idle loop is woken at most once a second, and only when somebody asks") {
    limits.heartbeat = 50ms;
    CHECK(get("/healthz").status == 503);
    CHECK(get("/healthz").status == 503);
    CHECK(serving.poll() == 1); // one message, however many asked
    serving.restart();
    CHECK(get("/healthz").status == 200);
    CHECK(get("/healthz").status == 200);
    CHECK(serving.poll() == 0);
    serving.restart();
    time.advance(1s);
    CHECK(get("/healthz").status == 503);
    CHECK(serving.poll() == 1);
}

TEST_CASE_FIXTURE(fixture, "an explanation is asked for by namespace and pod, and rendered as JSON") {
    steps = {{"pod", true, true, "running", ""},
             {"role", false, true, "no \"role-arn\"", "annotate it\nnow"},
             {"sts", false, false, "", ""}};
    const auto a = get("/explain?pod=web%2d0&namespace=shop");
    CHECK(a.status == 200);
    CHECK(asked == std::vector<std::pair<std::string, std::string>>{{"shop", "web-0"}});
    const auto document = json_document::parse(a.body, 1 << 20);
    REQUIRE_MESSAGE(document.has_value(), a.body);
    CHECK(json_string(document->root(), "pod") == "web-0");
    CHECK(json_bool(document->root(), "ok") == false);
    simdjson::dom::array list;
    REQUIRE(json_member(document->root(), "steps")->get(list) == simdjson::SUCCESS);
    REQUIRE(list.size() == 3);
    CHECK(json_string(list.at(1).value(), "advice") == "annotate it\nnow");
    CHECK(json_bool(list.at(2).value(), "reached") == false);
}

TEST_CASE_FIXTURE(fixture, "an explanation with bad parameters is refused without asking anybody") {
    for (const auto* target :
         {"/explain", "/explain?", "/explain?namespace=a", "/explain?pod=b",
          "/explain?namespace=a&pod=", "/explain?namespace=a&pod=b&x=1",
          "/explain?namespace=a&namespace=b&pod=c", "/explain?namespace=a&pod=%",
          "/explain?namespace=a&pod=%4", "/explain?namespace=a&pod=%zz", "/explain?namespace=A&pod=b",
          "/explain?namespace=a&pod=..%2f", "/explain?namespace&pod=b", "/explain?&namespace=a&pod=b"}) {
        CAPTURE(target);
        const auto a = get(target);
        CHECK(a.status == 400);
        CHECK(json_document::parse(a.body, 4096).has_value());
    }
    CHECK(asked.empty());
}

TEST_CASE_FIXTURE(fixture, "an explanation that does not come is given up, and only so many are under way") {
    hang = true;
    limits.explain = 50ms;
    CHECK(get("/explain?namespace=a&pod=b").status == 503);
    limits.explaining_at_once = 0;
    handler_.reset();
    const auto a = get("/explain?namespace=a&pod=b");
    CHECK(a.status == 503);
    CHECK(holds(a.head, "Retry-After: 1\r\n"));
    CHECK(asked.size() == 1);
}

TEST_CASE_FIXTURE(fixture, "T6: nothing else is there, above all no credentials") {
    for (const auto* target :
         {"/", "/v1/credentials", "/latest/api/token", "/metrics/", "/debug/pprof", "/metricsx"})
        CHECK(get(target).status == 404);
    for (const auto* target : {"/metrics", "/healthz", "/readyz", "/explain?namespace=a&pod=b"}) {
        const auto a = get(target, "POST");
        CHECK(a.status == 405);
        CHECK(holds(a.head, "Allow: GET\r\n"));
    }
    CHECK(handler().answer_fault(request_fault::has_body, {})->status() == 400);
}

TEST_CASE("a listener for metrics alone tells nothing else, and renders them once a second") {
    test::manual_clock time;
    int rendered = 0;
    const auto handler =
        make_metrics_handler(time, [&rendered] { return "a " + std::to_string(++rendered) + "\n"; });
    const auto get = [&handler](const std::string& target, const std::string& method = "GET") {
        const std::string text = method + " " + target + " HTTP/1.1\r\nHost: x\r\n\r\n";
        request_head head;
        std::size_t scanned = 0;
        REQUIRE(parse_request_head(text, 4096, scanned, head).state == parse_state::complete);
        const auto reply = handler->answer_now(head, {});
        REQUIRE(reply);
        return reply;
    };
    for (const auto* path :
         {"/", "/healthz", "/readyz", "/explain?namespace=a&pod=b", "/metrics/", "//metrics"})
        CHECK(get(path)->status() == 404);
    CHECK(get("/metrics", "POST")->status() == 405);
    CHECK(rendered == 0);
    CHECK(get("/metrics")->body() == "a 1\n");
    time.advance(999ms);
    CHECK(get("/metrics")->body() == "a 1\n");
    time.advance(1ms);
    CHECK(get("/metrics")->body() == "a 2\n");
    CHECK(get("/metrics")->head().find("text/plain; version=0.0.4") != std::string_view::npos);
}
