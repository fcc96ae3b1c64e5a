#include "sts/backoff.hpp"
#include "sts/call_governor.hpp"

#include <doctest/doctest.h>

#include <vector>

using namespace credlet;
using namespace credlet::sts;
using namespace std::chrono_literals;

namespace {

constexpr boot_time start{1h};

// Starts as many calls as there is leave for, which end at once and well.
std::size_t calls_at(call_governor& g, boot_time now) {
    std::size_t n = 0;
    while (g.try_start(now, 1)) {
        g.finished(now, false, now);
        ++n;
    }
    return n;
}

void throttle(call_governor& g, boot_time now) {
    REQUIRE(g.try_start(now, 1));
    g.finished(now, true, now);
}

} // namespace

TEST_CASE("the burst may be used at once, then calls come at the sustained rate") {
    call_governor g({});
    CHECK(calls_at(g, start) == 200);
    CHECK(calls_at(g, start + 49ms) == 0);
    CHECK(calls_at(g, start + 50ms) == 1);
    CHECK(calls_at(g, start + 1050ms) == 20);
    CHECK(calls_at(g, start + 1h) == 200); // saved up, but no more than the burst
}

TEST_CASE("next_start is when try_start succeeds, neither sooner nor much later") {
    call_governor g({});
    CHECK(g.next_start(start) == start);
    calls_at(g, start);
    const auto next = g.next_start(start + 10ms);
    REQUIRE(next);
    CHECK(*next >= start + 50ms);
    CHECK(*next <= start + 50ms + 1us);
    CHECK_FALSE(g.try_start(*next - 1us, 1));
    CHECK(g.try_start(*next, 1));
}

TEST_CASE("no more calls are in flight than allowed, and only an end makes room") {
    call_governor g({});
    for (int i = 0; i < 16; ++i)
        REQUIRE(g.try_start(start, 1));
    CHECK_FALSE(g.try_start(start, 1));
    CHECK_FALSE(g.next_start(start));
    CHECK_FALSE(g.try_start(start + 1h, 1));
    g.finished(start, false, start + 1h);
    CHECK(g.try_start(start + 1h, 1));
}

TEST_CASE("F2: throttling halves the rate and forfeits the burst") {
    call_governor g({});
    throttle(g, start);
    CHECK(g.allowed_rate(start) == doctest::Approx(10));
    CHECK_FALSE(g.try_start(start, 1));
    CHECK(calls_at(g, start + 100ms) == 1);
}

TEST_CASE("F2: throttled calls of one round halve the rate once") {
    call_governor g({});
    for (int i = 0; i < 16; ++i)
        REQUIRE(g.try_start(start, 1));
    for (int i = 0; i < 16; ++i)
        g.finished(start, true, start + 100ms);
    CHECK(g.allowed_rate(start + 100ms) == doctest::Approx(10));
    const auto later = start + 200ms;
    throttle(g, later);                                   // a call of the next round
    CHECK(g.allowed_rate(later) == doctest::Approx(5.1)); // half of 10 and what had recovered
}

TEST_CASE("F2: the rate never falls below its floor") {
    call_governor g({});
    auto now = start;
    for (int i = 0; i < 20; ++i) {
        const auto next = g.next_start(now);
        REQUIRE(next);
        now = *next;
        if (g.try_start(now, 1))
            g.finished(now, true, now);
        CHECK(g.allowed_rate(now) >= 0.5);
    }
    CHECK(g.allowed_rate(now) < 2);
}

TEST_CASE("F2: the rate recovers gradually, carefully where it was throttled, and wholly within 30 s") {
    call_governor g({});
    throttle(g, start);
    CHECK(g.allowed_rate(start + 1s) == doctest::Approx(12)); // 10 % of 20 in a second
    CHECK(g.allowed_rate(start + 3s) == doctest::Approx(16));
    CHECK(g.allowed_rate(start + 4s) == doctest::Approx(16.2));
    double last = 0;
    for (auto t = start; t < start + 30s; t += 10ms) {
        const double rate = g.allowed_rate(t);
        CHECK(rate >= last);
        last = rate;
    }
    CHECK(last == doctest::Approx(20));

    call_governor throttled_for_long({});
    auto now = start;
    while (now < start + 60s) {
        now = throttled_for_long.next_start(now).value();
        if (throttled_for_long.try_start(now, 1))
            throttled_for_long.finished(now, true, now);
    }
    CHECK(throttled_for_long.allowed_rate(now) < 2);
    CHECK(throttled_for_long.allowed_rate(now + 30s) == doctest::Approx(20));
}

TEST_CASE("while the rate is cut no burst is saved up, and after recovery it is again") {
    call_governor g({});
    throttle(g, start);
    CHECK(calls_at(g, start + 5s) <= 17);
    calls_at(g, start + 20s);
    CHECK(g.allowed_rate(start + 20s) == doctest::Approx(20));
    CHECK(calls_at(g, start + 40s) == 200);
}

TEST_CASE("an attempt takes leave for all its calls, and what it owes comes first") {
    call_governor g({.calls_per_second = 20, .burst = 5});
    REQUIRE(g.try_start(start, 2));
    REQUIRE(g.try_start(start, 2));
    REQUIRE(g.try_start(start, 2)); // the last one there is, and one on credit
    CHECK_FALSE(g.try_start(start, 1));
    CHECK_FALSE(g.try_start(start + 99ms, 1));
    CHECK(g.next_start(start).value() - (start + 100ms) <= 1us);
    CHECK(g.try_start(start + 100ms, 1));
}

TEST_CASE("calls beyond those that leave was taken for are charged, calls not made are given back") {
    call_governor g({});
    REQUIRE(calls_at(g, start) == 200);
    g.charge(10, start);
    CHECK(calls_at(g, start + 500ms) == 0);
    CHECK(calls_at(g, start + 550ms) == 1);
    g.charge(-3, start + 550ms);
    CHECK(calls_at(g, start + 550ms) == 3);
    g.charge(-1000, start + 550ms);
    CHECK(calls_at(g, start + 550ms) == 200); // never more than the burst
}

TEST_CASE("F2: throttling forgives no debt") {
    call_governor g({});
    REQUIRE(g.try_start(start, 1));
    g.charge(209, start);
    g.finished(start, true, start);
    CHECK_FALSE(g.try_start(start + 900ms, 1));
    CHECK(calls_at(g, start + 1100ms) == 1);
}

TEST_CASE("a look back in time changes nothing") {
    call_governor g({});
    calls_at(g, start + 10s);
    CHECK_FALSE(g.try_start(start, 1));
    CHECK(calls_at(g, start + 10s + 50ms) == 1);
}

TEST_CASE("full jitter draws from the whole of a bound that doubles up to its maximum") {
    seeded_random random(7);
    const std::vector<std::chrono::nanoseconds> bounds{100ms,  200ms, 400ms, 800ms, 1600ms,
                                                       3200ms, 5s,    5s,    5s};
    for (unsigned failures = 1; failures <= bounds.size(); ++failures) {
        const auto bound = bounds[failures - 1];
        std::chrono::nanoseconds lowest = 1h, highest{};
        for (int i = 0; i < 2000; ++i) {
            const auto d = full_jitter(100ms, 5s, failures, random);
            lowest = std::min(lowest, d);
            highest = std::max(highest, d);
        }
        CHECK(lowest >= 0ns);
        CHECK(lowest < bound / 50);
        CHECK(highest < bound);
        CHECK(highest > bound - bound / 50);
    }
    CHECK(full_jitter(100ms, 5s, 4'000'000'000U, random) < 5s);
    CHECK(full_jitter(10s, 5s, 1, random) < 5s);
}
