#include "daemon/pods_file.hpp"
#include "tests/support/coroutine.hpp"
#include "tests/support/manual_clock.hpp"
#include "tests/support/recording_log.hpp"
#include "tests/support/temporary_directory.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::app;
using namespace std::chrono_literals;

namespace {

constexpr const char* example = R"({
  "pods": [
    {"namespace":"shop","name":"web-0","serviceAccount":"web","addresses":["127.0.0.2","::ffff:127.0.0.3","fd00::2"]},
    {"namespace":"shop","name":"agent","uid":"u-2","serviceAccount":"agent","addresses":["10.0.0.1"],"hostNetwork":true}],
  "serviceAccounts": [
    {"namespace":"shop","name":"web","uid":"sa-1","tokenFile":"web.jwt",
     "annotations":{"credlet.io/role-arn":"arn:aws:iam::123456789012:role/web","unrelated.example/x":"y"}},
    {"namespace":"shop","name":"agent"}]})";

const std::vector<std::string> prefixes{"credlet.io/", "eks.amazonaws.com/"};

result<static_cluster> parse(std::string_view json) {
    return parse_pods_file(json, "/dir", "node-1", prefixes);
}

template <class Object>
struct recording_sink final : metadata::object_sink<Object> {
    void replaced(std::vector<Object> objects) override {
        all = std::move(objects);
        ++times;
    }
    void changed(Object) override { FAIL("only whole lists are expected"); }
    void removed(const Object&) override { FAIL("only whole lists are expected"); }
    std::vector<Object> all;
    int times = 0;
};

struct fixture {
    fixture() {
        o.node_name = "node-1";
        o.pods_file = dir.write("pods.json", example);
    }
    ~fixture() {
        tasks.cancel();
        test::run(loop, tasks.drained());
    }
    fixture(const fixture&) = delete;
    fixture& operator=(const fixture&) = delete;

    // Lives until the tasks are drained.
    pods_file* open() {
        auto made = make_pods_file(tasks, time, log, o);
        REQUIRE_MESSAGE(made.has_value(), made.error().message);
        return opened.emplace_back(std::move(*made)).get();
    }
    template <class T>
    T get(awaitable<T> body) {
        std::optional<T> value;
        auto wrapped = [](awaitable<T> inner, std::optional<T>& out) -> awaitable<void> {
            out.emplace(co_await std::move(inner));
        };
        test::run(loop, wrapped(std::move(body), value));
        return std::move(*value);
    }
    sts::outcome<sts::web_identity_token> obtain(pods_file& file, const std::string& uid,
                                                 const std::string& audience) {
        auto spec = std::make_shared<sts::credential_spec>();
        spec->service_account_uid = uid;
        spec->namespace_name = "shop";
        spec->service_account = "agent";
        spec->audience = audience;
        return get(file.obtain(spec, false));
    }

    asio::io_context loop{1};
    task_group tasks{loop.get_executor()};
    test::manual_clock time;
    test::recording_log log;
    test::temporary_directory dir;
    options o;
    recording_sink<metadata::pod> pods;
    recording_sink<metadata::service_account> accounts;
    std::vector<std::unique_ptr<pods_file>> opened;
};

} // namespace

TEST_CASE("a pods file names pods, service accounts and files beside it") {
    const auto all = parse(example);
    REQUIRE_MESSAGE(all.has_value(), all.error().message);
    REQUIRE(all->pods.size() == 2);
    CHECK(all->pods[0].uid == "shop/web-0");
    CHECK(all->pods[0].service_account == "web");
    CHECK(all->pods[0].node_name == "node-1");
    CHECK(all->pods[0].addresses == std::vector{asio::ip::make_address("127.0.0.2"),
                                                asio::ip::make_address("127.0.0.3"),
                                                asio::ip::make_address("fd00::2")});
    CHECK(all->pods[1].uid == "u-2");
    CHECK(all->pods[1].host_network);
    REQUIRE(all->service_accounts.size() == 2);
    CHECK(all->service_accounts[0].annotations ==
          std::vector<std::pair<std::string, std::string>>{
              {"credlet.io/role-arn", "arn:aws:iam::123456789012:role/web"}});
    CHECK(all->token_files == std::vector<std::string>{"/dir/web.jwt", ""});
    CHECK(all->service_accounts[1].uid == "shop/agent");
}

TEST_CASE("a pods file that is misspelt is refused with its place") {
    const std::pair<const char*, const char*> bad[] = {
        {"x", "not JSON"},
        {"{}", "no list 'pods'"},
        {R"({"pods":[]})", "no list 'serviceAccounts'"},
        {R"({"pods":[],"serviceAccounts":[],"extra":1})", "unknown member 'extra'"},
        {R"({"pods":[{}],"serviceAccounts":[]})", "pod 1: 'namespace' must be a DNS name"},
        {R"({"pods":[{"namespace":"a","name":"B","serviceAccount":"c"}],"serviceAccounts":[]})",
         "pod 1: 'name'"},
        {R"({"pods":[{"namespace":"a","name":"b"}],"serviceAccounts":[]})", "'serviceAccount'"},
        {R"({"pods":[{"namespace":"a","name":"b","serviceAccount":"c","addresses":["x"]}],"serviceAccounts":[]})",
         "no IP address"},
        {R"({"pods":[{"namespace":"a","name":"b","serviceAccount":"c","hostNetwork":"no"}],"serviceAccounts":[]})",
         "must be true or false"},
        {R"({"pods":[{"namespace":"a","name":"b","serviceAccount":"c"},{"namespace":"a","name":"b","uid":"u","serviceAccount":"c"}],"serviceAccounts":[]})",
         "twice"},
        {R"({"pods":[],"serviceAccounts":[{"namespace":"a","name":"b","annotations":{"credlet.io/x":1}}]})",
         "must be texts"},
        {R"({"pods":[],"serviceAccounts":[],"jwksFile":"k"})", "'issuer' must say"},
    };
    for (const auto& [json, message] : bad) {
        CAPTURE(json);
        const auto all = parse(json);
        REQUIRE(all.has_error());
        CHECK_MESSAGE(all.error().message.find(message) != std::string::npos, all.error().message);
    }
}

TEST_CASE_FIXTURE(fixture, "the sinks get the file at the start, and again when it has changed") {
    auto* const file = open();
    CHECK(pods.times == 0);
    file->start(pods, accounts);
    CHECK(pods.times == 1);
    CHECK(pods.all.size() == 2);
    CHECK(accounts.all.size() == 2);
    file->refresh();
    CHECK(pods.times == 1);
    dir.write("pods.json", R"({"pods":[],"serviceAccounts":[]})");
    file->refresh();
    CHECK(pods.times == 2);
    CHECK(pods.all.empty());
    CHECK(accounts.all.empty());
    file->stop();
}

TEST_CASE_FIXTURE(fixture, "a bad file leaves the last good one in force and is reported once") {
    auto* const file = open();
    file->start(pods, accounts);
    dir.write("pods.json", "{");
    file->refresh();
    file->refresh();
    CHECK(pods.times == 1);
    CHECK(get(file->pod_by_name("shop", "web-0"))->has_value());
    REQUIRE(log.lines.size() == 1);
    CHECK(log.lines[0].level == log_level::error);
    CHECK(log.lines[0].field("error").find("pods.json") != std::string::npos);
    dir.write("pods.json", R"({"pods":[],"serviceAccounts":[]})");
    file->refresh();
    CHECK(pods.times == 2);
    file->stop();
}

TEST_CASE_FIXTURE(fixture, "direct questions are answered from the file") {
    auto* const file = open();
    CHECK(get(file->pods_by_address(asio::ip::make_address("127.0.0.3")))->at(0).name == "web-0");
    CHECK(get(file->pods_by_address(asio::ip::make_address("127.0.0.9")))->empty());
    CHECK_FALSE(get(file->pod_by_name("shop", "web-1"))->has_value());
    CHECK(get(file->service_account_by_name("shop", "web"))->value().uid == "sa-1");
    CHECK_FALSE(get(file->service_account_by_name("other", "web"))->has_value());
}

TEST_CASE_FIXTURE(fixture, "a token file is read anew for each call") {
    auto* const file = open();
    auto token = obtain(*file, "sa-1", "sts.amazonaws.com");
    REQUIRE(token.has_error());
    CHECK(token.error().kind == sts::failure_kind::no_token);
    CHECK(token.error().message.find("web.jwt") != std::string::npos);
    dir.write("web.jwt", "a.b.c\n");
    token = obtain(*file, "sa-1", "sts.amazonaws.com");
    REQUIRE(token.has_value());
    CHECK(token->jwt.reveal() == "a.b.c");
    CHECK(token->source == "file");
    dir.write("web.jwt", "not a token\n");
    CHECK(obtain(*file, "sa-1", "sts.amazonaws.com").has_error());
}

TEST_CASE_FIXTURE(fixture, "without a token file the newest token of a caller is used while it is valid") {
    auto* const file = open();
    CHECK(obtain(*file, "shop/agent", "aud").error().kind == sts::failure_kind::no_token);
    metadata::verified_token claims;
    claims.namespace_name = "shop";
    claims.service_account = "agent";
    claims.pod_uid = "u-2";
    claims.audiences = {"aud"};
    claims.expires = time.wall() + 10min;
    file->remember(claims, secret_string("newer"));
    claims.expires -= 1min;
    file->remember(claims, secret_string("older"));
    auto token = obtain(*file, "shop/agent", "aud");
    REQUIRE(token.has_value());
    CHECK(token->jwt.reveal() == "newer");
    CHECK(token->source == "caller");
    CHECK(obtain(*file, "shop/agent", "other").has_error());
    time.advance(10min);
    CHECK(obtain(*file, "shop/agent", "aud").has_error());
    claims.expires = time.wall() + 10min;
    file->remember(claims, secret_string("again"));
    file->forget_pod("u-2");
    CHECK(obtain(*file, "shop/agent", "aud").has_error());
}

TEST_CASE_FIXTURE(fixture, "callers' tokens are refused without keys, and without a right signature") {
    auto file = open();
    auto verified = get(file->verify(secret_string("a.b.c"), {"aud"}));
    REQUIRE(verified.has_error());
    CHECK(verified.error().kind == errc::untrusted);
    CHECK(verified.error().message.find("jwksFile") != std::string::npos);

    // RFC 7517 appendix A.1's EC key with a kid, and a token that nobody signed with it.
    dir.write("jwks.json", R"({"keys":[{"kty":"EC","crv":"P-256","kid":"1","use":"sig","alg":"ES256",
        "x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]})");
    o.pods_file = dir.write(
        "pods.json", R"({"pods":[],"serviceAccounts":[],"issuer":"https://i","jwksFile":"jwks.json"})");
    file = open();
    CHECK(file->issuer() == "https://i");
    verified = get(file->verify(secret_string("not.a-token"), {"aud"}));
    CHECK(verified.error().kind == errc::malformed);
    // {"alg":"ES256","kid":"1"} and {}
    verified = get(file->verify(secret_string("eyJhbGciOiJFUzI1NiIsImtpZCI6IjEifQ.e30."
                                              "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
                                              "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
                                {"aud"}));
    REQUIRE(verified.has_error());
    CHECK(verified.error().kind == errc::untrusted);
    CHECK(verified.error().message.find("signature") != std::string::npos);
}

TEST_CASE_FIXTURE(fixture, "a file that cannot be used at the start is an error, not an empty cluster") {
    o.pods_file = dir.path + "/missing.json";
    const auto made = make_pods_file(tasks, time, log, o);
    REQUIRE(made.has_error());
    CHECK(made.error().message.find("missing.json") != std::string::npos);
}
