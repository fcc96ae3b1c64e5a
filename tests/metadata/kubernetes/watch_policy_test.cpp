#include "metadata/kubernetes/watch_policy.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::metadata::kubernetes;
using namespace std::chrono_literals;

namespace {

api_error status(unsigned code, std::string reason = "") {
    return error_of_status(code,
                           R"({"kind":"Status","message":"m","reason":")" + reason + R"(","code":)" +
                               std::to_string(code) + "}",
                           std::nullopt);
}

// Always in the middle of the range.
class middle final : public random_source {
public:
    std::uint64_t next() override { return std::uint64_t{1} << 63; }
};

} // namespace

TEST_CASE("every way a list or watch can fail has its class") {
    struct row {
        api_error problem;
        watch_end end;
        const char* reason;
    };
    auto ahead = status(504, "Timeout");
    ahead.version_too_large = true;
    const row table[] = {
        {status(410, "Gone"), watch_end::expired, "expired"},
        {status(500, "Expired"), watch_end::expired, "expired"},
        {status(429), watch_end::throttled, "throttled"},
        {status(503), watch_end::unavailable, "unavailable"},
        {status(500), watch_end::unavailable, "unavailable"},
        {status(504), watch_end::unavailable, "unavailable"},
        {ahead, watch_end::version_ahead, "unavailable"},
        {status(401), watch_end::unauthorized, "denied"},
        {status(403), watch_end::forbidden, "denied"},
        {status(400), watch_end::refused, "other"},
        {status(404), watch_end::refused, "other"},
        {status(302), watch_end::undecodable, "decode"},
        {error_of_transport(fail(errc::connection_lost, "")), watch_end::connection, "connection"},
        {error_of_transport(fail(errc::connect_failed, "")), watch_end::connection, "connection"},
        {error_of_transport(fail(errc::resolve_failed, "")), watch_end::connection, "connection"},
        {error_of_transport(fail(errc::tls_failed, "")), watch_end::connection, "connection"},
        {error_of_transport(fail(errc::timed_out, "")), watch_end::connection, "connection"},
        {error_of_transport(fail(errc::overloaded, "")), watch_end::connection, "connection"},
        {error_of_transport(fail(errc::malformed, "")), watch_end::undecodable, "decode"},
        {error_of_transport(fail(errc::too_large, "")), watch_end::undecodable, "decode"},
    };
    for (const auto& r : table) {
        CAPTURE(r.problem.status);
        CAPTURE(to_string(r.problem.kind));
        CHECK(end_of(r.problem) == r.end);
        CHECK(reason_of(end_of(r.problem)) == r.reason);
    }
    CHECK(reason_of(watch_end::closed) == "closed");
    CHECK(reason_of(watch_end::silent) == "idle");
}

TEST_CASE("F27: a watch that is closed after its time is resumed at once, without a list") {
    seeded_random random(1);
    watch_policy policy(random);
    for (int i = 0; i < 100; ++i) {
        const auto step = policy.after(watch_end::closed, true, 300s, {});
        CHECK_FALSE(step.relist);
        CHECK(step.delay == 0ms);
    }
}

TEST_CASE("F27: a server that closes every watch at once is not asked without pause") {
    middle random;
    watch_policy policy(random);
    CHECK(policy.after(watch_end::closed, true, 10ms, {}).delay == 400ms);
    CHECK(policy.after(watch_end::closed, true, 10ms, {}).delay == 800ms);
    CHECK_FALSE(policy.after(watch_end::closed, true, 10ms, {}).relist);
}

TEST_CASE("F21: an expired version is listed anew at once, and with backoff if that does not help") {
    middle random;
    watch_policy policy(random);
    auto step = policy.after(watch_end::expired, true, 60s, {});
    CHECK(step.relist);
    CHECK(step.delay == 0ms);
    step = policy.after(watch_end::expired, true, 0s, {});
    CHECK(step.relist);
    CHECK(step.delay == 800ms);
    step = policy.after(watch_end::expired, true, 60s, {}); // was healthy in between
    CHECK(step.delay == 0ms);
}

TEST_CASE("F21: a version that expired while the API server was away is listed anew at once, too") {
    for (const auto end : {watch_end::expired, watch_end::undecodable}) {
        middle random;
        watch_policy policy(random);
        for (int i = 0; i < 8; ++i)
            policy.after(watch_end::connection, true, 0s, {});
        auto step = policy.after(end, true, 0s, {});
        CHECK(step.relist);
        CHECK(step.delay == 0ms);
        CHECK(policy.after(end, true, 0s, {}).delay == 800ms); // that did not help
        CHECK(policy.after(watch_end::connection, true, 0s, {}).delay == 15s);
        CHECK(policy.after(end, true, 0s, {}).delay == 0ms); // something else happened in between
    }
}

TEST_CASE("F24: what could not be understood is listed anew") {
    middle random;
    watch_policy policy(random);
    auto step = policy.after(watch_end::undecodable, true, 5s, {});
    CHECK(step.relist);
    CHECK(step.delay == 0ms);
    CHECK(policy.after(watch_end::undecodable, true, 5s, {}).delay == 800ms);
}

TEST_CASE("F20: a lost connection is resumed with backoff from 800 ms doubled to 30 s, full jitter") {
    middle random;
    watch_policy policy(random);
    std::vector<std::int64_t> delays;
    for (int i = 0; i < 8; ++i) {
        const auto step = policy.after(watch_end::connection, true, 0s, {});
        CHECK_FALSE(step.relist);
        delays.push_back(step.delay.count());
    }
    CHECK(delays == std::vector<std::int64_t>{400, 800, 1600, 3200, 6400, 12800, 15000, 15000});
    CHECK(policy.after(watch_end::connection, true, 10s, {}).delay == 400ms); // reset by a healthy watch

    seeded_random seeded(7);
    watch_policy jittered(seeded);
    for (int i = 0; i < 10000; ++i)
        CHECK(jittered.after(watch_end::connection, true, 0s, {}).delay < 30s);
}

TEST_CASE("F19: while there was no list yet, everything leads to a list") {
    seeded_random random(3);
    watch_policy policy(random);
    for (const auto end :
         {watch_end::closed, watch_end::connection, watch_end::silent, watch_end::expired,
          watch_end::throttled, watch_end::unavailable, watch_end::unauthorized, watch_end::forbidden,
          watch_end::version_ahead, watch_end::undecodable, watch_end::refused})
        CHECK(policy.after(end, false, 0s, {}).relist);
}

TEST_CASE(
    "F22: Retry-After is obeyed, with up to a second of jitter and a bound, and nothing is listed anew") {
    seeded_random random(5);
    for (const auto end : {watch_end::throttled, watch_end::unavailable}) {
        for (int i = 0; i < 100; ++i) {
            watch_policy policy(random);
            const auto step = policy.after(end, true, 0s, 3s);
            CHECK_FALSE(step.relist);
            CHECK(step.delay >= 3s);
            CHECK(step.delay < 4s);
            CHECK(policy.after(end, true, 0s, 24h).delay <= 61s);
        }
    }
    middle half;
    watch_policy without(half);
    CHECK(without.after(watch_end::throttled, true, 0s, {}).delay == 400ms);
}

TEST_CASE("F23: 401 and 403 are tried again with backoff, the version is kept") {
    middle random;
    watch_policy policy(random);
    auto step = policy.after(watch_end::unauthorized, true, 0s, {});
    CHECK_FALSE(step.relist);
    CHECK(step.delay < 1s);
    step = policy.after(watch_end::forbidden, true, 0s, {});
    CHECK_FALSE(step.relist);
    CHECK(step.delay == 800ms);
}

TEST_CASE("F26: a silent watch is resumed at once") {
    seeded_random random(1);
    watch_policy policy(random);
    const auto step = policy.after(watch_end::silent, true, 40s, {});
    CHECK_FALSE(step.relist);
    CHECK(step.delay == 0ms);
}

TEST_CASE("a server that lags is waited for; after three times in a row the version is given up") {
    seeded_random random(1);
    watch_policy policy(random);
    CHECK_FALSE(policy.after(watch_end::version_ahead, true, 0s, 1s).relist);
    CHECK_FALSE(policy.after(watch_end::version_ahead, true, 0s, 1s).relist);
    const auto third = policy.after(watch_end::version_ahead, true, 0s, 1s);
    CHECK(third.relist);
    CHECK(third.delay >= 1s);
    CHECK_FALSE(policy.after(watch_end::version_ahead, true, 0s, 1s).relist);
    policy.after(watch_end::closed, true, 60s, {}); // not in a row
    CHECK_FALSE(policy.after(watch_end::version_ahead, true, 0s, 1s).relist);
    CHECK_FALSE(policy.after(watch_end::version_ahead, true, 0s, 1s).relist);
}

TEST_CASE("a version at which the server fails three times in a row is given up, unless events came") {
    seeded_random random(1);
    watch_policy policy(random);
    CHECK_FALSE(policy.after(watch_end::unavailable, true, 0s, {}).relist);
    CHECK_FALSE(policy.after(watch_end::unavailable, true, 20s, {}).relist);
    CHECK(policy.after(watch_end::unavailable, true, 0s, 1s).relist);
    CHECK_FALSE(policy.after(watch_end::unavailable, true, 0s, {}).relist); // counted from the start
    CHECK_FALSE(policy.after(watch_end::unavailable, true, 0s, {}).relist);
    policy.event_taken(); // the version is another one
    CHECK_FALSE(policy.after(watch_end::unavailable, true, 0s, {}).relist);
    CHECK_FALSE(policy.after(watch_end::unavailable, true, 0s, {}).relist);
    policy.after(watch_end::connection, true, 0s, {}); // not in a row
    CHECK_FALSE(policy.after(watch_end::unavailable, true, 0s, {}).relist);
}
