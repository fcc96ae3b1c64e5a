#include "sts/credential_service.hpp"
#include "sts/https_sts_client.hpp"
#include "tests/support/coroutine.hpp"
#include "tests/support/exposition.hpp"
#include "tests/support/recording_log.hpp"
#include "tests/support/scripted_https.hpp"
#include "tests/support/scripted_sts.hpp"
#include "tests/support/store_simulation.hpp"

#include <boost/asio/post.hpp>
#include <doctest/doctest.h>

#include <algorithm>

using namespace credlet;
using namespace credlet::sts;
using namespace credlet::test;
using namespace std::chrono_literals;
using kind = failure_kind;

namespace {

// On the group's executor, as a group wants to be cancelled.
void cancel_and_drain(asio::io_context& loop, task_group& tasks) {
    asio::post(loop, [&tasks] { tasks.cancel(); });
    run(loop, tasks.drained());
}

struct fixture {
    explicit fixture(std::chrono::milliseconds call_timeout = 10s, bool over_https = false)
        : service(loop.get_executor(), tasks, time, random, over_https ? *sts_over_https : sts, tokens,
                  registry->sts(), log, {{}, call_timeout}) {
        tasks.on_exception = [](const std::string& what) { FAIL("an exception escaped: ", what); };
        service.on_change = [this](const std::vector<credential_key>& keys) {
            changed.insert(changed.end(), keys.begin(), keys.end());
        };
        service.on_issued = [this](const credential_spec& spec, const credentials& c, call_reason reason) {
            issued.push_back(spec.service_account + " " + c.access_key_id);
            issued_for_reason.push_back(reason);
        };
    }
    ~fixture() {
        service.stop();
        cancel_and_drain(loop, tasks);
    }
    fixture(const fixture&) = delete;
    fixture& operator=(const fixture&) = delete;

    void until(const std::function<bool()>& done) {
        const auto limit = std::chrono::steady_clock::now() + 10s;
        loop.restart();
        while (!done() && std::chrono::steady_clock::now() < limit)
            loop.run_one_until(limit);
        REQUIRE(done());
    }
    // Everything that is ready to run has run.
    void settle() {
        loop.restart();
        loop.poll();
    }
    // Fake time has no timers: the service looks at its clock when something is asked of it.
    void advance(std::chrono::nanoseconds d) {
        time.advance(d);
        service.demand(credential_key{}, 0ms);
        settle();
    }
    void answer_all() {
        sts.script = [this](const scripted_sts::request& r) { return issued_for(r.spec, time); };
    }
    void fail_all(failure f) {
        sts.script = [f](const scripted_sts::request&) { return f; };
    }
    [[nodiscard]] double metric(const std::string& series) {
        return parse_exposition(registry->expose()).at(series);
    }
    [[nodiscard]] bool has_metric(const std::string& series) {
        return parse_exposition(registry->expose()).has(series);
    }
    [[nodiscard]] std::size_t logged(std::string_view field, std::string_view value) const {
        return static_cast<std::size_t>(std::count_if(log.lines.begin(), log.lines.end(), [&](const auto& l) {
            return l.level == log_level::warn && l.field(field) == value;
        }));
    }

    asio::io_context loop{1};
    task_group tasks{loop.get_executor()};
    manual_clock time;
    seeded_random random{5};
    std::unique_ptr<metrics::registry> registry = metrics::make_registry(time);
    recording_log log;
    scripted_sts sts;
    scripted_https http;
    std::unique_ptr<client> sts_over_https =
        make_client(http, time, select_endpoint({.region = "eu-west-1"}).value(), registry->sts());
    scripted_tokens tokens;
    std::vector<credential_key> changed;
    std::vector<std::string> issued;
    std::vector<call_reason> issued_for_reason;
    credential_service service;
};

const auto web = spec_for("web");

failure refused_duration(const std::string& code = "ValidationError") {
    auto f = failing(kind::misconfigured, code);
    f.message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
    return f;
}

const std::string web_expiry = "credlet_credential_expiry_timestamp_seconds{namespace=\"default\",role=\"" +
                               web.role_arn + "\",service_account=\"web\"}";

} // namespace

TEST_CASE("a retained key is fetched with its own token, and everybody who should know is told") {
    fixture f;
    f.service.retain(web, 0s);
    f.until([&] { return f.sts.open() == 1; });
    CHECK(f.service.lookup(web.key()).state == entry_state::pending);
    const auto& request = f.sts.requests.at(0);
    CHECK(request.operation == "AssumeRoleWithWebIdentity");
    CHECK(request.spec.role_arn == web.role_arn);
    CHECK(request.duration == 3600s);
    CHECK(request.credential == "token-1");
    CHECK_FALSE(f.tokens.requests.at(0).fresh);
    CHECK(f.tokens.requests.at(0).spec->service_account_uid == web.service_account_uid);

    f.changed.clear();
    request.answer->give(issued_for(web, f.time));
    f.until([&] { return !f.changed.empty(); });
    const auto known = f.service.lookup(web.key());
    REQUIRE(known.usable);
    CHECK(known.usable->access_key_id == access_key_of(web.key()));
    CHECK(f.changed == std::vector{web.key()});
    CHECK(f.issued == std::vector{"web " + access_key_of(web.key())});
    CHECK(f.issued_for_reason == std::vector{call_reason::prefetch});
    const auto history = f.service.history(web.key());
    REQUIRE(history);
    CHECK_FALSE(history->problem);
    CHECK(history->token_source == "request");
    CHECK(history->reason == call_reason::prefetch);
    CHECK(f.metric("credlet_refresh_total{result=\"ok\",trigger=\"prefetch\"}") == 1);
    CHECK(f.metric("credlet_refresh_duration_seconds_count{trigger=\"prefetch\"}") == 1);
    CHECK(f.metric("credlet_credentials{state=\"fresh\"}") == 1);
    CHECK(f.metric("credlet_sts_allowed_rate") == 20);
    CHECK(f.metric(web_expiry) == doctest::Approx(1'760'000'000 + 3600));
    CHECK(f.log.lines.empty());
}

TEST_CASE("F35: however many wait, there is one token request and one call") {
    fixture f;
    f.service.retain(web, 1h);
    for (int i = 0; i < 1000; ++i) {
        f.service.demand(web.key(), 5s);
        if (i % 100 == 0)
            f.settle();
    }
    f.until([&] { return f.sts.open() == 1; });
    f.settle();
    CHECK(f.sts.requests.size() == 1);
    CHECK(f.tokens.requests.size() == 1);
}

TEST_CASE("F30: new tokens cause no call while credentials are fresh") {
    fixture f; // its source has another token each time
    f.answer_all();
    f.service.retain(web, 0s);
    f.until([&] { return f.service.lookup(web.key()).usable != nullptr; });
    for (int i = 0; i < 1000; ++i) {
        f.service.retain(web, 0s);
        f.service.demand(web.key(), 5s);
        f.advance(10ms);
    }
    CHECK(f.tokens.requests.size() == 1);
    CHECK(f.sts.requests.size() == 1);
    // What is kept is the service account's, not the token's: the renewal takes the newest token.
    f.advance(36min);
    f.until([&] { return f.sts.requests.size() == 2; });
    CHECK(f.sts.requests[1].credential == "token-2");
    CHECK(f.sts.requests[1].spec.key() == web.key());
}

namespace {

std::string issued_until(const std::string& expiration) {
    return "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
           "<AccessKeyId>ASIA2222222222222222</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>"
           "<SessionToken>token</SessionToken><Expiration>" +
           expiration +
           "</Expiration></Credentials></AssumeRoleWithWebIdentityResult></"
           "AssumeRoleWithWebIdentityResponse>";
}

} // namespace

TEST_CASE(
    "F11: a clock two hours off, and set right or wrong meanwhile, changes neither expiry nor renewal") {
    for (const auto off : {2h, -2h}) {
        fixture f(10s, true);
        const auto expires_in = [&] { return f.service.lookup(web.key()).usable->expires - f.time.now(); };
        f.time.step_wall(off); // it was 2025-10-09 08:53:20
        f.http.answer(200, issued_until("2025-10-09T09:53:20Z"), {{"Date", "Thu, 09 Oct 2025 08:53:20 GMT"}});
        f.service.retain(web, 0s);
        f.until([&] { return f.service.lookup(web.key()).usable != nullptr; });
        CHECK(expires_in() == 1h);

        f.time.step_wall(-2 * off);
        f.advance(23min);
        CHECK(f.http.requests.size() == 1);
        CHECK(expires_in() == 37min);

        f.http.answer(200, issued_until("2025-10-09T10:29:20Z"), {{"Date", "Thu, 09 Oct 2025 09:29:20 GMT"}});
        f.advance(13min);
        f.until([&] { return f.issued.size() == 2; });
        CHECK(f.http.requests.size() == 2);
        CHECK(expires_in() == 1h);

        f.http.answer(fail(errc::timed_out, "no answer"));
        f.time.step_wall(off);
        f.advance(58min);
        CHECK(f.service.lookup(web.key()).usable);
        f.http.answer(fail(errc::timed_out, "no answer"));
        f.advance(1min);
        CHECK_FALSE(f.service.lookup(web.key()).usable);
    }
}

TEST_CASE("T30: answers that come in another order reach their own keys") {
    fixture f;
    std::vector<credential_spec> specs;
    for (int i = 0; i < 12; ++i) {
        specs.push_back(spec_for("sa" + std::to_string(i)));
        f.service.retain(specs.back(), 0s);
    }
    f.until([&] { return f.sts.open() == 12; });
    for (std::size_t i = f.sts.requests.size(); i-- > 0;)
        f.sts.requests[i].answer->give(issued_for(f.sts.requests[i].spec, f.time));
    f.until([&] { return f.issued.size() == 12; });
    for (const auto& s : specs) {
        REQUIRE(f.service.lookup(s.key()).usable);
        CHECK(f.service.lookup(s.key()).usable->access_key_id == access_key_of(s.key()));
    }
}

TEST_CASE("the service wakes up by itself when something is due") {
    asio::io_context loop(1);
    task_group tasks(loop.get_executor());
    const system_clock time;
    system_random random;
    const auto registry = metrics::make_registry(time);
    recording_log log;
    scripted_sts sts;
    scripted_tokens tokens;
    credential_service service(loop.get_executor(), tasks, time, random, sts, tokens, registry->sts(), log,
                               {});
    const auto start = time.now();
    service.retain(web, 30ms);
    while (sts.open() == 0 && time.now() < start + 10s)
        loop.run_one_for(10s);
    CHECK(sts.requests.size() == 1);
    CHECK(time.now() >= start + 30ms);
    CHECK(time.now() < start + 5s);
    cancel_and_drain(loop, tasks);
}

TEST_CASE("F33: what comes for a key released meanwhile is told to the audit log and kept nowhere") {
    fixture f;
    f.service.retain(web, 0s);
    f.until([&] { return f.sts.open() == 1; });
    f.service.release(web.key());
    f.sts.requests[0].answer->give(issued_for(web, f.time));
    f.until([&] { return f.issued.size() == 1; });
    f.settle();
    CHECK(f.service.lookup(web.key()).state == entry_state::absent);
    CHECK_FALSE(f.service.history(web.key()));
    CHECK_FALSE(f.has_metric(web_expiry));
    CHECK(f.metric("credlet_credentials{state=\"fresh\"}") == 0);
}

TEST_CASE("F3: a call that never ends is given up at its deadline and tried again") {
    for (const bool token_hangs : {false, true}) {
        fixture f(20ms);
        if (token_hangs)
            f.tokens.script = [](const auto&) { return std::nullopt; };
        f.service.retain(web, 0s);
        f.until([&] { return f.service.history(web.key()).has_value(); });
        const auto known = f.service.lookup(web.key());
        REQUIRE(known.problem);
        CHECK(known.problem->kind == kind::transient);
        CHECK(known.problem->code == "Timeout");
        CHECK(known.problem->transport == errc::timed_out);
        CHECK(f.metric("credlet_refresh_total{result=\"transient\",trigger=\"prefetch\"}") == 1);
        // The key is free again. How the next attempt ends is not asked: its deadline is as short.
        f.advance(1s);
        f.until([&] { return f.tokens.requests.size() == 2; });
    }
}

TEST_CASE("an exception in the token source or the STS client ends its call as a failure, and no other") {
    for (const bool in_token_source : {false, true}) {
        fixture f;
        const auto other = spec_for("other");
        if (in_token_source)
            f.tokens.script = [](const auto& r) -> std::optional<outcome<web_identity_token>> {
                if (r.spec->service_account == "web")
                    throw std::logic_error("a bug");
                return scripted_tokens::token("jwt");
            };
        f.sts.script = [&](const auto& r) -> std::optional<outcome<credentials>> {
            if (r.spec.service_account == "web")
                throw std::logic_error("a bug");
            return issued_for(r.spec, f.time);
        };
        f.service.retain(web, 0s);
        f.service.retain(other, 0s);
        f.until([&] { return f.service.history(web.key()) && f.service.lookup(other.key()).usable; });
        const auto known = f.service.lookup(web.key());
        CHECK(known.problem->kind == kind::transient);
        CHECK(known.problem->code == "InternalError");
        f.tokens.script = nullptr;
        f.answer_all();
        f.advance(1s);
        f.until([&] { return f.service.lookup(web.key()).usable != nullptr; });
    }
}

TEST_CASE("F12: after a rejected token the next call gets a fresh one") {
    fixture f;
    f.sts.script = [&](const auto& r) -> std::optional<outcome<credentials>> {
        if (r.credential == "token-1")
            return failing(kind::token_rejected, "ExpiredTokenException");
        return issued_for(r.spec, f.time);
    };
    f.service.retain(web, 0s);
    f.until([&] { return f.service.lookup(web.key()).usable != nullptr; });
    REQUIRE(f.tokens.requests.size() == 2);
    CHECK(f.tokens.requests[1].fresh);
    CHECK(f.sts.requests.at(1).credential == "token-2");
}

TEST_CASE("F31: attempts without a token take nothing of STS's rate") {
    fixture f;
    f.tokens.script = [](const auto& r) -> std::optional<outcome<web_identity_token>> {
        if (r.spec->service_account == "web")
            return scripted_tokens::token("jwt");
        return failing(kind::no_token, "NoToken");
    };
    f.answer_all();
    for (int i = 0; i < 300; ++i)
        f.service.retain(spec_for("sa" + std::to_string(i)), 0s);
    f.service.retain(web, 0s);
    f.settle();
    CHECK(f.service.lookup(web.key()).usable);
}

TEST_CASE("F15: no token is obtained for what will not be sent") {
    fixture f;
    f.sts.refusal = [](const credential_spec&) { return failing(kind::unusable, "WrongPartition"); };
    for (int i = 0; i < 300; ++i)
        f.service.retain(spec_for("sa" + std::to_string(i)), 0s);
    f.settle();
    const auto last = f.service.history(spec_for("sa299").key());
    REQUIRE(last);
    CHECK(last->problem->code == "WrongPartition");
    CHECK(f.tokens.requests.empty());
    CHECK(f.sts.requests.empty());
}

TEST_CASE("F12: a source with one token alone has it tried again once the rejection is forgotten") {
    fixture f;
    f.tokens.script = [](const auto& r) -> std::optional<outcome<web_identity_token>> {
        if (r.fresh)
            return failing(kind::no_token, "NoToken");
        return scripted_tokens::token("the-only-one");
    };
    f.fail_all(failing(kind::token_rejected, "InvalidIdentityToken"));
    f.service.retain(web, 0s);
    f.until([&] { return f.service.lookup(web.key()).problem_is_definitive; });
    CHECK(f.service.lookup(web.key()).problem->code == "InvalidIdentityToken");
    CHECK(f.tokens.requests.size() == 2);
    f.answer_all();
    f.advance(5s);
    f.service.demand(web.key(), 5s);
    f.until([&] { return f.service.lookup(web.key()).usable != nullptr; });
    CHECK(f.sts.requests.back().credential == "the-only-one");
}

TEST_CASE("F31: STS is not called without a token") {
    fixture f;
    f.tokens.script = [](const auto&) { return failing(kind::no_token, "NoToken"); };
    f.service.retain(web, 0s);
    f.until([&] { return f.service.history(web.key()).has_value(); });
    CHECK(f.sts.requests.empty());
    CHECK(f.service.history(web.key())->problem->kind == kind::no_token);
    CHECK(f.metric("credlet_refresh_total{result=\"no_token\",trigger=\"prefetch\"}") == 1);
}

TEST_CASE("a duration the role does not allow falls back to 3600 s, within the call, and is remembered") {
    fixture f;
    auto spec = web;
    spec.duration = 43200s;
    f.sts.script = [&](const auto& r) -> std::optional<outcome<credentials>> {
        if (r.duration > 3600s)
            return refused_duration();
        return issued_for(r.spec, f.time, r.duration);
    };
    f.service.retain(spec, 0s);
    f.until([&] { return f.service.lookup(spec.key()).usable != nullptr; });
    REQUIRE(f.sts.requests.size() == 2);
    CHECK(f.sts.requests[0].duration == 43200s);
    CHECK(f.sts.requests[1].duration == 3600s);
    CHECK(f.sts.requests[1].credential == f.sts.requests[0].credential);
    CHECK(f.logged("duration_seconds", "43200") == 1);

    f.advance(36min);
    f.until([&] { return f.issued.size() == 2; });
    REQUIRE(f.sts.requests.size() == 3);
    CHECK(f.sts.requests[2].duration == 3600s);
    CHECK(f.logged("duration_seconds", "43200") == 1);

    // Forgotten with the entry: the role may have been changed since.
    f.service.release(spec.key());
    f.settle();
    f.service.retain(spec, 0s);
    f.until([&] { return f.issued.size() == 3; });
    CHECK(f.sts.requests.at(3).duration == 43200s);
}

TEST_CASE("a refused duration is told by what STS says of it, whichever name it gives the error") {
    for (const std::string code : {"ValidationError", "ValidationException", "ValidationErrorException"}) {
        CAPTURE(code);
        fixture f;
        auto spec = web;
        spec.duration = 43200s;
        f.sts.script = [&](const auto& r) -> std::optional<outcome<credentials>> {
            if (r.duration > 3600s)
                return refused_duration(code);
            return issued_for(r.spec, f.time, r.duration);
        };
        f.service.retain(spec, 0s);
        f.until([&] { return f.service.history(spec.key()).has_value(); });
        CHECK(f.service.lookup(spec.key()).usable);
    }
}

TEST_CASE("a role whose maximum is raised gets the session that was asked for within 6 hours") {
    fixture f;
    auto spec = web;
    spec.duration = 43200s;
    bool raised = false;
    f.sts.script = [&](const auto& r) -> std::optional<outcome<credentials>> {
        if (r.duration > 3600s && !raised)
            return refused_duration();
        return issued_for(r.spec, f.time, r.duration);
    };
    f.service.retain(spec, 0s);
    f.until([&] { return f.service.lookup(spec.key()).usable != nullptr; });
    raised = true;
    for (int i = 0; i < 9; ++i)
        f.advance(36min);
    CHECK(f.sts.requests.back().duration == 3600s);
    f.advance(36min);
    CHECK(f.sts.requests.back().duration == 43200s);
    CHECK(f.service.lookup(spec.key()).usable->expires - f.time.now() == 12h);
    CHECK(f.logged("duration_seconds", "43200") == 1);
}

TEST_CASE("F35: the second call of a fallback to 3600 s counts against the rate") {
    fixture f;
    f.sts.script = [&](const auto& r) -> std::optional<outcome<credentials>> {
        if (r.duration > 3600s)
            return refused_duration();
        return issued_for(r.spec, f.time, r.duration);
    };
    for (int i = 0; i < 300; ++i) {
        auto spec = spec_for("sa" + std::to_string(i));
        spec.duration = 43200s;
        f.service.retain(spec, 0s);
    }
    f.settle();
    CHECK(f.sts.requests.size() >= 200);
    CHECK(f.sts.requests.size() <= 200 + 16); // the burst, and what was under way when it was used up
}

TEST_CASE("other refusals of parameters do not shorten the session") {
    fixture f;
    auto spec = web;
    spec.duration = 7200s;
    f.fail_all(failing(kind::misconfigured, "ValidationError"));
    f.service.retain(spec, 0s);
    f.until([&] { return f.service.history(spec.key()).has_value(); });
    CHECK(f.sts.requests.size() == 1);
    CHECK(f.service.lookup(spec.key()).problem_is_definitive);
}

TEST_CASE("a target role is assumed with the first role's credentials, for an hour at most") {
    fixture f;
    auto spec = web;
    spec.target_role_arn = "arn:aws:iam::210987654321:role/target";
    spec.duration = 7200s;
    f.sts.script = [&](const auto& r) -> std::optional<outcome<credentials>> {
        auto c = issued_for(r.spec, f.time);
        if (r.operation == "AssumeRoleWithWebIdentity")
            c.access_key_id = "ASIAFIRST";
        return c;
    };
    f.service.retain(spec, 0s);
    f.until([&] { return f.service.lookup(spec.key()).usable != nullptr; });
    REQUIRE(f.sts.requests.size() == 2);
    CHECK(f.sts.requests[0].operation == "AssumeRoleWithWebIdentity");
    CHECK(f.sts.requests[0].duration == 3600s);
    CHECK(f.sts.requests[1].operation == "AssumeRole");
    CHECK(f.sts.requests[1].duration == 3600s);
    CHECK(f.sts.requests[1].credential == "ASIAFIRST");
    CHECK(f.service.lookup(spec.key()).usable->access_key_id == access_key_of(spec.key()));
    CHECK(f.issued.size() == 1);
}

TEST_CASE("a target role of a short session is asked for as short as that") {
    fixture f;
    auto spec = web;
    spec.target_role_arn = "arn:aws:iam::210987654321:role/target";
    spec.duration = 900s;
    f.answer_all();
    f.service.retain(spec, 0s);
    f.until([&] { return f.sts.requests.size() == 2; });
    CHECK(f.sts.requests[1].duration == 900s);
}

TEST_CASE("a first role that is denied leaves the target role alone") {
    fixture f;
    auto spec = web;
    spec.target_role_arn = "arn:aws:iam::210987654321:role/target";
    f.fail_all(failing(kind::denied, "AccessDenied"));
    f.service.retain(spec, 0s);
    f.until([&] { return f.service.history(spec.key()).has_value(); });
    CHECK(f.sts.requests.size() == 1);
    CHECK(f.service.lookup(spec.key()).problem->kind == kind::denied);
}

TEST_CASE("F10: credentials that are no good count and are logged as a failure") {
    fixture f;
    f.sts.script = [&](const auto& r) { return issued_for(r.spec, f.time, 30s); };
    f.service.retain(web, 0s);
    f.until([&] { return f.service.history(web.key()).has_value(); });
    CHECK_FALSE(f.service.lookup(web.key()).usable);
    CHECK(f.service.history(web.key())->problem->code == "ExpiredCredentials");
    CHECK(f.metric("credlet_refresh_total{result=\"transient\",trigger=\"prefetch\"}") == 1);
    CHECK(f.logged("code", "ExpiredCredentials") == 1);
}

TEST_CASE("F1: a failure is logged with all an operator needs, once in 10 s for a role") {
    fixture f;
    auto trouble = failing(kind::transient, "InternalFailure");
    trouble.message = "STS answered 500";
    trouble.request_id = "c6104cbe-af31-11e0-8154-cbc7ccf896c7";
    trouble.http_status = 500;
    f.fail_all(trouble);
    f.service.retain(web, 0s);
    f.until([&] { return f.log.lines.size() == 1; });
    const auto first = f.log.lines[0]; // of a list that grows
    CHECK(first.level == log_level::warn);
    CHECK(first.field("namespace") == "default");
    CHECK(first.field("service_account") == "web");
    CHECK(first.field("role") == web.role_arn);
    CHECK(first.field("kind") == "transient");
    CHECK(first.field("code") == "InternalFailure");
    CHECK(first.field("error") == "STS answered 500");
    CHECK(first.field("request_id") == trouble.request_id);
    CHECK(first.field("http_status") == "500");
    f.service.demand(web.key(), 1h);
    for (int i = 0; i < 90; ++i)
        f.advance(100ms);
    CHECK(f.sts.requests.size() > 3);
    CHECK(f.log.lines.size() == 1);
    for (int i = 0; i < 60; ++i)
        f.advance(100ms);
    REQUIRE(f.log.lines.size() == 2);
    CHECK(f.log.lines[1].field("suppressed") != "0");
}

TEST_CASE("T36: a token that STS quotes is neither logged nor told") {
    fixture f(10s, true);
    const std::string canary = "eyJhbGciOiJSUzI1NiJ9.Y2FuYXJ5LXBheWxvYWQ.Y2FuYXJ5LXNpZ25hdHVyZQ";
    f.tokens.script = [&](const auto&) { return scripted_tokens::token(canary); };
    f.http.answer(400, "<ErrorResponse><Error><Code>ValidationError</Code><Message>Value '" + canary +
                           "' at 'webIdentityToken' failed</Message></Error><RequestId>" + canary +
                           "</RequestId></ErrorResponse>");
    f.service.retain(web, 0s);
    f.until([&] { return f.log.lines.size() == 1; });
    REQUIRE(f.http.requests.at(0).body.reveal().find(canary) != std::string_view::npos);
    const auto problem = f.service.lookup(web.key()).problem;
    REQUIRE(problem);
    CHECK(problem->message == "Value '[redacted]' at 'webIdentityToken' failed");
    std::string told = problem->message + problem->code + problem->request_id;
    for (const auto& [name, value] : f.log.lines[0].fields)
        told += value;
    for (const auto* part : {"eyJhbGci", "Y2FuYXJ5"})
        CHECK(told.find(part) == std::string::npos);
}

TEST_CASE("F14: a denial is counted, logged once a minute and told in the history") {
    fixture f;
    f.fail_all(failing(kind::denied, "AccessDenied"));
    f.service.retain(web, 0s);
    f.until([&] { return f.service.history(web.key()).has_value(); });
    CHECK(f.service.history(web.key())->problem->code == "AccessDenied");
    CHECK(f.service.lookup(web.key()).problem_is_definitive);
    for (int i = 0; i < 9; ++i) {
        f.advance(6s);
        f.service.demand(web.key(), 5s);
        f.settle();
    }
    CHECK(f.metric("credlet_refresh_total{result=\"denied\",trigger=\"demand\"}") >= 8);
    CHECK(f.metric("credlet_credentials{state=\"failed\"}") == 1);
    CHECK(f.logged("code", "AccessDenied") == 1);
}

TEST_CASE("F2: the allowed rate is shown while it is cut") {
    fixture f;
    f.fail_all(failing(kind::throttled, "Throttling"));
    f.service.retain(web, 0s);
    f.until([&] { return f.service.history(web.key()).has_value(); });
    f.settle();
    CHECK(f.metric("credlet_sts_allowed_rate") == doctest::Approx(10));
}

TEST_CASE("F37: the expiry series shows the earliest of several and goes when nothing is left to serve") {
    fixture f;
    auto audience = web;
    audience.audience = "another";
    f.answer_all();
    f.service.retain(web, 0s);
    f.until([&] { return f.service.lookup(web.key()).usable != nullptr; });
    f.time.advance(60s);
    f.service.retain(audience, 0s);
    f.until([&] { return f.service.lookup(audience.key()).usable != nullptr; });
    f.settle();
    CHECK(f.metric(web_expiry) == doctest::Approx(1'760'000'000 + 3600));
    f.service.release(web.key());
    f.settle();
    CHECK(f.metric(web_expiry) == doctest::Approx(1'760'000'000 + 3660));
    f.fail_all(failing(kind::transient));
    f.advance(59min);
    CHECK_FALSE(f.has_metric(web_expiry));
}

TEST_CASE("a stopped service makes no calls; cancelled tasks leave nothing in flight") {
    fixture f;
    f.service.retain(web, 0s);
    f.until([&] { return f.sts.open() == 1; });
    f.service.stop();
    f.service.retain(spec_for("late"), 0s);
    f.settle();
    CHECK(f.sts.requests.size() == 1);
    cancel_and_drain(f.loop, f.tasks);
    CHECK(f.service.lookup(web.key()).problem->kind == kind::cancelled);
    CHECK(f.log.lines.empty()); // nothing is wrong
}

TEST_CASE("who is told of a change may ask for the next thing at once") {
    fixture f;
    f.answer_all();
    const auto next = spec_for("next");
    bool asked = false;
    f.service.on_change = [&](const std::vector<credential_key>&) {
        if (!std::exchange(asked, true)) {
            f.service.retain(next, 1h);
            f.service.demand(next.key(), 5s);
        }
    };
    f.service.retain(web, 0s);
    f.until([&] { return f.service.lookup(next.key()).usable != nullptr; });
    CHECK(f.issued.size() == 2);
}

TEST_CASE("who fails to take in a change is told of it again") {
    fixture f;
    f.answer_all();
    std::vector<std::vector<credential_key>> told;
    f.service.on_change = [&](const std::vector<credential_key>& keys) {
        told.push_back(keys);
        if (told.size() == 1)
            throw std::runtime_error("a bug");
    };
    f.service.retain(web, 1h);
    f.settle();
    REQUIRE(told.size() == 1);
    CHECK(told[0] == std::vector{web.key()});
    f.advance(1s); // nothing is due, and yet
    REQUIRE(told.size() == 2);
    CHECK(told[1] == std::vector{web.key()});
    f.advance(1s);
    CHECK(told.size() == 2);
}

TEST_CASE("an exception in who is told ends neither the service nor the call") {
    fixture f;
    f.answer_all();
    f.service.on_change = [](const std::vector<credential_key>&) { throw std::logic_error("a bug"); };
    f.service.on_issued = [](const credential_spec&, const credentials&, call_reason) {
        throw std::logic_error("another bug");
    };
    f.service.retain(web, 0s);
    f.until([&] { return f.service.lookup(web.key()).usable != nullptr; });
    f.settle();
    f.service.retain(spec_for("next"), 0s);
    f.until([&] { return f.service.lookup(spec_for("next").key()).usable != nullptr; });
    CHECK(std::any_of(f.log.lines.begin(), f.log.lines.end(), [](const auto& l) {
        return l.level == log_level::error && l.field("error") == "a bug";
    }));
}
