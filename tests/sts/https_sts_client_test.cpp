#include "sts/https_sts_client.hpp"
#include "tests/support/coroutine.hpp"
#include "tests/support/manual_clock.hpp"
#include "tests/support/results.hpp"
#include "tests/support/scripted_https.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

using namespace credlet;
using namespace credlet::sts;
using namespace std::chrono_literals;

namespace {

constexpr std::string_view token = "eyJhbGciOiJSUzI1NiJ9.Y2FuYXJ5LXBheWxvYWQ.Y2FuYXJ5LXNpZ25hdHVyZQ";
constexpr std::string_view secret_key = "canary/secret+access=key/of/forty/chars/";
constexpr std::string_view session_token = "FwoGcanarysessiontoken/+=canarysessiontoken";

struct recorded_metrics final : metrics::sts_metrics {
    std::vector<std::tuple<std::string, std::string, std::chrono::nanoseconds>> requests;
    std::optional<std::chrono::milliseconds> skew;

    void credentials(metrics::credential_state, std::size_t) override {}
    void expiry(std::string_view, std::string_view, std::string_view, wall_time) override {}
    void expiry_gone(std::string_view, std::string_view, std::string_view) override {}
    void refresh(metrics::trigger, std::string_view, std::chrono::nanoseconds) override {}
    void request(std::string_view operation, std::string_view result,
                 std::chrono::nanoseconds took) override {
        requests.emplace_back(operation, result, took);
    }
    void allowed_rate(double) override {}
    void clock_skew(std::chrono::milliseconds s) override { skew = s; }
};

std::string two(unsigned n) { return {static_cast<char>('0' + n / 10), static_cast<char>('0' + n % 10)}; }

// "2025-10-09T08:53:20Z" and "Thu, 09 Oct 2025 08:53:20 GMT"
std::string written(wall_time t, bool as_http_date) {
    const auto day = std::chrono::floor<std::chrono::days>(t);
    const std::chrono::year_month_day date(day);
    const std::chrono::hh_mm_ss time(std::chrono::floor<std::chrono::seconds>(t) - day);
    const auto clock = two(static_cast<unsigned>(time.hours().count())) + ":" +
                       two(static_cast<unsigned>(time.minutes().count())) + ":" +
                       two(static_cast<unsigned>(time.seconds().count()));
    const auto month = static_cast<unsigned>(date.month()), day_of_month = static_cast<unsigned>(date.day());
    const auto year = std::to_string(static_cast<int>(date.year()));
    if (!as_http_date)
        return year + "-" + two(month) + "-" + two(day_of_month) + "T" + clock + "Z";
    constexpr std::array<const char*, 7> days{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    constexpr std::array<const char*, 12> months{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                 "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    return std::string(days[std::chrono::weekday(day).c_encoding()]) + ", " + two(day_of_month) + " " +
           months[month - 1] + " " + year + " " + clock + " GMT";
}

using headers = std::vector<std::pair<std::string, std::string>>;

struct fixture {
    asio::io_context loop{1};
    test::manual_clock time;
    test::scripted_https http;
    recorded_metrics metrics;
    std::unique_ptr<client> sts = connect({.region = "eu-west-1"});
    credential_spec spec;
    credentials base;

    fixture() {
        spec.role_arn = "arn:aws:iam::123456789012:role/team/web";
        spec.target_role_arn = "arn:aws:iam::210987654321:role/target";
        spec.external_id = "customer:42";
        spec.audience = "sts.amazonaws.com";
        spec.session_name = "shop.api.node-1";
        base.access_key_id = "ASIAIOSFODNN7EXAMPLE";
        base.secret_access_key = secret_string(secret_key);
        base.session_token = secret_string(session_token);
    }
    std::unique_ptr<client> connect(const endpoint_settings& s) {
        auto e = select_endpoint(s);
        REQUIRE(e);
        return make_client(http, time, std::move(*e), metrics);
    }

    outcome<credentials> with_web_identity(std::chrono::seconds duration = 3600s) {
        outcome<credentials> answer = failure{};
        test::run(loop, ask_with_web_identity(duration, answer));
        return answer;
    }
    awaitable<void> ask_with_web_identity(std::chrono::seconds duration, outcome<credentials>& answer) {
        answer = co_await sts->assume_role_with_web_identity(spec, duration, secret_string(token));
    }
    outcome<credentials> with_role(std::chrono::seconds duration = 3600s) {
        outcome<credentials> answer = failure{};
        test::run(loop, ask_with_role(duration, answer));
        return answer;
    }
    awaitable<void> ask_with_role(std::chrono::seconds duration, outcome<credentials>& answer) {
        answer = co_await sts->assume_role(spec, duration, base);
    }

    static std::string
    issued(wall_time expiration, const std::string& action = "AssumeRoleWithWebIdentity",
           const std::string& who = "arn:aws:sts::123456789012:assumed-role/web/shop.api.node-1") {
        return "<" + action + "Response><" + action + "Result><AssumedRoleUser><Arn>" + who +
               "</Arn></AssumedRoleUser><Credentials><AccessKeyId>ASIA2222222222222222</AccessKeyId>"
               "<SecretAccessKey>new-secret</SecretAccessKey><SessionToken>new-token</"
               "SessionToken><Expiration>" +
               written(expiration, false) + "</Expiration></Credentials></" + action + "Result></" + action +
               "Response>";
    }
    static std::string problem(const std::string& code, const std::string& message) {
        return "<ErrorResponse><Error><Type>Sender</Type><Code>" + code + "</Code><Message>" + message +
               "</Message></Error><RequestId>request-1</RequestId></ErrorResponse>";
    }
    [[nodiscard]] headers date(wall_time t) const { return {{"Date", written(t, true)}}; }
    [[nodiscard]] headers date() const { return date(time.wall()); }
    [[nodiscard]] std::string_view sent(std::string_view name) const {
        for (const auto& h : http.requests.back().headers)
            if (h.name == name)
                return h.value.reveal();
        return {};
    }
};

} // namespace

TEST_CASE_FIXTURE(fixture, "a web identity is traded for credentials, unsigned") {
    http.answer(200, issued(time.wall() + 1h), date());
    http.before_answer = [this] { time.advance(250ms); };
    const auto c = with_web_identity();
    REQUIRE(c);
    CHECK(c->access_key_id == "ASIA2222222222222222");
    CHECK(c->secret_access_key.reveal() == "new-secret");
    CHECK(c->session_token.reveal() == "new-token");
    CHECK(c->expiration == time.wall() - 250ms + 1h);
    CHECK(c->issued == time.wall());
    CHECK(c->fetched == time.now());
    CHECK(c->expires == c->fetched + 1h);
    CHECK(c->assumed_role_arn == "arn:aws:sts::123456789012:assumed-role/web/shop.api.node-1");
    CHECK(c->account_id == "123456789012");
    CHECK(c->role_arn == spec.role_arn);
    CHECK(c->session_name == "shop.api.node-1");

    REQUIRE(http.requests.size() == 1);
    const auto& r = http.requests.front();
    CHECK(r.method == "POST");
    CHECK(r.target == "/");
    CHECK(r.max_response_body == 64 * 1024);
    REQUIRE(r.headers.size() == 1);
    CHECK(sent("Content-Type") == "application/x-www-form-urlencoded");
    CHECK(r.body.reveal() == "Action=AssumeRoleWithWebIdentity&Version=2011-06-15"
                             "&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fteam%2Fweb"
                             "&RoleSessionName=shop.api.node-1&DurationSeconds=3600&WebIdentityToken=" +
                                 std::string(token));
    CHECK(http.last_limit == 3s);

    REQUIRE(metrics.requests.size() == 1);
    CHECK(metrics.requests[0] == std::tuple<std::string, std::string, std::chrono::nanoseconds>(
                                     "AssumeRoleWithWebIdentity", "ok", 250ms));
}

TEST_CASE_FIXTURE(fixture,
                  "a target role is assumed with the first role's credentials, signed, for at most an hour") {
    time.step_wall(wall_time(1769862645s) - time.wall()); // 2026-01-31T12:30:45Z
    spec.target_role_arn = "arn:aws:iam::210987654321:role/team/target";
    spec.external_id = "customer:42/a";
    base.secret_access_key = secret_string("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    base.session_token = secret_string("FwoGZXIvYXdzEBYaDExampleSessionToken/+=Zz0");
    http.answer(200,
                issued(time.wall() + 1h, "AssumeRole",
                       "arn:aws:sts::210987654321:assumed-role/target/shop.api.node-1"),
                date());
    const auto c = with_role(12h);
    REQUIRE(c);
    CHECK(c->account_id == "210987654321");
    CHECK(c->role_arn == spec.target_role_arn);
    CHECK(c->expires == c->fetched + 1h);

    CHECK(sent("X-Amz-Date") == "20260131T123045Z");
    CHECK(sent("X-Amz-Security-Token") == "FwoGZXIvYXdzEBYaDExampleSessionToken/+=Zz0");
    // The same request as signed by botocore: see sigv4_test.cpp.
    CHECK(sent("Authorization") ==
          "AWS4-HMAC-SHA256 Credential=ASIAIOSFODNN7EXAMPLE/20260131/eu-west-1/sts/aws4_request, "
          "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, "
          "Signature=726f4a4e39bbe207c187a3da6bf06e8d0938940b53604eca8a2c585769f1fbf8");
    CHECK(std::get<0>(metrics.requests.at(0)) == "AssumeRole");
}

TEST_CASE_FIXTURE(fixture,
                  "requests to the global endpoint are signed for us-east-1, to an override for the region") {
    const auto answer = [this] {
        http.answer(200,
                    issued(time.wall() + 1h, "AssumeRole", "arn:aws:sts::210987654321:assumed-role/target/x"),
                    date());
    };
    sts = connect({.region = "eu-west-1", .legacy_global = true});
    answer();
    REQUIRE(with_role());
    CHECK(sent("Authorization").find("/us-east-1/sts/aws4_request") != std::string_view::npos);
    sts = connect(
        {.region = "eu-west-1", .override_server = parse_override("https://127.0.0.1:8443/base").value()});
    answer();
    REQUIRE(with_role());
    CHECK(sent("Authorization").find("/eu-west-1/sts/aws4_request") != std::string_view::npos);
}

TEST_CASE_FIXTURE(fixture, "F10: credentials that have expired, or will within a minute, are refused") {
    for (const auto life : {-3600s, -1s, 0s, 30s, 60s}) {
        CAPTURE(life.count());
        http.answer(200, issued(time.wall() + life), date());
        const auto c = with_web_identity();
        REQUIRE_FALSE(c);
        CHECK(c.error().kind == failure_kind::transient);
        CHECK(c.error().code == "ExpiredCredentials");
    }
}

TEST_CASE_FIXTURE(fixture, "F10: credentials with little life are taken for what they are") {
    for (const auto life : {61s, 300s}) {
        http.answer(200, issued(time.wall() + life), date());
        const auto c = with_web_identity();
        REQUIRE(c);
        CHECK(c->expires == c->fetched + life);
    }
}

TEST_CASE_FIXTURE(fixture, "F11: life is counted by STS's own date, however wrong this node's clock is") {
    const auto now_of_sts = time.wall();
    for (const auto off : {-2h, 2h, -20000h, 20000h}) {
        time.step_wall(now_of_sts + off - time.wall());
        http.answer(200, issued(now_of_sts + 1h), date(now_of_sts));
        const auto c = with_web_identity();
        REQUIRE(c);
        CHECK(c->expires == c->fetched + 1h);
        CHECK(metrics.skew == std::chrono::milliseconds(off));
    }
}

TEST_CASE_FIXTURE(fixture, "F11: without a date, or with a senseless one, this node's clock has to do") {
    for (const headers& h : {headers{}, headers{{"Date", "yesterday"}}, date(wall_time(86400s))}) {
        http.answer(200, issued(time.wall() + 50min), h);
        const auto c = with_web_identity();
        REQUIRE(c);
        CHECK(c->expires == c->fetched + 50min);
    }
}

TEST_CASE_FIXTURE(fixture, "F11: no credentials are taken to live longer than was asked for") {
    time.step_wall(-5h);
    http.answer(200, issued(time.wall() + 6h));
    const auto c = with_web_identity(900s);
    REQUIRE(c);
    CHECK(c->expires == c->fetched + 900s);
}

TEST_CASE_FIXTURE(fixture, "F11: a clock that is more than a minute off is corrected when signing") {
    const auto signed_at = [this](std::chrono::milliseconds off) {
        sts = connect({.region = "eu-west-1"});
        const auto now_of_sts = time.wall() - off;
        http.answer(200, issued(now_of_sts + 1h), date(now_of_sts));
        REQUIRE(with_web_identity());
        http.answer(403, problem("AccessDenied", "no"), date(now_of_sts));
        REQUIRE_FALSE(with_role());
        return std::string(sent("X-Amz-Date"));
    };
    CHECK(time.wall() == wall_time(1'760'000'000s)); // 2025-10-09T08:53:20Z
    CHECK(signed_at(0s) == "20251009T085320Z");
    CHECK(signed_at(59s) == "20251009T085320Z");
    CHECK(signed_at(2h) == "20251009T065320Z");
    CHECK(signed_at(-2h) == "20251009T105320Z");
}

TEST_CASE_FIXTURE(fixture, "F11: the date of a refusal corrects the next signature") {
    http.answer(403, problem("SignatureDoesNotMatch", "Signature expired"), date(time.wall() - 1h));
    const auto c = with_role();
    REQUIRE_FALSE(c);
    CHECK(c.error().kind == failure_kind::transient);
    CHECK(sent("X-Amz-Date") == "20251009T085320Z");
    http.answer(403, problem("AccessDenied", "no"), date(time.wall() - 1h));
    REQUIRE_FALSE(with_role());
    CHECK(sent("X-Amz-Date") == "20251009T075320Z");
}

TEST_CASE_FIXTURE(fixture, "F12: STS's refusal comes back with its code, message and request id") {
    http.answer(400, problem("ExpiredTokenException", "Token expired: current date/time 1 must be before 0"),
                date());
    const auto c = with_web_identity();
    REQUIRE_FALSE(c);
    CHECK(c.error().kind == failure_kind::token_rejected);
    CHECK(c.error().code == "ExpiredTokenException");
    CHECK(c.error().message == "Token expired: current date/time 1 must be before 0");
    CHECK(c.error().request_id == "request-1");
    CHECK(c.error().http_status == 400);
    CHECK(std::get<1>(metrics.requests.at(0)) == "ExpiredTokenException");
}

TEST_CASE_FIXTURE(fixture, "the request id may also stand in a header") {
    http.answer(403, "{\"Error\":{\"Code\":\"AccessDenied\",\"Message\":\"no\"}}",
                {{"x-amzn-RequestId", "from-header"}});
    CHECK(with_web_identity().error().request_id == "from-header");
}

TEST_CASE_FIXTURE(fixture, "F2: throttling carries how long to wait") {
    http.answer(400, problem("Throttling", "Rate exceeded"), {{"Retry-After", "3"}});
    auto c = with_web_identity();
    REQUIRE_FALSE(c);
    CHECK(c.error().kind == failure_kind::throttled);
    CHECK(c.error().retry_after == 3s);
    http.answer(429, "slow down");
    c = with_web_identity();
    CHECK(c.error().kind == failure_kind::throttled);
    CHECK_FALSE(c.error().retry_after);
    CHECK(std::get<1>(metrics.requests.back()) == "throttled");
}

TEST_CASE_FIXTURE(fixture, "T31, F15: a role of another partition never reaches STS, let alone chooses one") {
    spec.role_arn = "arn:aws-us-gov:iam::123456789012:role/web";
    spec.target_role_arn = "arn:aws-cn:iam::123456789012:role/web";
    for (const auto& c : {with_web_identity().error(), with_role().error()}) {
        CHECK(c.kind == failure_kind::unusable);
        CHECK(c.code == "WrongPartition");
    }
    CHECK(http.requests.empty());
    CHECK(metrics.requests.empty());
}

TEST_CASE_FIXTURE(fixture, "what will be refused anyway is told beforehand, of the target role too") {
    CHECK_FALSE(sts->refuses(spec));
    const auto code = [this](const auto& spoil) {
        auto spoilt = spec;
        spoil(spoilt);
        const auto problem = sts->refuses(spoilt);
        return problem ? problem->code : std::string();
    };
    CHECK(code([](auto& s) { s.role_arn = "arn:aws-cn:iam::123456789012:role/web"; }) == "WrongPartition");
    CHECK(code([](auto& s) { s.target_role_arn = "arn:aws-cn:iam::123456789012:role/x"; }) ==
          "WrongPartition");
    CHECK(code([](auto& s) { s.role_arn = "web"; }) == "InvalidRoleArn");
    CHECK(code([](auto& s) { s.target_role_arn = "web"; }) == "InvalidRoleArn");
    CHECK(code([](auto& s) { s.session_name = "a b"; }) == "InvalidSessionName");
    CHECK(code([](auto& s) { s.duration = 899s; }) == "InvalidDuration");
    CHECK(code([](auto& s) { s.external_id = "x"; }) == "InvalidExternalId");
    CHECK(http.requests.empty());
}

TEST_CASE_FIXTURE(fixture, "T29: what is out of STS's limits never reaches STS") {
    spec.session_name = "a\r\nb";
    spec.external_id = "&Action=x";
    CHECK(with_web_identity().error().code == "InvalidSessionName");
    CHECK(with_role().error().code == "InvalidSessionName");
    spec.session_name = "ab";
    CHECK(with_role().error().code == "InvalidExternalId");
    spec.role_arn = "arn:aws:iam::123456789012:role/web\r\n";
    CHECK(with_web_identity().error().code == "InvalidRoleArn");
    CHECK(http.requests.empty());
}

TEST_CASE_FIXTURE(fixture, "T33: a redirect is neither followed nor believed") {
    const headers h{{"Location", "https://evil.example/"}, {"Date", written(time.wall() - 5h, true)}};
    for (const std::string& body : {std::string(), issued(time.wall() + 1h), problem("AccessDenied", "no")}) {
        http.answer(302, body, h);
        const auto c = with_web_identity();
        REQUIRE_FALSE(c);
        CHECK(c.error().kind == failure_kind::transient);
        CHECK(c.error().code == "Redirected");
        CHECK(c.error().message.find("evil") == std::string::npos);
    }
    CHECK(http.requests.size() == 3);
    CHECK_FALSE(metrics.skew);
}

TEST_CASE_FIXTURE(fixture, "T33: steering answers are malformed, quickly and without an echo") {
    for (const std::string& body :
         {std::string("<!DOCTYPE a [<!ENTITY b 'canary'>]><a>&b;</a>"), std::string("\x1f\x8b\x08\0\0", 5),
          std::string("<html>canary</html>"), std::string(), std::string(65 * 1024, ' '),
          problem("AccessDenied", "an error with status 200")}) {
        http.answer(200, body, date());
        const auto c = with_web_identity();
        REQUIRE_FALSE(c);
        CHECK(c.error().kind == failure_kind::transient);
        CHECK((c.error().code == "Malformed" || c.error().code == "TooLarge"));
        CHECK(c.error().http_status == 200);
        CHECK(c.error().message.find("canary") == std::string::npos);
    }
    CHECK(std::get<1>(metrics.requests.front()) == "malformed");
    CHECK_FALSE(metrics.skew);
}

TEST_CASE_FIXTURE(fixture, "F7: a captive page with any status is transient") {
    for (const unsigned status : {200U, 400U, 403U, 404U, 502U, 511U}) {
        http.answer(status, "<html><body>Sign in</body></html>", date());
        CHECK(with_web_identity().error().kind == failure_kind::transient);
    }
}

TEST_CASE_FIXTURE(fixture, "credentials of another role or account than the one asked for are refused") {
    for (const char* who :
         {"arn:aws:sts::123456789012:assumed-role/admin/shop.api.node-1",
          "arn:aws:sts::999999999999:assumed-role/web/shop.api.node-1",
          "arn:aws:sts::123456789012:assumed-role/webx/s", "arn:aws:iam::123456789012:role/team/web",
          "arn:aws:sts::123456789012:federated-user/web"}) {
        CAPTURE(who);
        http.answer(200, issued(time.wall() + 1h, "AssumeRoleWithWebIdentity", who), date());
        const auto c = with_web_identity();
        REQUIRE_FALSE(c);
        CHECK(c.error().code == "WrongRole");
        CHECK(c.error().kind == failure_kind::transient);
    }
    http.answer(200, issued(time.wall() + 1h, "AssumeRoleWithWebIdentity", ""), date());
    CHECK(with_web_identity());
}

TEST_CASE_FIXTURE(fixture, "what fails below HTTP keeps its kind and says where it failed") {
    http.answer(fail(errc::timed_out, "no answer within 3000 ms"));
    const auto c = with_web_identity();
    REQUIRE_FALSE(c);
    CHECK(c.error().code == "Timeout");
    CHECK(c.error().transport == errc::timed_out);
    CHECK(c.error().message == "calling STS at sts.eu-west-1.amazonaws.com: no answer within 3000 ms");
    CHECK(std::get<1>(metrics.requests.at(0)) == "timed_out");
    http.answer(fail(errc::cancelled, "stopped"));
    CHECK(with_web_identity().error().kind == failure_kind::cancelled);
}

TEST_CASE_FIXTURE(fixture,
                  "T36: STS's echo of the token, the keys or the signed request does not get through") {
    const auto clean = [](const failure& f) {
        for (const auto secret : {token, secret_key, session_token})
            for (std::size_t i = 0; i + 12 <= secret.size(); ++i)
                for (const auto& text : {f.code, f.message, f.request_id})
                    if (text.find(secret.substr(i, 12)) != std::string::npos)
                        return false;
        return true;
    };
    const std::string t(token), k(secret_key), s(session_token);
    http.answer(400, problem("ValidationError",
                             "1 validation error detected: Value '" + t + "' at 'webIdentityToken'"));
    auto c = with_web_identity();
    CHECK(c.error().kind == failure_kind::misconfigured);
    CHECK(c.error().message == "1 validation error detected: Value '[redacted]' at 'webIdentityToken'");

    http.answer(400, problem(t.substr(0, 60), "half of it: " + t.substr(10, 40)), {{"x-amzn-requestid", t}});
    CHECK(clean(with_web_identity().error()));
    http.answer(400, "{\"Error\":{\"Code\":\"X\",\"Message\":\"m\"}}", {{"x-amzn-requestid", t}});
    CHECK(clean(with_web_identity().error()));
    http.answer(403, problem("SignatureDoesNotMatch", "The Canonical String should have been 'POST&#10;/&#10;"
                                                      "x-amz-security-token:" +
                                                          s + "&#10;" + k + "'"));
    c = with_role();
    CHECK(clean(c.error()));
    CHECK(c.error().message.find("x-amz-security-token:[redacted] [redacted]'") != std::string::npos);
    http.answer(500, t + k + s);
    CHECK(clean(with_role().error()));
}
