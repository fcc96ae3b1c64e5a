#include "runtime/event_log.hpp"
#include "tests/support/manual_clock.hpp"
#include "tests/support/recording_log.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::test;
using namespace std::chrono_literals;

namespace {

struct fixture {
    manual_clock time;
    recording_log log;
    std::vector<bool> ca_reads;
    https_client_events events =
        log_client_events(log, time, "sts.test", [this](bool ok) { ca_reads.push_back(ok); });
};

} // namespace

TEST_CASE_FIXTURE(fixture, "F16: that old addresses are in use is told, once a minute") {
    const auto why = fail(errc::resolve_failed, "looking up sts.test: try again");
    for (int i = 0; i < 60; ++i) {
        events.resolve_failed(why);
        time.advance(1s);
    }
    REQUIRE(log.lines.size() == 1);
    CHECK(log.lines[0].level == log_level::warn);
    CHECK(log.lines[0].field("server") == "sts.test");
    CHECK(log.lines[0].field("error") == why.message);
    events.resolve_failed(why);
    REQUIRE(log.lines.size() == 2);
    CHECK(log.lines[1].field("suppressed") == "59");
}

TEST_CASE_FIXTURE(fixture, "what becomes of the CA file is told and counted") {
    events.ca_reloaded();
    events.ca_failed(fail(errc::malformed, "the CA file holds no certificate"));
    events.ca_failed(fail(errc::malformed, "the CA file holds no certificate"));
    CHECK(ca_reads == std::vector{true, false, false});
    REQUIRE(log.lines.size() == 2);
    CHECK(log.lines[0].level == log_level::info);
    CHECK(log.lines[0].field("server") == "sts.test");
    CHECK(log.lines[1].level == log_level::warn);
    CHECK(log.lines[1].field("error") == "the CA file holds no certificate");
}

TEST_CASE_FIXTURE(fixture,
                  "an exception in a request handler is told as an error, once a minute per reason") {
    const auto failed = log_handler_failures(log, time, "pods");
    for (int i = 0; i < 60; ++i) {
        failed("out of range");
        time.advance(1s);
    }
    failed("another bug");
    REQUIRE(log.lines.size() == 2);
    CHECK(log.lines[0].level == log_level::error);
    CHECK(log.lines[0].field("listener") == "pods");
    CHECK(log.lines[0].field("error") == "out of range");
    CHECK(log.lines[1].field("error") == "another bug");
    failed("out of range");
    CHECK(log.lines.back().field("suppressed") == "59");
}
