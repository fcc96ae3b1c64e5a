#include "metadata/kubernetes/reflector.hpp"
#include "runtime/task_group.hpp"
#include "tests/support/coroutine.hpp"
#include "tests/support/kubernetes_fakes.hpp"
#include "tests/support/scripted_http.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::metadata;
using namespace credlet::metadata::kubernetes;
using namespace std::chrono_literals;

namespace {

// A reflector of pods over a scripted API server, on a real clock with short times.
struct fixture {
    asio::io_context loop{1};
    system_clock time;
    seeded_random random{42};
    test::scratch_directory dir;
    test::remembering_log log;
    test::remembering_kubernetes_metrics metrics;
    test::remembering_sink<pod> sink;
    test::scripted_http http;
    daemon_token token{dir.write("token", "daemon-token"), time, {}};
    api_client api{http, token, time, "n1"};
    typed_feed<pod> feed{sink, [](auto o) { return parse_pod(o); }, [](const pod&) { return true; }, log};
    reflector_settings settings = make_settings();
    std::unique_ptr<reflector> subject;
    task_group tasks{loop.get_executor()};

    std::vector<std::shared_ptr<test::scripted_feed>> streams; // the server's ends, oldest first
    std::string listing = test::list_json({test::pod_json("u1", "90")}, "100");

    static reflector_settings make_settings() {
        reflector_settings s;
        s.what = "pods on node n1";
        s.collection = "/api/v1/pods";
        s.field_selector = "spec.nodeName=n1";
        s.request_timeout = 500ms;
        s.permission_hint = "grant list and watch on pods";
        return s;
    }

    fixture() {
        REQUIRE(token.load().has_value());
        http.on_exchange = [this](const auto&) { return test::answer_with(200, listing); };
        http.on_open = [this](const auto&) { return open_stream(); };
    }
    ~fixture() {
        tasks.cancel();
        test::run(loop, tasks.drained());
    }
    fixture(const fixture&) = delete;
    fixture& operator=(const fixture&) = delete;

    result<std::shared_ptr<test::scripted_feed>> open_stream() {
        streams.push_back(std::make_shared<test::scripted_feed>(loop));
        return streams.back();
    }
    void start() {
        subject = std::make_unique<reflector>(settings, api, feed, time, random, metrics, log);
        tasks.spawn(subject->run());
    }
    // Runs the loop until it holds; a test fails if that takes more than ten seconds.
    template <class Condition>
    void until(Condition condition) {
        const auto deadline = std::chrono::steady_clock::now() + 10s;
        loop.restart();
        while (!condition() && std::chrono::steady_clock::now() < deadline)
            loop.run_one_for(20ms);
        REQUIRE(condition());
    }
    [[nodiscard]] std::size_t lists() const {
        return static_cast<std::size_t>(
            std::count_if(http.exchanges.begin(), http.exchanges.end(), [](const auto& r) {
                return r.target.find("limit=") != std::string::npos &&
                       r.target.find("continue") == std::string::npos &&
                       r.target.find("resourceVersion=0&") == std::string::npos;
            }));
    }
};

bool has(const test::seen_request& r, std::string_view part) {
    return r.target.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("a list and then a watch from its version make the sink equal to the server") {
    fixture f;
    f.start();
    f.until([&] { return f.streams.size() == 1; });
    CHECK(f.sink.replacements == 1);
    CHECK(f.sink.objects.count("u1") == 1);
    CHECK(f.http.exchanges[0].target == "/api/v1/pods?limit=50&fieldSelector=spec.nodeName%3Dn1");
    const auto& watch = f.http.opened[0];
    CHECK(has(watch, "/api/v1/pods?watch=1&allowWatchBookmarks=true&resourceVersion=100&timeoutSeconds="));
    CHECK(has(watch, "&fieldSelector=spec.nodeName%3Dn1"));
    const auto timeout = std::stoi(watch.target.substr(watch.target.find("timeoutSeconds=") + 15));
    CHECK(timeout >= 300);
    CHECK(timeout <= 600);

    f.streams[0]->push(test::event_json("ADDED", test::pod_json("u2", "101")));
    f.streams[0]->push(test::event_json("MODIFIED", test::pod_json("u1", "102", "10.9.9.9")));
    f.until([&] { return f.sink.changes == 2; });
    CHECK(f.sink.objects.at("u1").addresses[0].to_string() == "10.9.9.9");
    f.streams[0]->push(test::event_json("DELETED", test::pod_json("u2", "103")));
    f.until([&] { return f.sink.removals == 1; });
    CHECK(f.sink.objects.count("u2") == 0);
}

TEST_CASE("F28: a long list is read page by page and applied at once") {
    fixture f;
    int page = 0;
    f.http.on_exchange = [&](const test::seen_request& r) {
        CHECK(f.sink.replacements == 0);
        CHECK(has(r, "limit=50"));
        CHECK(has(r, "continue=") == (page > 0));
        if (page > 0)
            CHECK(has(r, "continue=token%2F" + std::to_string(page)));
        std::vector<std::string> pods;
        for (int i = 0; i < 50; ++i)
            pods.push_back(test::pod_json("u" + std::to_string(page * 50 + i), "1"));
        ++page;
        return test::answer_with(
            200, test::list_json(pods, "100", page < 20 ? "token/" + std::to_string(page) : ""));
    };
    f.start();
    f.until([&] { return f.streams.size() == 1; });
    CHECK(page == 20);
    CHECK(f.sink.replacements == 1);
    CHECK(f.sink.objects.size() == 1000);
}

TEST_CASE("F28: a page that is too large is asked for in smaller ones") {
    fixture f;
    std::vector<std::string> limits;
    f.http.on_exchange = [&](const test::seen_request& r) -> result<http_response> {
        const auto at = r.target.find("limit=") + 6;
        limits.push_back(r.target.substr(at, r.target.find('&') - at));
        if (std::stoi(limits.back()) > 12)
            return fail(errc::too_large, "too large");
        return test::answer_with(200, f.listing);
    };
    f.start();
    f.until([&] { return f.streams.size() == 1; });
    CHECK(limits == std::vector<std::string>{"50", "25", "12"});
}

TEST_CASE("F21: a list that expires between two pages is begun once more") {
    fixture f;
    int asked = 0;
    f.http.on_exchange = [&](const test::seen_request&) {
        switch (++asked) {
        case 1:
            return test::answer_with(200, test::list_json({test::pod_json("old", "1")}, "100", "next"));
        case 2:
            return test::answer_with(410, test::status_json(410, "Expired", "continue has expired"));
        default:
            return test::answer_with(200, f.listing);
        }
    };
    f.start();
    f.until([&] { return f.streams.size() == 1; });
    CHECK(asked == 3);
    CHECK(f.sink.objects.size() == 1); // nothing of the first attempt is left
    CHECK(f.sink.objects.count("u1") == 1);
    CHECK(f.metrics.pod_restarts.empty());
}

TEST_CASE("F21: 410, as a status or as an ERROR event, leads to a new list that is swapped in at once") {
    fixture f;
    f.start();
    f.until([&] { return f.streams.size() == 1; });
    f.streams[0]->push(test::event_json("ADDED", test::pod_json("u2", "101")));
    f.until([&] { return f.sink.changes == 1; });
    f.listing = test::list_json({test::pod_json("u3", "190")}, "200");
    f.streams[0]->push(
        test::event_json("ERROR", test::status_json(410, "Expired", "too old resource version")));
    f.until([&] { return f.streams.size() == 2; });
    CHECK(f.sink.replacements == 2);
    CHECK(f.sink.removals == 0); // swapped, not taken apart
    CHECK(f.sink.objects.size() == 1);
    CHECK(f.sink.objects.count("u3") == 1);
    CHECK(has(f.http.opened[1], "resourceVersion=200"));
    CHECK(f.metrics.pod_restarts == std::vector<std::string>{"expired"});

    f.listing = test::list_json({test::pod_json("u4", "290")}, "300");
    bool refuse = true;
    f.http.on_open = [&](const auto&) -> result<std::shared_ptr<test::scripted_feed>> {
        if (!refuse)
            return f.open_stream();
        refuse = false;
        auto gone = std::make_shared<test::scripted_feed>(f.loop, 410);
        gone->push(test::status_json(410, "Gone", "too old"));
        gone->finish();
        return gone;
    };
    f.streams[1]->break_with(errc::connection_lost);
    f.until([&] { return f.streams.size() == 3; });
    CHECK(f.sink.objects.count("u4") == 1);
    CHECK(f.lists() == 3);
}

TEST_CASE(
    "F27: a watch that ends cleanly is resumed from the last version, bookmarks included, without a list") {
    fixture f;
    f.start();
    f.until([&] { return f.streams.size() == 1; });
    f.streams[0]->push(test::event_json("ADDED", test::pod_json("u2", "101")) + test::bookmark_json("150"));
    f.streams[0]->finish();
    f.until([&] { return f.streams.size() == 2; });
    CHECK(has(f.http.opened[1], "resourceVersion=150&"));
    CHECK(f.lists() == 1);
    CHECK(f.sink.objects.size() == 2);
    CHECK(f.metrics.pod_restarts == std::vector<std::string>{"closed"});
}

TEST_CASE("F20: while the API server is away the map is kept, and how long it has been away is known") {
    fixture f;
    f.start();
    f.until([&] { return f.streams.size() == 1; });
    f.http.on_open = nullptr;
    f.http.on_exchange = nullptr;
    const auto before = f.time.now();
    f.streams[0]->break_with(errc::connection_lost);
    f.until([&] { return f.http.opened.size() >= 3; });
    CHECK(f.sink.objects.size() == 1);
    CHECK(f.sink.replacements == 1);
    CHECK(f.metrics.last_alive <= before);
    CHECK(f.log.count(log_level::warn, "reason=connection") == 1); // once a minute, not once an attempt
    f.http.on_open = [&](const auto&) { return f.open_stream(); };
    f.until([&] { return f.streams.size() == 2; });
    CHECK(f.metrics.last_alive > before);
    CHECK(has(f.http.opened.back(), "resourceVersion=100&"));
}

TEST_CASE("F19: with the API server away at the start, the list is tried until it is there") {
    fixture f;
    int attempts = 0;
    f.http.on_exchange = [&](const auto&) -> result<http_response> {
        if (++attempts < 3)
            return fail(errc::connect_failed, "refused");
        return test::answer_with(200, f.listing);
    };
    f.start();
    f.until([&] { return f.streams.size() == 1; });
    CHECK(attempts == 3);
    CHECK(f.sink.replacements == 1);
}

TEST_CASE("F22: 429 with Retry-After is obeyed, the map is kept and the version too") {
    fixture f;
    f.start();
    f.until([&] { return f.streams.size() == 1; });
    bool refuse = true;
    auto refused_at = std::chrono::steady_clock::time_point();
    auto accepted_at = refused_at;
    f.http.on_open = [&](const auto&) -> result<std::shared_ptr<test::scripted_feed>> {
        if (!refuse) {
            accepted_at = std::chrono::steady_clock::now();
            return f.open_stream();
        }
        refuse = false;
        refused_at = std::chrono::steady_clock::now();
        auto busy = std::make_shared<test::scripted_feed>(f.loop, 429);
        busy->head.headers.emplace_back("Retry-After", "1");
        busy->finish();
        return busy;
    };
    f.streams[0]->finish();
    f.until([&] { return f.streams.size() == 2; });
    CHECK(accepted_at - refused_at >= 1s);
    CHECK(f.lists() == 1);
    CHECK(f.sink.objects.size() == 1);
    CHECK(f.metrics.pod_restarts == std::vector<std::string>{"closed", "throttled"});
}

TEST_CASE("an ERROR event that comes again and again at one version leads to a list") {
    fixture f;
    std::vector<std::size_t> watches_before_list;
    f.http.on_exchange = [&](const auto&) {
        watches_before_list.push_back(f.streams.size());
        return test::answer_with(200, f.listing);
    };
    f.http.on_open = [&](const auto&) {
        auto failing = f.open_stream();
        (*failing)->push(test::event_json(
            "ERROR", test::status_json(500, "InternalError", "the watch cache is confused")));
        return failing;
    };
    f.start();
    f.until([&] { return f.lists() == 2; });
    CHECK(watches_before_list == std::vector<std::size_t>{0, 3});
}

TEST_CASE("F23: a watch that is forbidden says what to grant, keeps the map and goes on trying") {
    fixture f;
    f.start();
    f.until([&] { return f.streams.size() == 1; });
    f.http.on_open = [&](const auto&) -> result<std::shared_ptr<test::scripted_feed>> {
        auto refused = std::make_shared<test::scripted_feed>(f.loop, 403);
        refused->push(test::status_json(403, "Forbidden", "pods is forbidden: User x cannot watch"));
        refused->finish();
        return refused;
    };
    f.streams[0]->finish();
    f.until([&] { return f.metrics.pod_restarts.size() >= 2; });
    CHECK(f.metrics.pod_restarts[1] == "denied");
    CHECK(f.log.count(log_level::warn, "grant list and watch on pods") == 1);
    CHECK(f.sink.objects.size() == 1);
}

TEST_CASE("F24: a frame that cannot be understood, a cut one and an unknown type end in the truth") {
    for (const auto& garbage : {std::string("{\"type\":\"ADDED\",\n"), std::string("garbage\n"),
                                test::event_json("RENAMED", test::pod_json("u2", "101")),
                                test::event_json("ADDED", R"({"metadata":{"name":"x"}})")}) {
        CAPTURE(garbage);
        fixture f;
        f.start();
        f.until([&] { return f.streams.size() == 1; });
        f.listing = test::list_json({test::pod_json("u7", "190")}, "200");
        f.streams[0]->push(garbage);
        f.until([&] { return f.streams.size() == 2; });
        CHECK(f.lists() == 2);
        CHECK(f.sink.objects.count("u7") == 1);
        CHECK(f.metrics.pod_restarts == std::vector<std::string>{"decode"});
    }
    fixture f;
    f.start();
    f.until([&] { return f.streams.size() == 1; });
    f.streams[0]->push(R"({"type":"ADDED")"); // and the connection ends: resumed, for nothing was taken of it
    f.streams[0]->finish();
    f.until([&] { return f.streams.size() == 2; });
    CHECK(f.lists() == 1);
    CHECK(has(f.http.opened[1], "resourceVersion=100&"));
    CHECK(f.metrics.pod_restarts == std::vector<std::string>{"connection"});
}

TEST_CASE("F24: one object in a list that cannot be understood does not hide the others") {
    fixture f;
    f.listing = test::list_json({R"({"metadata":{"uid":"bad"}})", test::pod_json("u1", "90"), "7"}, "100");
    f.start();
    f.until([&] { return f.streams.size() == 1; });
    CHECK(f.sink.objects.size() == 1);
    CHECK(f.log.count(log_level::warn, "left out of a list") == 2);
}

TEST_CASE("F26: a watch that is silent although something changed is found out by a probe and resumed") {
    fixture f;
    f.settings.probe = true;
    f.settings.silence = 60ms;
    f.settings.grace = 40ms;
    f.start();
    f.until([&] { return f.streams.size() == 1; });
    f.listing = test::list_json({test::pod_json("u1", "95")}, "200"); // changed, and the watch says nothing
    f.until([&] { return f.streams.size() == 2; });
    CHECK(f.log.count(log_level::warn, "silent although something has changed") == 1);
    CHECK(f.metrics.pod_restarts == std::vector<std::string>{"idle"});
    CHECK(has(f.http.opened[1], "resourceVersion=100&"));
    CHECK(f.streams[0]->dropped);
    CHECK(f.lists() == 1); // resumed, not listed
    const auto& probe = f.http.exchanges[1];
    CHECK(probe.target == "/api/v1/pods?resourceVersion=0&limit=50&fieldSelector=spec.nodeName%3Dn1");
    CHECK(probe.headers.at("Accept") == "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
}

TEST_CASE("F26: in an idle cluster a silent watch is left alone, however often other objects change") {
    fixture f;
    f.settings.probe = true;
    f.settings.silence = 30ms;
    f.settings.grace = 20ms;
    f.http.on_exchange = [&](const test::seen_request&) {
        // The version of the list moves all the time; the pods of this node do not.
        return test::answer_with(
            200, test::list_json({test::pod_json("u1", "90")}, std::to_string(f.http.exchanges.size() + 99)));
    };
    f.start();
    f.until([&] { return f.http.exchanges.size() >= 6; });
    CHECK(f.streams.size() == 1);
}

TEST_CASE("F26: a probe that is answered in pages compares all of them") {
    fixture f;
    f.settings.probe = true;
    f.settings.silence = 30ms;
    f.settings.grace = 10ms;
    f.settings.page = 2;
    std::string third = test::pod_json("u3", "92");
    f.http.on_exchange = [&](const test::seen_request& r) {
        return test::answer_with(200, has(r, "continue=next") ? test::list_json({third}, "100")
                                                              : test::list_json({test::pod_json("u1", "90"),
                                                                                 test::pod_json("u2", "91")},
                                                                                "100", "next"));
    };
    f.start();
    f.until([&] { return f.http.exchanges.size() >= 6; }); // the list, and two probes
    CHECK(f.streams.size() == 1);
    CHECK(has(f.http.exchanges[2], "resourceVersion=0&limit=2"));
    CHECK(has(f.http.exchanges[3], "?limit=2"));
    CHECK(has(f.http.exchanges[3], "&continue=next"));
    third = test::pod_json("u3", "99");
    f.until([&] { return f.streams.size() == 2; });
    CHECK(f.metrics.pod_restarts == std::vector<std::string>{"idle"});
}

TEST_CASE("F26: a probe whose answer is too large still finds a dead watch out: it is resumed") {
    fixture f;
    f.settings.probe = true;
    f.settings.silence = 30ms;
    f.start();
    f.until([&] { return f.streams.size() == 1; });
    f.http.on_exchange = [](const auto&) -> result<http_response> {
        return fail(errc::too_large, "too large");
    };
    f.until([&] { return f.streams.size() == 2; });
    CHECK(f.metrics.pod_restarts == std::vector<std::string>{"idle"});
    CHECK(f.lists() == 1);
    CHECK(f.log.count(log_level::warn, "") == 0); // it may be well
}

TEST_CASE("F28: a page of one object may be as large as an object can be") {
    fixture f;
    f.settings.max_page_bytes = 1000;
    f.settings.page = 2;
    f.http.on_exchange = [&](const test::seen_request& r) -> result<http_response> {
        if (!has(r, "limit=1&"))
            return fail(errc::too_large, "too large");
        return test::answer_with(200, test::list_json({test::pod_json("u1", "90")}, "100") +
                                          std::string(2000, ' '));
    };
    f.start();
    f.until([&] { return f.streams.size() == 1; });
    CHECK(f.sink.objects.count("u1") == 1);
}

TEST_CASE("F26: an event that arrives in time after a probe clears the doubt") {
    fixture f;
    f.settings.probe = true;
    f.settings.silence = 40ms;
    f.settings.grace = 2s;
    f.start();
    f.until([&] { return f.streams.size() == 1; });
    f.listing = test::list_json({test::pod_json("u1", "95")}, "200");
    f.until([&] { return f.http.exchanges.size() == 2; }); // the probe
    f.streams[0]->push(test::event_json("MODIFIED", test::pod_json("u1", "95")));
    f.until([&] { return f.http.exchanges.size() == 4; }); // probed again after another silence
    CHECK(f.streams.size() == 1);
}

TEST_CASE("F26: a probe that fails restarts nothing") {
    fixture f;
    f.settings.probe = true;
    f.settings.silence = 30ms;
    f.settings.grace = 10ms;
    f.start();
    f.until([&] { return f.streams.size() == 1; });
    f.http.on_exchange = nullptr;
    f.until([&] { return f.http.exchanges.size() >= 4; });
    CHECK(f.streams.size() == 1);
}

TEST_CASE("F26: without a probe, a silence longer than bookmarks leave ends the watch") {
    fixture f;
    f.settings.longest_silence = 50ms;
    f.start();
    f.until([&] { return f.streams.size() == 2; });
    CHECK(f.metrics.pod_restarts == std::vector<std::string>{"idle"});
    CHECK(has(f.http.opened[1], "resourceVersion=100&"));
    CHECK(f.log.count(log_level::warn, "") == 0); // a server that sends no bookmarks is no trouble
}

TEST_CASE("T29: what one tenant annotates does not fill the memory of every node") {
    test::remembering_log log;
    test::remembering_sink<service_account> sink;
    typed_feed<service_account> feed(
        sink, [](auto o) { return parse_service_account(o, {"credlet.io/"}); },
        [](const service_account& a) { return !a.annotations.empty(); }, log);
    std::string junk = R"("credlet.io/role-arn":")" + std::string(200000, 'a') + '"';
    for (int i = 0; i < 1000; ++i)
        junk += ",\"credlet.io/junk-" + std::to_string(i) + "\":\"" + std::string(40, 'x') + '"';
    const auto hostile = json_document::parse(test::account_json("a", "1", junk), 1 << 20);
    feed.begin_list();
    feed.list_item(hostile->root());
    feed.end_list("9");
    REQUIRE(sink.objects.count("a") == 1);
    CHECK(sink.objects.at("a").annotations ==
          std::vector<std::pair<std::string, std::string>>{{"credlet.io/role-arn", "(too long)"}});
    const auto only_junk =
        json_document::parse(test::account_json("b", "2", R"("credlet.io/junk":"x")"), 1 << 20);
    CHECK(feed.changed(only_junk->root()).has_value());
    CHECK(sink.objects.count("b") == 0);
}

TEST_CASE("only annotated service accounts reach the sink; one that loses its annotations is removed") {
    asio::io_context loop(1);
    test::remembering_log log;
    test::remembering_sink<service_account> sink;
    typed_feed<service_account> feed(
        sink, [](auto o) { return parse_service_account(o, {"credlet.io/"}); },
        [](const service_account& a) { return !a.annotations.empty(); }, log);
    const auto object = [](const std::string& text) { return json_document::parse(text, 4096); };
    const std::string role = R"("credlet.io/role-arn":"r")";
    const auto annotated = object(test::account_json("a", "1", role));
    const auto bare = object(test::account_json("b", "2", ""));
    feed.begin_list();
    feed.list_item(annotated->root());
    feed.list_item(bare->root());
    feed.end_list("9");
    CHECK(sink.objects.size() == 1);
    CHECK(feed.changed(bare->root()).has_value());
    CHECK(feed.removed(bare->root()).has_value());
    CHECK(sink.changes == 0);
    CHECK(sink.removals == 0);
    const auto stripped = object(test::account_json("a", "3", ""));
    CHECK(feed.changed(stripped->root()).has_value());
    CHECK(sink.removals == 1);
    CHECK(feed.changed(object(test::account_json("b", "4", role))->root()).has_value());
    CHECK(sink.objects.count("b") == 1);
}
