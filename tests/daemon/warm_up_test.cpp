#include "daemon/warm_up.hpp"

#include <doctest/doctest.h>

namespace credlet::app {

using namespace std::chrono_literals;
using counts = sts::credential_store::counts;

namespace {

constexpr boot_time start{1h};

warm_up begun() {
    warm_up w;
    w.begin(start);
    return w;
}

} // namespace

TEST_CASE("who takes another's place is ready with every credential that can be had") {
    auto w = begun();
    CHECK(w.missing({.pending = 2, .fresh = 1}, start) ==
          "another process serves, and 2 of 3 credentials are not here yet");
    CHECK(w.missing({.fresh = 1, .stale = 1, .failed = 1, .unanswered = 1}, start) ==
          "another process serves, and 1 of 3 credentials are not here yet");
    CHECK(w.missing({.fresh = 1, .renewing = 1, .failed = 1, .refused = 1}, start).empty());
}

TEST_CASE("who takes another's place is not ready before it knows what this node needs") {
    warm_up w;
    CHECK_FALSE(w.missing({}, start + 1h).empty());
    w.begin(start + 1h);
    CHECK(w.missing({}, start + 1h).empty());
}

TEST_CASE("a process that was ready once does not wait for what comes later") {
    auto w = begun();
    CHECK(w.missing({.fresh = 1}, start).empty());
    CHECK(w.missing({.pending = 1, .fresh = 1}, start).empty());
}

TEST_CASE("credentials that nobody gets hold up an update for ten seconds") {
    for (const auto& c : {counts{.pending = 1, .fresh = 1}, counts{.fresh = 1, .failed = 1, .unanswered = 1},
                          counts{.failed = 2, .refused = 1, .unanswered = 1}, counts{.failed = 1}}) {
        auto w = begun();
        CHECK_FALSE(w.missing(c, start + 10s - 1ns).empty());
        CHECK(w.missing(c, start + 10s).empty());
    }
}

TEST_CASE("while STS answers nobody, who has credentials is not replaced by who has none, for five minutes") {
    for (const auto& c : {counts{.pending = 2}, counts{.failed = 2, .unanswered = 2},
                          counts{.pending = 1, .failed = 1, .unanswered = 1}}) {
        auto w = begun();
        CHECK_FALSE(w.missing(c, start + 5min - 1ns).empty());
        CHECK(w.missing(c, start + 5min).empty());
    }
}

} // namespace credlet::app
