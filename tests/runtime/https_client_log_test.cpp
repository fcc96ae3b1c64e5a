#include "runtime/https_client_log.hpp"
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
        logged_events(log, time, "sts.test", [this](bool ok) { ca_reads.push_back(ok); });
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
