#include "metadata/kubernetes/assembly.hpp"
#include "tests/support/coroutine.hpp"
#include "tests/support/kubernetes_fakes.hpp"
#include "tests/support/manual_clock.hpp"
#include "tests/support/scripted_http.hpp"
#include "tests/support/token_forge.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::metadata;
using namespace credlet::metadata::kubernetes;
using namespace std::chrono_literals;

namespace {

const std::string date = "Thu, 09 Oct 2025 08:53:20 GMT"; // the manual clock's start

std::string token_answer(const std::string& jwt, const std::string& expires = "2025-10-09T09:53:20Z") {
    return R"({"kind":"TokenRequest","status":{"token":")" + jwt + R"(","expirationTimestamp":")" + expires +
           "\"}}";
}

bool is_token_request(const test::seen_request& r) { return r.target.ends_with("/token"); }
bool as_node(const test::seen_request& r) { return r.headers.count("Impersonate-User") > 0; }

struct fixture {
    asio::io_context loop{1};
    test::manual_clock time;
    seeded_random random{1};
    test::scratch_directory dir;
    test::remembering_log log;
    test::remembering_kubernetes_metrics metrics;
    test::pods_at_hand chooser;
    test::scripted_http* http = nullptr;
    task_group tasks{loop.get_executor()};
    test::remembering_sink<pod> pods;
    test::remembering_sink<service_account> accounts;
    std::unique_ptr<metadata::kubernetes::kubernetes> subject;
    std::vector<std::shared_ptr<test::scripted_feed>> streams;
    std::function<result<http_response>(const test::seen_request&)> on_token;
    int issued = 0;

    explicit fixture(token_source source) {
        auto client = std::make_unique<test::scripted_http>();
        http = client.get();
        http->on_exchange = [this](const test::seen_request& r) { return answer(r); };
        http->on_open = [this](const auto&) -> result<std::shared_ptr<test::scripted_feed>> {
            streams.push_back(std::make_shared<test::scripted_feed>(loop));
            return streams.back();
        };
        on_token = [this](const auto&) {
            return test::answer_with(201, token_answer("requested-" + std::to_string(++issued)),
                                     {{"Date", date}});
        };
        settings s;
        s.node_name = "n1";
        s.token_file = dir.write("token", "daemon-token");
        s.annotation_prefixes = {"credlet.io/"};
        s.source = source;
        s.kubelet_pods_dir = (dir.path() / "pods").string();
        s.request_timeout = 500ms;
        auto made =
            assemble(loop, tasks, time, random, std::move(client), chooser, metrics, log, std::move(s));
        REQUIRE(made.has_value());
        subject = std::move(*made);
        add_pod("p1");
    }
    ~fixture() {
        subject->stop();
        tasks.cancel();
        test::run(loop, tasks.drained());
    }
    fixture(const fixture&) = delete;
    fixture& operator=(const fixture&) = delete;

    void add_pod(const std::string& uid) {
        pod p;
        p.uid = uid;
        p.namespace_name = "prod";
        p.name = "app-" + uid;
        p.service_account = "app";
        chooser.pods.emplace_back("sa-1", std::move(p));
    }
    result<http_response> answer(const test::seen_request& r) {
        if (is_token_request(r))
            return on_token(r);
        if (r.target.starts_with("/api/v1/serviceaccounts"))
            return test::answer_with(
                200, test::list_json({test::account_json("sa-1", "5", R"("credlet.io/role-arn":"r")"),
                                      test::account_json("sa-2", "6", "")},
                                     "100"));
        if (r.target.find("status.podIP") != std::string::npos)
            return test::answer_with(200, test::list_json({test::pod_json("p1", "7", "10.0.0.7"),
                                                           test::pod_json("p2", "8", "10.0.0.8")},
                                                          "100"));
        if (r.target.starts_with("/api/v1/pods"))
            return test::answer_with(200, test::list_json({test::pod_json("p1", "7")}, "100"));
        if (r.target == "/api/v1/namespaces/prod/pods/app-p1")
            return test::answer_with(200, test::pod_json("p1", "7"));
        if (r.target == "/api/v1/namespaces/prod/serviceaccounts/app")
            return test::answer_with(200, test::account_json("sa-1", "5", R"("credlet.io/role-arn":"r")"));
        return test::answer_with(404, test::status_json(404, "NotFound", "not found"));
    }

    using outcome = sts::outcome<sts::web_identity_token>;
    awaitable<void> ask(std::shared_ptr<const sts::credential_spec> spec, bool fresh,
                        std::optional<outcome>& out) {
        out.emplace(co_await subject->obtain(std::move(spec), fresh));
    }
    outcome obtain(bool fresh = false, const std::string& pod_uid = "",
                   const std::string& audience = "sts.amazonaws.com") {
        auto spec = std::make_shared<sts::credential_spec>();
        spec->service_account_uid = "sa-1";
        spec->pod_uid = pod_uid;
        spec->namespace_name = "prod";
        spec->service_account = "app";
        spec->audience = audience;
        std::optional<outcome> out;
        test::run(loop, ask(std::move(spec), fresh, out));
        return std::move(*out);
    }
    std::string jwt(bool fresh = false, const std::string& pod_uid = "") {
        const auto got = obtain(fresh, pod_uid);
        return got.has_value() ? std::string(got->jwt.reveal()) : "failed: " + got.error().message;
    }
    void present(const std::string& pod_uid, const std::string& text, std::chrono::seconds life = 3600s) {
        verified_token t;
        t.service_account_uid = "sa-1";
        t.pod_uid = pod_uid;
        t.audiences = {"sts.amazonaws.com"};
        t.expires = time.wall() + life;
        subject->remember(t, secret_string(text));
    }
    [[nodiscard]] std::size_t token_requests() const {
        return static_cast<std::size_t>(
            std::count_if(http->exchanges.begin(), http->exchanges.end(), is_token_request));
    }
    void start() {
        subject->start(pods, accounts);
        run_until([this] { return streams.size() == 2; });
    }
    template <class Condition>
    void run_until(Condition condition) {
        const auto deadline = std::chrono::steady_clock::now() + 10s;
        loop.restart();
        while (!condition() && std::chrono::steady_clock::now() < deadline)
            loop.run_one_for(20ms);
        REQUIRE(condition());
    }
    template <class T>
    static awaitable<void> store(awaitable<T> question, std::optional<T>& out) {
        out.emplace(co_await std::move(question));
    }
    template <class T>
    T await(awaitable<T> question) {
        std::optional<T> out;
        test::run(loop, store(std::move(question), out));
        return std::move(*out);
    }
};

const std::string unrelated = "no relationship found between node 'n1' and this object";

result<http_response> refused(const std::string& message) {
    return test::answer_with(403, test::status_json(403, "Forbidden", message));
}

} // namespace

TEST_CASE("after the start both watches run, and the sinks have what the server has") {
    fixture f(token_source::request);
    CHECK(f.pods.replacements + f.accounts.replacements == 0);
    f.start();
    CHECK(f.pods.objects.size() == 1);
    CHECK(f.accounts.objects.size() == 1); // the annotated one
    for (const auto& r : f.http->exchanges) {
        CHECK_FALSE(as_node(r));
        if (r.target.starts_with("/api/v1/serviceaccounts")) {
            CHECK(r.headers.at("Accept") ==
                  "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
            CHECK(r.target == "/api/v1/serviceaccounts?limit=500");
        }
    }
    for (const auto& r : f.http->opened) {
        if (r.target.starts_with("/api/v1/serviceaccounts"))
            CHECK(r.headers.at("Accept") == "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
        else
            CHECK(r.headers.at("Accept") == "application/json");
    }
}

TEST_CASE("F23: where it may not watch, the log names the rights that are needed and in whose name") {
    for (const auto source : {token_source::request, token_source::impersonate}) {
        fixture f(source);
        f.http->on_exchange = [](const auto&) { return refused("forbidden"); };
        f.subject->start(f.pods, f.accounts);
        f.run_until([&] { return f.log.count(log_level::warn, "cannot follow") == 2; });
        CHECK(f.log.count(log_level::warn, "grant get, list and watch on serviceaccounts to the daemon's") ==
              1);
        CHECK(f.log.count(log_level::warn,
                          source == token_source::request
                              ? "grant get, list and watch on pods to the daemon's"
                              : "impersonate-on:associated-node:get, :list and :watch on pods") == 1);
    }
}

TEST_CASE("with source impersonate, pods and tokens are asked for as this node and nothing else is") {
    fixture f(token_source::impersonate);
    f.start();
    CHECK(f.jwt() == "requested-1");
    CHECK(f.await(f.subject->pod_by_name("prod", "app-p1"))->has_value());
    CHECK(f.await(f.subject->service_account_by_name("prod", "app"))->has_value());
    CHECK(f.await(f.subject->pods_by_address(boost::asio::ip::make_address("10.0.0.7")))->size() == 1);
    auto all = f.http->exchanges;
    all.insert(all.end(), f.http->opened.begin(), f.http->opened.end());
    for (const auto& r : all) {
        CAPTURE(r.target);
        const bool concerns_node = r.target.find("/pods") != std::string::npos || is_token_request(r);
        CHECK(as_node(r) == concerns_node);
        if (as_node(r))
            CHECK(r.headers.at("Impersonate-User") == "system:node:n1");
    }
}

TEST_CASE("the direct question for an address brings only pods that have it, in whatever form it is asked") {
    fixture f(token_source::request);
    for (const auto* address : {"10.0.0.7", "::ffff:10.0.0.7"}) {
        const auto found = f.await(f.subject->pods_by_address(boost::asio::ip::make_address(address)));
        REQUIRE(found.has_value());
        REQUIRE(found->size() == 1);
        CHECK(found->front().uid == "p1");
        CHECK(f.http->exchanges.back().target ==
              "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1%2Cstatus.podIP%3D10.0.0.7");
    }
    CHECK_FALSE(f.await(f.subject->pod_by_name("prod", "nobody"))->has_value());
    CHECK_FALSE(f.await(f.subject->service_account_by_name("prod", "nobody"))->has_value());
    CHECK(f.await(f.subject->service_account_by_name("prod", "app"))->value().annotations.size() == 1);
    f.http->on_exchange = nullptr;
    CHECK(f.await(f.subject->pod_by_name("prod", "app-p1")).error().kind == errc::connect_failed);
}

TEST_CASE("a requested token is kept while it has life enough and its pod lives; fresh bypasses it") {
    fixture f(token_source::request);
    CHECK(f.jwt() == "requested-1");
    CHECK(f.jwt() == "requested-1");
    CHECK(f.metrics.token_requests == std::vector<std::string>{"request:ok"});
    CHECK(f.jwt(true) == "requested-2");
    CHECK(f.jwt() == "requested-2");
    CHECK(f.jwt(false, "p1") == "requested-3"); // another key
    f.time.advance(2880s - 1ms);                // a fifth of an hour is left
    CHECK(f.jwt() == "requested-2");
    f.time.advance(1ms);
    CHECK(f.jwt() == "requested-4");
    f.add_pod("p2");
    f.chooser.pods.erase(f.chooser.pods.begin()); // p1 is gone
    CHECK(f.jwt() == "requested-5");
    CHECK(f.http->exchanges.back().body.find("\"uid\":\"p2\"") != std::string::npos);
    f.subject->forget_pod("p2");
    CHECK(f.jwt() == "requested-6");
    f.chooser.pods.clear();
    CHECK(f.jwt().find("no pod of service account prod/app is left") != std::string::npos);
}

TEST_CASE("a token's life is counted by the API server's clock") {
    fixture f(token_source::request);
    f.time.step_wall(std::chrono::hours(24 * 365)); // this node's date is wrong
    CHECK(f.jwt() == "requested-1");
    CHECK(f.jwt() == "requested-1");
    f.on_token = [](const auto&) {
        return test::answer_with(201, token_answer("dying", "2025-10-09T08:54:00Z"), {{"Date", date}});
    };
    CHECK(f.jwt(true).find("about to expire") != std::string::npos);
}

TEST_CASE(
    "F31: a TokenRequest that fails is a failure of its kind and is counted; the next one may succeed") {
    fixture f(token_source::request);
    const auto works = f.on_token;
    f.on_token = [](const auto&) -> result<http_response> { return fail(errc::timed_out, "too slow"); };
    auto got = f.obtain();
    REQUIRE(got.has_error());
    CHECK(got.error().kind == sts::failure_kind::no_token);
    CHECK_FALSE(got.error().definitive);
    f.on_token = [](const auto&) {
        return test::answer_with(500, test::status_json(500, "InternalError", "etcd"));
    };
    CHECK_FALSE(f.obtain().error().definitive);
    f.on_token = [](const auto&) { return refused("no right"); };
    got = f.obtain();
    CHECK(got.error().definitive);
    CHECK(got.error().message.find("grant create on serviceaccounts/token") != std::string::npos);
    f.on_token = [](const auto&) { return test::answer_with(201, "garbage"); };
    CHECK_FALSE(f.obtain().error().definitive);
    CHECK(f.metrics.token_requests == std::vector<std::string>{"request:timed_out", "request:unavailable",
                                                               "request:denied", "request:malformed"});
    f.on_token = works;
    CHECK(f.jwt() == "requested-1");
}

TEST_CASE(
    "source caller hands out the newest token of a live pod, and none twice when a fresh one is wanted") {
    fixture f(token_source::caller);
    auto got = f.obtain();
    REQUIRE(got.has_error());
    CHECK_FALSE(got.error().definitive);
    f.present("p1", "presented");
    f.present("gone", "of a pod that is gone", 7200s);
    CHECK(f.jwt() == "presented");
    CHECK(f.jwt().find("failed") == std::string::npos);
    CHECK(f.jwt(true).starts_with("failed"));
    f.present("p1", "renewed", 7000s);
    CHECK(f.jwt(true) == "renewed");
    CHECK(f.jwt(false, "p2").starts_with("failed"));
    f.subject->forget_pod("p1");
    CHECK(f.jwt().starts_with("failed"));
    CHECK(f.token_requests() == 0);
}

TEST_CASE("source auto tries caller, impersonation and request in this order and remembers a refusal for ten "
          "minutes") {
    fixture f(token_source::automatic);
    f.on_token = [&](const test::seen_request& r) -> result<http_response> {
        if (as_node(r))
            return refused(
                "users \\\"system:node:n1\\\" is forbidden: User x cannot impersonate resource users");
        return test::answer_with(201, token_answer("requested-" + std::to_string(++f.issued)),
                                 {{"Date", date}});
    };
    CHECK(f.jwt() == "requested-1");
    CHECK(f.token_requests() == 2);
    CHECK(f.jwt(true) == "requested-2");
    CHECK(f.token_requests() == 3); // impersonation was not tried again
    f.time.advance(10min);
    CHECK(f.jwt(true) == "requested-3");
    CHECK(f.token_requests() == 5);
    f.present("p1", "presented");
    CHECK(f.jwt() == "presented"); // callers go first
    for (const auto& r : f.http->exchanges)
        CHECK((!as_node(r) || is_token_request(r)));
}

TEST_CASE("source auto stays with impersonation where it works") {
    fixture f(token_source::automatic);
    CHECK(f.jwt() == "requested-1");
    CHECK(f.token_requests() == 1);
    CHECK(as_node(f.http->exchanges.back()));
    CHECK(f.jwt() == "requested-1");
    CHECK(f.token_requests() == 1);
}

TEST_CASE("when everything is refused, auto says why and a permission granted meanwhile helps at once") {
    fixture f(token_source::automatic);
    const auto works = f.on_token;
    f.on_token = [&](const test::seen_request& r) {
        return as_node(r) ? refused("cannot impersonate resource users")
                          : refused("cannot create serviceaccounts/token");
    };
    const auto got = f.obtain();
    REQUIRE(got.has_error());
    CHECK(got.error().definitive);
    CHECK(got.error().message.find("grant create on serviceaccounts/token") != std::string::npos);
    CHECK(got.error().message.find("cannot impersonate") != std::string::npos);
    f.on_token = works;
    CHECK(f.jwt().starts_with("requested-"));
}

TEST_CASE("a refusal that only means that the API server has not seen the pod yet is no lasting one") {
    fixture f(token_source::automatic);
    const auto works = f.on_token;
    f.on_token = [&](const test::seen_request& r) {
        return as_node(r) ? refused(unrelated) : refused("cannot create serviceaccounts/token");
    };
    const auto got = f.obtain();
    REQUIRE(got.has_error());
    CHECK_FALSE(got.error().definitive);
    CHECK(f.token_requests() == 2); // the next source was tried all the same
    f.on_token = works;
    CHECK(f.jwt() == "requested-1");
    CHECK(as_node(f.http->exchanges.back())); // and impersonation stays what is tried first
}

TEST_CASE(
    "F31: where Kubernetes refuses because of the pod, up to three pods of the service account are tried") {
    for (const auto& refusal :
         {std::pair(403, std::string("audience x not found in pod spec volume")),
          std::pair(404, std::string("pods not found")),
          std::pair(409, std::string("the UID does not match")), std::pair(403, unrelated)}) {
        const auto status = static_cast<unsigned>(refusal.first);
        const auto& message = refusal.second;
        CAPTURE(message);
        fixture f(token_source::impersonate);
        std::string served;
        f.on_token = [&](const test::seen_request& r) {
            if (!served.empty() && r.body.find("\"uid\":\"" + served + "\"") != std::string::npos)
                return test::answer_with(201, token_answer("of-" + served), {{"Date", date}});
            return test::answer_with(status, test::status_json(refusal.first, "R", message));
        };
        for (const auto* uid : {"p2", "p3", "p4"})
            f.add_pod(uid);
        CHECK(f.jwt().find(message) != std::string::npos);
        CHECK(f.token_requests() == 3);
        CHECK(f.jwt(false, "p2").find(message) != std::string::npos);
        CHECK(f.token_requests() == 4); // no other pod will do
        served = "p3";
        CHECK(f.jwt() == "of-p3");
    }
    fixture f(token_source::request);
    f.add_pod("p2");
    f.on_token = [](const auto&) { return refused("cannot create serviceaccounts/token"); };
    CHECK(f.jwt().starts_with("failed"));
    CHECK(f.token_requests() == 1); // it is not about the pod
}

TEST_CASE("T23: a node asking for a pod that is gone is told that they are unrelated: no such pod") {
    for (const auto source : {token_source::impersonate, token_source::request}) {
        fixture f(source);
        f.http->on_exchange = [](const auto&) { return refused("pods app-p1 is forbidden: " + unrelated); };
        const auto found = f.await(f.subject->pod_by_name("prod", "app-p1"));
        CHECK(found.has_value() == (source == token_source::impersonate));
        if (found.has_value())
            CHECK_FALSE(found->has_value());
        f.http->on_exchange = [](const auto&) { return refused("pods app-p1 is forbidden"); };
        CHECK(f.await(f.subject->pod_by_name("prod", "app-p1")).has_error());
    }
}

TEST_CASE("a kept token is not pushed out by being asked for") {
    fixture f(token_source::request);
    for (int i = 0; i < 4096; ++i)
        REQUIRE(f.obtain(false, "", "audience-" + std::to_string(i)).has_value());
    const auto before = f.token_requests();
    CHECK(f.obtain(false, "", "audience-0").has_value());
    CHECK(f.obtain(false, "", "audience-0").has_value());
    CHECK(f.token_requests() == before);
    CHECK(f.obtain(false, "", "one more").has_value());
}

TEST_CASE("an outage is not answered by trying every source at once") {
    fixture f(token_source::automatic);
    f.on_token = [](const auto&) { return test::answer_with(503, ""); };
    CHECK_FALSE(f.obtain().error().definitive);
    CHECK(f.token_requests() == 1);
}

TEST_CASE("source projected reads the token from the kubelet's directory") {
    fixture f(token_source::projected);
    CHECK(f.jwt().find("--kubelet-pods-dir") != std::string::npos);
    const auto token =
        test::unsigned_part(
            R"({"alg":"RS256","kid":"k"})",
            R"({"iss":"i","aud":["sts.amazonaws.com"],"exp":1760003600,"sub":"system:serviceaccount:prod:app",)"
            R"("kubernetes.io":{"namespace":"prod","serviceaccount":{"name":"app","uid":"sa-1"},)"
            R"("pod":{"name":"app-p1","uid":"p1"}}})") +
        ".c2ln";
    f.chooser.pods.insert(f.chooser.pods.begin(), {"sa-1", f.chooser.pods.front().second});
    f.chooser.pods.front().second.uid = "p0"; // which has no such volume
    f.dir.write("pods/p1/volumes/kubernetes.io~projected/aws/token", token);
    CHECK(f.jwt() == token);
    CHECK(f.jwt() == token);
    CHECK(f.jwt(true).starts_with("failed")); // the very same again
    auto forged = token;
    forged.replace(forged.size() - 4, 4, "eHh4");
    f.dir.write("pods/p0/volumes/kubernetes.io~projected/config/token", "no token");
    f.dir.write("pods/p1/volumes/kubernetes.io~projected/config/token", forged);
    const auto first = f.jwt();
    const auto second = f.jwt(true); // STS has rejected the first one
    CHECK(first != second);
    CHECK((first == token || second == token));
    CHECK(f.token_requests() == 0);
}

TEST_CASE("T36: no token appears in a log line or an error message") {
    fixture f(token_source::automatic);
    f.start();
    CHECK(f.jwt() == "requested-1");
    f.present("p1", "presented-secret");
    CHECK(f.jwt() == "presented-secret");
    f.subject->forget_pod("p1");
    f.on_token = [&](const test::seen_request&) { return refused("no"); };
    const auto got = f.obtain();
    REQUIRE(got.has_error());
    for (const auto* secret : {"presented-secret", "daemon-token", "requested-"}) {
        CHECK(got.error().message.find(secret) == std::string::npos);
        for (const auto& line : f.log.lines)
            CHECK(line.second.find(secret) == std::string::npos);
    }
}

TEST_CASE("settings that cannot work are refused at startup") {
    asio::io_context loop(1);
    test::manual_clock time;
    seeded_random random(1);
    test::remembering_log log;
    test::remembering_kubernetes_metrics metrics;
    test::pods_at_hand chooser;
    task_group tasks(loop.get_executor());
    const test::scratch_directory dir;
    const auto attempt = [&](auto change) {
        settings s;
        s.node_name = "n1";
        s.token_file = dir.write("token", "t");
        change(s);
        return assemble(loop, tasks, time, random, std::make_unique<test::scripted_http>(), chooser, metrics,
                        log, std::move(s));
    };
    CHECK(attempt([](auto&) {}).has_value());
    CHECK(attempt([](auto& s) { s.node_name.clear(); }).has_error());
    CHECK(attempt([](auto& s) { s.token_file = "/nonexistent"; }).has_error());
    CHECK(attempt([](auto& s) { s.watch_timeout_max = s.watch_timeout_min - 1s; }).has_error());
    CHECK(attempt([](auto& s) { s.requested_token_lifetime = 599s; }).has_error());
}
