#include "metrics/label_sets.hpp"
#include "metrics/metrics.hpp"
#include "runtime/log.hpp"
#include "runtime/random.hpp"
#include "tests/support/exposition.hpp"
#include "tests/support/manual_clock.hpp"

#include <doctest/doctest.h>

#include <type_traits>

using namespace credlet;
using namespace credlet::metrics;
using namespace std::chrono_literals;
using test::parse_exposition;

// T36: no label and no value can be made of a secret.
template <class Secret>
concept can_be_a_label = requires(kubernetes_metrics& k, sts_metrics& s, serving_metrics& m,
                                  pod_listener_metrics& p, const Secret& secret) {
    requires requires { m.rejected(secret); } || requires { k.pods(secret, 1); } || requires {
        s.request(secret, "ok", 1ns);
    } || requires { s.request("AssumeRole", secret, 1ns); } || requires { p.failed(secret); };
};
static_assert(can_be_a_label<std::string>);
static_assert(!can_be_a_label<secret_string>);

namespace {

std::string random_text(random_source& random) {
    std::string text;
    for (std::uint64_t length = random.next() % 40; text.size() < length;)
        text.push_back(static_cast<char>(random.next()));
    return text;
}

} // namespace

TEST_CASE("every family has help and type, its unit in its name, and counters end in _total") {
    const test::manual_clock time;
    const auto r = make_registry(time);
    r->sts().expiry("ns", "sa", "arn:aws:iam::123456789012:role/r", time.wall());
    const auto e = parse_exposition(r->expose());
    const std::map<std::string, std::string> expected{
        {"credlet_build_info", "gauge"},
        {"credlet_requests_total", "counter"},
        {"credlet_request_duration_seconds", "histogram"},
        {"credlet_connections", "gauge"},
        {"credlet_rejections_total", "counter"},
        {"credlet_credentials", "gauge"},
        {"credlet_credential_expiry_timestamp_seconds", "gauge"},
        {"credlet_refresh_total", "counter"},
        {"credlet_refresh_duration_seconds", "histogram"},
        {"credlet_sts_requests_total", "counter"},
        {"credlet_sts_request_duration_seconds", "histogram"},
        {"credlet_sts_allowed_rate", "gauge"},
        {"credlet_clock_skew_seconds", "gauge"},
        {"credlet_token_requests_total", "counter"},
        {"credlet_token_request_duration_seconds", "histogram"},
        {"credlet_watch_restarts_total", "counter"},
        {"credlet_watch_age_seconds", "gauge"},
        {"credlet_pods", "gauge"},
        {"credlet_reloads_total", "counter"},
        {"credlet_jwks_fetches_total", "counter"},
        {"credlet_pod_listeners", "gauge"},
        {"credlet_pod_listener_failures_total", "counter"},
        {"credlet_pod_listener_open_seconds", "histogram"},
        {"credlet_log_lines_dropped_total", "counter"},
        {"credlet_ready", "gauge"},
        {"process_cpu_seconds_total", "counter"},
        {"process_resident_memory_bytes", "gauge"},
        {"process_start_time_seconds", "gauge"},
        {"process_open_fds", "gauge"},
        {"process_max_fds", "gauge"},
    };
    CHECK(e.types == expected);
    for (const auto& [name, type] : e.types)
        CHECK(name.ends_with("_total") == (type == "counter"));
    CHECK(e.at("credlet_build_info{version=\"" CREDLET_VERSION "\"}") == 1);
}

TEST_CASE("series that can be known in advance are there from the first scrape") {
    const test::manual_clock time;
    const auto e = parse_exposition(make_registry(time)->expose());
    CHECK(e.at("credlet_requests_total{protocol=\"ecs\",code=\"200\"}") == 0);
    CHECK(e.at("credlet_requests_total{protocol=\"imds\",code=\"other\"}") == 0);
    CHECK(e.at("credlet_rejections_total{reason=\"unknown_address\"}") == 0);
    CHECK(e.at("credlet_sts_requests_total{operation=\"AssumeRole\",result=\"AccessDenied\"}") == 0);
    CHECK(e.at("credlet_refresh_total{result=\"ok\",trigger=\"demand\"}") == 0);
    CHECK(e.at("credlet_token_requests_total{result=\"ok\",source=\"request\"}") == 0);
    CHECK(e.at("credlet_watch_restarts_total{reason=\"expired\",resource=\"pods\"}") == 0);
    CHECK(e.at("credlet_credentials{state=\"stale\"}") == 0);
    CHECK(e.at("credlet_jwks_fetches_total{result=\"ok\"}") == 0);
    CHECK(e.at("credlet_reloads_total{result=\"ok\",what=\"ca\"}") == 0);
    for (const std::string state : {"listening", "waiting", "failed"})
        CHECK(e.at("credlet_pod_listeners{state=\"" + state + "\"}") == 0);
    for (const std::string reason :
         {"port_taken", "wrong_addresses", "shared_namespace", "limit", "denied", "io"})
        CHECK(e.at("credlet_pod_listener_failures_total{reason=\"" + reason + "\"}") == 0);
    CHECK(e.at("credlet_pod_listener_open_seconds_count") == 0);
}

TEST_CASE("T37: random paths, codes, reasons and roles make no new series") {
    const test::manual_clock time;
    seeded_random random(37);
    const auto r = make_registry(time);
    for (std::size_t i = 0; i < max_expiry_series; ++i)
        r->sts().expiry("ns", "sa", std::to_string(i), time.wall());
    const auto before = parse_exposition(r->expose());

    for (int i = 0; i < 100'000; ++i) {
        const auto text = random_text(random);
        r->serving().request(protocol::other, static_cast<unsigned>(random.next()), outcome::error, 1us);
        r->serving().rejected(text);
        r->sts().request(text, text, 1ms);
        r->sts().refresh(trigger::demand, text, 1ms);
        r->kubernetes().token_request(text, text, 1ms);
        r->kubernetes().watch_restarted(watched::pods, text);
        r->kubernetes().pods(text, 1);
        r->kubernetes().token_reloaded(text, true);
        r->kubernetes().jwks_fetched(text);
        r->pod_listeners().pods(text, 1);
        r->pod_listeners().failed(text);
        if (i % 100 == 0) {
            r->sts().expiry(text, text, text, time.wall());
            r->sts().expiry_gone(text, text, text + "?");
        }
    }
    const auto after = parse_exposition(r->expose());
    CHECK(after.samples.size() == before.samples.size());
    for (const auto& [series, value] : before.samples)
        CHECK_MESSAGE(after.has(series), series);
    CHECK(after.at("credlet_rejections_total{reason=\"other\"}") == 100'000);
    CHECK(after.at("credlet_sts_request_duration_seconds_count{operation=\"other\"}") == 100'000);
}

TEST_CASE("an expiry has a series while its role has credentials, and only so many do") {
    const test::manual_clock time;
    const auto r = make_registry(time);
    const std::string series =
        "credlet_credential_expiry_timestamp_seconds{namespace=\"ns\",role=\"a \\\"role\\\"\","
        "service_account=\"sa\"}";
    r->sts().expiry("ns", "sa", "a \"role\"", time.wall() + 1h);
    CHECK(parse_exposition(r->expose()).at(series) == 1'760'003'600);
    r->sts().expiry("ns", "sa", "a \"role\"", time.wall() + 2h);
    CHECK(parse_exposition(r->expose()).at(series) == 1'760'007'200);
    r->sts().expiry_gone("ns", "sa", "a \"role\"");
    CHECK_FALSE(parse_exposition(r->expose()).has(series));

    const auto count = [&] {
        std::size_t n = 0;
        for (const auto& [name, value] : parse_exposition(r->expose()).samples)
            n += name.starts_with("credlet_credential_expiry_timestamp_seconds{");
        return n;
    };
    for (std::size_t i = 0; i < max_expiry_series + 10; ++i)
        r->sts().expiry("ns", "sa", std::to_string(i), time.wall());
    CHECK(count() == max_expiry_series);
    r->sts().expiry_gone("ns", "sa", "0");
    r->sts().expiry("ns", "sa", "late", time.wall());
    CHECK(count() == max_expiry_series);
}

TEST_CASE("the age of a watch grows until it delivers again") {
    test::manual_clock time;
    const auto r = make_registry(time);
    const auto age = [&](const std::string& resource) {
        return parse_exposition(r->expose()).at("credlet_watch_age_seconds{resource=\"" + resource + "\"}");
    };
    time.advance(7s);
    CHECK(age("pods") == 7);
    r->kubernetes().watch_alive(watched::pods, time.now());
    time.advance(1500ms);
    CHECK(age("pods") == 1.5);
    CHECK(age("serviceaccounts") == 8.5);
}

TEST_CASE("what the upstream loop reports is what is exposed") {
    const test::manual_clock time;
    const auto r = make_registry(time);
    r->sts().credentials(credential_state::renewing, 3);
    r->sts().refresh(trigger::renewal, "ok", 300ms);
    r->sts().request("AssumeRoleWithWebIdentity", "Throttling", 20ms);
    r->sts().allowed_rate(12.5);
    r->sts().clock_skew(-1500ms);
    r->kubernetes().token_request("request", "ok", 5ms);
    r->kubernetes().watch_restarted(watched::service_accounts, "closed");
    r->kubernetes().pods("live", 12);
    r->kubernetes().token_reloaded("token", false);
    r->kubernetes().jwks_fetched("timed_out");
    r->pod_listeners().pods("listening", 250);
    r->pod_listeners().pods("waiting", 2);
    r->pod_listeners().pods("waiting", 1);
    r->pod_listeners().failed("port_taken");
    r->pod_listeners().failed("port_taken");
    r->pod_listeners().opened(900us);
    r->pod_listeners().opened(40ms);
    r->pod_listeners().opened(11s);
    r->log_dropped([] { return std::uint64_t{42}; });
    const auto e = parse_exposition(r->expose());
    CHECK(e.at("credlet_credentials{state=\"renewing\"}") == 3);
    CHECK(e.at("credlet_refresh_total{result=\"ok\",trigger=\"renewal\"}") == 1);
    CHECK(e.at("credlet_refresh_duration_seconds_bucket{trigger=\"renewal\",le=\"0.25\"}") == 0);
    CHECK(e.at("credlet_refresh_duration_seconds_bucket{trigger=\"renewal\",le=\"0.5\"}") == 1);
    CHECK(e.at("credlet_sts_requests_total{operation=\"AssumeRoleWithWebIdentity\",result=\"Throttling\"}") ==
          1);
    CHECK(e.at("credlet_sts_request_duration_seconds_count{operation=\"AssumeRoleWithWebIdentity\"}") == 1);
    CHECK(e.at("credlet_sts_allowed_rate") == 12.5);
    CHECK(e.at("credlet_clock_skew_seconds") == -1.5);
    CHECK(e.at("credlet_token_requests_total{result=\"ok\",source=\"request\"}") == 1);
    CHECK(e.at("credlet_watch_restarts_total{reason=\"closed\",resource=\"serviceaccounts\"}") == 1);
    CHECK(e.at("credlet_pods{state=\"live\"}") == 12);
    CHECK(e.at("credlet_reloads_total{result=\"error\",what=\"token\"}") == 1);
    CHECK(e.at("credlet_jwks_fetches_total{result=\"timed_out\"}") == 1);
    CHECK(e.at("credlet_pod_listeners{state=\"listening\"}") == 250);
    CHECK(e.at("credlet_pod_listeners{state=\"waiting\"}") == 1);
    CHECK(e.at("credlet_pod_listener_failures_total{reason=\"port_taken\"}") == 2);
    CHECK(e.at("credlet_pod_listener_failures_total{reason=\"io\"}") == 0);
    CHECK(e.at("credlet_pod_listener_open_seconds_bucket{le=\"0.001\"}") == 1);
    CHECK(e.at("credlet_pod_listener_open_seconds_bucket{le=\"0.025\"}") == 1);
    CHECK(e.at("credlet_pod_listener_open_seconds_bucket{le=\"0.05\"}") == 2);
    CHECK(e.at("credlet_pod_listener_open_seconds_bucket{le=\"10\"}") == 2);
    CHECK(e.at("credlet_pod_listener_open_seconds_count") == 3);
    CHECK(e.at("credlet_log_lines_dropped_total") == 42);
}

TEST_CASE("a daemon is ready when it says so, at each scrape anew") {
    const test::manual_clock time;
    const auto r = make_registry(time);
    CHECK(parse_exposition(r->expose()).at("credlet_ready") == 0);
    bool ready = true;
    r->ready([&ready] { return ready; });
    CHECK(parse_exposition(r->expose()).at("credlet_ready") == 1);
    ready = false;
    CHECK(parse_exposition(r->expose()).at("credlet_ready") == 0);
}
