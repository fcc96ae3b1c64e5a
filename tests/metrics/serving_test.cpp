#include "metrics/label_sets.hpp"
#include "metrics/metrics.hpp"
#include "runtime/http_request_parser.hpp"
#include "tests/support/exposition.hpp"
#include "tests/support/manual_clock.hpp"

#include <doctest/doctest.h>

#include <thread>

using namespace credlet;
using namespace credlet::metrics;
using namespace std::chrono_literals;
using test::parse_exposition;

TEST_CASE("a request is counted by protocol and status, its time by protocol and outcome") {
    const test::manual_clock time;
    const auto r = make_registry(time);
    r->serving().request(protocol::ecs, 200, outcome::hit, 50us); // at a bound
    r->serving().request(protocol::ecs, 200, outcome::hit, 51us); // above it
    r->serving().request(protocol::ecs, 200, outcome::hit, 100ms);
    r->serving().request(protocol::ecs, 503, outcome::error, 6s);
    r->serving().request(protocol::imds, 418, outcome::error, -1ns);
    const auto e = parse_exposition(r->expose());
    CHECK(e.at("credlet_requests_total{protocol=\"ecs\",code=\"200\"}") == 3);
    CHECK(e.at("credlet_requests_total{protocol=\"ecs\",code=\"503\"}") == 1);
    CHECK(e.at("credlet_requests_total{protocol=\"imds\",code=\"other\"}") == 1);
    const std::string hit = "credlet_request_duration_seconds_bucket{protocol=\"ecs\",outcome=\"hit\",le=\"";
    CHECK(e.at(hit + "5e-05\"}") == 1);
    CHECK(e.at(hit + "0.0001\"}") == 2);
    CHECK(e.at(hit + "0.05\"}") == 2);
    CHECK(e.at(hit + "0.1\"}") == 3);
    CHECK(e.at(hit + "5\"}") == 3);
    CHECK(e.at(hit + "+Inf\"}") == 3);
    CHECK(e.at("credlet_request_duration_seconds_count{protocol=\"ecs\",outcome=\"hit\"}") == 3);
    CHECK(e.at("credlet_request_duration_seconds_sum{protocol=\"ecs\",outcome=\"hit\"}") ==
          doctest::Approx(0.100101));
    const std::string error =
        "credlet_request_duration_seconds_bucket{protocol=\"ecs\",outcome=\"error\",le=\"";
    CHECK(e.at(error + "5\"}") == 0);
    CHECK(e.at(error + "+Inf\"}") == 1);
}

TEST_CASE("open connections and rejections are counted") {
    const test::manual_clock time;
    const auto r = make_registry(time);
    for (int i = 0; i < 3; ++i)
        r->serving().connection_opened();
    r->serving().connection_closed();
    r->serving().rejected("identity_mismatch");
    r->serving().rejected("a reason nobody knows");
    const auto e = parse_exposition(r->expose());
    CHECK(e.at("credlet_connections") == 2);
    CHECK(e.at("credlet_rejections_total{reason=\"identity_mismatch\"}") == 1);
    CHECK(e.at("credlet_rejections_total{reason=\"other\"}") == 1);
}

TEST_CASE("whatever the HTTP parser refuses has a reason of its own") {
    for (const auto fault : {request_fault::bad_request_line, request_fault::bad_header,
                             request_fault::bad_host, request_fault::has_body, request_fault::bad_version,
                             request_fault::too_many_headers, request_fault::head_too_large})
        CHECK(position_in(rejection_reasons, to_string(fault)) < rejection_reasons.size() - 1);
}

TEST_CASE("scrapes beside the serving loop see whole histograms and lose nothing") {
    const test::manual_clock time;
    const auto r = make_registry(time);
    constexpr int requests = 200'000;
    std::thread serving([&] {
        for (int i = 0; i < requests; ++i) {
            r->serving().request(protocol::ecs, 200, outcome::hit, std::chrono::microseconds(i % 1000));
            r->serving().rejected("unknown_path");
        }
    });
    std::thread upstream([&] {
        for (int i = 0; i < 2000; ++i) {
            r->sts().request("AssumeRole", "ok", 1ms);
            r->kubernetes().watch_alive(watched::pods, time.now());
            r->sts().expiry("ns", "sa", std::to_string(i % 10), time.wall());
            r->sts().expiry_gone("ns", "sa", std::to_string(i % 7));
        }
    });
    for (int i = 0; i < 50; ++i) {
        const auto e = parse_exposition(r->expose());
        CHECK(e.at("credlet_request_duration_seconds_bucket{protocol=\"ecs\",outcome=\"hit\",le=\"+Inf\"}") ==
              e.at("credlet_request_duration_seconds_count{protocol=\"ecs\",outcome=\"hit\"}"));
    }
    serving.join();
    upstream.join();
    const auto e = parse_exposition(r->expose());
    CHECK(e.at("credlet_requests_total{protocol=\"ecs\",code=\"200\"}") == requests);
    CHECK(e.at("credlet_rejections_total{reason=\"unknown_path\"}") == requests);
    CHECK(e.at("credlet_sts_requests_total{operation=\"AssumeRole\",result=\"ok\"}") == 2000);
}
