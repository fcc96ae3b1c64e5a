#include "sts/credential_store.hpp"
#include "tests/support/store_simulation.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

using namespace credlet;
using namespace credlet::sts;
using namespace credlet::test;
using namespace std::chrono_literals;
using kind = failure_kind;

namespace {

std::size_t reported(credential_store& store, const credential_spec& spec) {
    const auto changed = store.take_changed();
    return static_cast<std::size_t>(std::count(changed.begin(), changed.end(), spec.key()));
}

} // namespace

TEST_CASE("what nobody retains is absent, and no demand makes a call for it") {
    store_simulation w;
    const auto web = spec_for("web");
    w.demand(web, 1h);
    w.run_for(1h);
    CHECK(w.calls.empty());
    CHECK(w.lookup(web).state == entry_state::absent);
    CHECK_FALSE(w.store.next_due(w.now()));
}

TEST_CASE("retaining prefetches after the delay, not before") {
    store_simulation w;
    const auto web = spec_for("web");
    w.retain(web, 4s);
    CHECK(w.lookup(web).state == entry_state::pending);
    w.run_for(4s - 1ns);
    CHECK(w.calls.empty());
    w.run_for(1ns);
    REQUIRE(w.calls.size() == 1);
    CHECK(w.calls[0].what.reason == call_reason::prefetch);
    CHECK(w.lookup(web).state == entry_state::pending);
    w.run_for(100ms);
    REQUIRE(w.lookup(web).usable);
    CHECK(w.lookup(web).state == entry_state::fresh);
    CHECK(w.lookup(web).usable->access_key_id == access_key_of(web.key()));
}

TEST_CASE("a demand does not wait for the prefetch delay") {
    store_simulation w;
    const auto web = spec_for("web");
    w.retain(web, 10s);
    w.demand(web, 5s);
    w.run_for(0s);
    REQUIRE(w.calls.size() == 1);
    CHECK(w.calls[0].what.reason == call_reason::demand);
}

TEST_CASE("a second retain, with another session name, leaves the first in force") {
    store_simulation w;
    auto web = spec_for("web");
    w.retain(web);
    web.session_name = "another";
    w.retain(web);
    w.run_for(1s);
    REQUIRE(w.calls.size() == 1);
    CHECK(w.calls[0].what.spec->session_name == "default.web.node-1");
}

TEST_CASE("F35: one call at a time for a key, however many wait for it") {
    store_simulation w;
    w.latency = 10s;
    const auto web = spec_for("web");
    w.retain(web);
    for (int i = 0; i < 1000; ++i) {
        w.demand(web, 5s);
        w.run_for(9ms);
    }
    CHECK(w.calls.size() == 1);
    w.run_for(2s);
    CHECK(w.lookup(web).usable);
    CHECK(w.calls.size() == 1);
}

TEST_CASE("T30: whatever makes credentials different makes a call and an answer of its own") {
    store_simulation w;
    std::vector<credential_spec> specs(8, spec_for("web"));
    specs[1].service_account_uid = "uid-of-another";
    specs[2].external_id = "tenant-7";
    specs[3].audience = "other-audience";
    specs[4].duration = 900s;
    specs[5].pod_uid = "pod-1";
    specs[6].target_role_arn = "arn:aws:iam::123456789012:role/target";
    specs[7].role_arn = "arn:aws:iam::123456789012:role/webmaster";
    for (const auto& s : specs)
        w.retain(s);
    w.run_for(1s);
    CHECK(w.calls.size() == specs.size());
    for (const auto& s : specs) {
        REQUIRE(w.lookup(s).usable);
        CHECK(w.lookup(s).usable->access_key_id == access_key_of(s.key()));
    }
}

TEST_CASE("credentials are dropped with the release and never renewed again") {
    store_simulation w;
    const auto web = spec_for("web");
    w.retain(web);
    w.run_for(1s);
    std::weak_ptr<const credentials> held = w.lookup(web).usable;
    w.store.take_changed();
    w.store.release(web.key(), w.now());
    CHECK(held.expired());
    CHECK(w.lookup(web).state == entry_state::absent);
    CHECK(reported(w.store, web) == 1);
    w.store.release(web.key(), w.now()); // one too many harms nothing
    w.run_for(24h);
    CHECK(w.calls.size() == 1);
    CHECK_FALSE(w.store.next_due(w.now()));
}

TEST_CASE("credentials being read outlive the drop until the reader lets go") {
    store_simulation w;
    const auto web = spec_for("web");
    w.retain(web);
    w.run_for(1s);
    auto reader = w.lookup(web).usable;
    w.store.release(web.key(), w.now());
    CHECK(reader->secret_access_key.reveal() == "secret-of-" + reader->access_key_id);
    std::weak_ptr<const credentials> held = reader;
    reader.reset();
    CHECK(held.expired());
}

TEST_CASE("F33: what a call brings for a key released meanwhile is thrown away") {
    store_simulation w;
    const auto web = spec_for("web");
    w.retain(web);
    w.run_for(50ms);
    REQUIRE(w.calls.size() == 1);
    w.store.release(web.key(), w.now());
    w.run_for(1h);
    CHECK(w.lookup(web).state == entry_state::absent);
    CHECK(w.calls.size() == 1);
}

TEST_CASE("F33: a key retained again adopts the call still in flight instead of starting a second") {
    store_simulation w;
    const auto web = spec_for("web");
    w.retain(web);
    w.run_for(50ms);
    w.store.release(web.key(), w.now());
    w.retain(web);
    w.demand(web, 5s);
    w.run_for(50ms);
    CHECK(w.lookup(web).usable);
    w.run_for(10min);
    CHECK(w.calls.size() == 1);
}

TEST_CASE("F34: a caller who stops waiting does not disturb the call") {
    store_simulation w;
    w.latency = 3s;
    const auto web = spec_for("web");
    w.retain(web);
    w.demand(web, 100ms);
    w.run_for(3s); // nobody waits any more
    CHECK(w.lookup(web).usable);
    CHECK(w.calls.size() == 1);
}

TEST_CASE("F4: a slow STS is waited for, and its answer serves whoever asks next") {
    store_simulation w;
    w.latency = 2s;
    const auto web = spec_for("web");
    w.retain(web);
    w.demand(web, 900ms);
    w.run_for(1s);
    CHECK_FALSE(w.lookup(web).usable);
    w.demand(web, 900ms);
    w.run_for(1s);
    CHECK(w.lookup(web).usable);
    CHECK(w.calls.size() == 1);
}

TEST_CASE("an unknown, repeated or late result is ignored") {
    store_simulation w;
    const auto web = spec_for("web");
    w.store.finish(0, failing(kind::denied), w.now());
    w.store.finish(77, failing(kind::denied), w.now());
    w.retain(web);
    w.run_for(1s);
    w.store.finish(w.calls[0].what.id, failing(kind::denied), w.now());
    CHECK(w.lookup(web).state == entry_state::fresh);
}

TEST_CASE("credentials are renewed once at 50 % of their life, more or less 10 %, spread evenly") {
    store_simulation w;
    std::vector<credential_spec> specs;
    for (int i = 0; i < 200; ++i)
        specs.push_back(spec_for("sa" + std::to_string(i)));
    for (const auto& s : specs)
        w.retain(s);
    w.run_for(5s);
    REQUIRE(w.calls.size() == 200);
    std::map<credential_key, boot_time> fetched;
    for (const auto& s : specs)
        fetched[s.key()] = w.lookup(s).usable->fetched;
    w.calls.clear();
    w.run_for(40min);
    REQUIRE(w.calls.size() == 200);
    int early = 0;
    for (const auto& c : w.calls) {
        CHECK(c.what.reason == call_reason::renewal);
        const auto age = c.when - fetched[c.what.key];
        CHECK(age >= 24min);
        CHECK(age < 36min + 1s);
        early += age < 30min ? 1 : 0;
    }
    CHECK(early > 70);
    CHECK(early < 130);
}

TEST_CASE("an idle store is woken for nothing but the next renewal") {
    store_simulation w;
    const auto web = spec_for("web");
    w.retain(web);
    w.run_for(1s);
    unsigned wake_ups = 0;
    w.check = [&] { ++wake_ups; };
    w.run_for(23min);
    CHECK(wake_ups <= 1);
    CHECK(w.store.next_due(w.now()).value() >= w.calls[0].when + 24min);
}

TEST_CASE("F37: renewal fails until expiry: served until exactly 60 s are left, then nothing, never blank") {
    failing_store w(failing(kind::transient));
    const auto web = spec_for("web");
    w.warm(web);
    const auto issued = w.lookup(web).usable;
    const auto line = issued->expires - 60s;
    w.check = [&] {
        const auto known = w.lookup(web);
        if ((known.usable != nullptr) != (w.now() < line))
            FAIL("served on the wrong side of the line");
        if (known.usable && known.usable != issued)
            FAIL("something else was served");
    };
    w.run_until(line - 1ns);
    CHECK(w.lookup(web).state == entry_state::stale);
    CHECK(w.lookup(web).usable);
    w.store.take_changed();
    w.run_until(line);
    CHECK_FALSE(w.lookup(web).usable);
    CHECK(w.lookup(web).state == entry_state::failed);
    CHECK(reported(w.store, web) == 1);
    w.run_for(1h);
    // Background attempts are at most a minute apart, half of it on average: no hammering, no giving up.
    CHECK(w.calls.size() > 90);
    CHECK(w.calls.size() < 300);
}

TEST_CASE("F37: credentials in their last minute are let go, not only hidden") {
    failing_store w(failing(kind::transient));
    const auto web = spec_for("web");
    w.warm(web);
    std::weak_ptr<const credentials> held = w.lookup(web).usable;
    w.run_for(59min);
    CHECK(held.expired());
}

TEST_CASE("F37: once STS is back, whoever asks is served within 5 s, even after two hours") {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        failing_store w(failing(kind::transient), seed);
        const auto web = spec_for("web");
        w.warm(web);
        w.run_for(2h);
        w.healthy = true;
        const auto healed = w.now();
        w.demand(web, 10s);
        w.run_until(healed + 10s, [&] { return w.lookup(web).usable != nullptr; });
        CHECK(w.now() - healed <= 5s + w.latency);
    }
}

TEST_CASE("F10: credentials that have expired or are about to are refused") {
    for (const auto life : {-3600s, 0s, 30s, 60s}) {
        store_simulation w;
        w.answer = [&](const call& c) { return issued_for(*c.spec, w.time, life); };
        const auto web = spec_for("web");
        w.retain(web);
        w.run_for(100ms);
        CHECK_FALSE(w.lookup(web).usable);
        CHECK(w.lookup(web).state == entry_state::failed);
        REQUIRE(w.lookup(web).problem);
        CHECK(w.lookup(web).problem->code == "ExpiredCredentials");
        CHECK_FALSE(w.lookup(web).problem_is_definitive);
    }
}

TEST_CASE("F10: short-lived credentials are served and refetched every 30 s, not more often") {
    store_simulation w;
    auto life = 300s;
    w.answer = [&](const call& c) { return issued_for(*c.spec, w.time, life); };
    const auto web = spec_for("web");
    w.retain(web);
    w.run_for(1s);
    CHECK(w.lookup(web).usable);
    w.run_for(10min);
    CHECK(w.calls.size() == 20);
    for (std::size_t i = 1; i < w.calls.size(); ++i)
        CHECK(w.calls[i].when - w.calls[i - 1].when >= 30s);
    // Half a minute after STS is well again, so are they.
    life = 3600s;
    w.run_for(30s + w.latency);
    CHECK(w.lookup(web).usable->expires - w.now() > 59min);
}

TEST_CASE("F10: who waits for credentials of a life too short for 30 s gets new ones, but not in a hurry") {
    struct expected {
        std::chrono::seconds life, between_calls;
    };
    // 10 s to serve them, or 1 s: as long as they last, but no shorter than a failure would make callers
    // wait.
    for (const auto& [life, between_calls] : {expected{70s, 10s}, expected{61s, 5s}}) {
        store_simulation w;
        w.answer = [&, short_life = life](const call& c) { return issued_for(*c.spec, w.time, short_life); };
        const auto web = spec_for("web");
        w.retain(web);
        for (int i = 0; i < 3000; ++i) {
            w.demand(web, 5s);
            w.run_for(100ms);
        }
        CHECK(w.calls.size() >= 25);
        for (std::size_t i = 1; i < w.calls.size(); ++i) {
            const auto gap = w.calls[i].when - w.calls[i - 1].when;
            CHECK(gap >= between_calls);
            CHECK(gap <= between_calls + 2 * w.latency + 100ms);
        }
        // Nobody asking, it is 30 s again.
        w.calls.clear();
        w.run_for(5min);
        CHECK(w.calls.size() <= 11);
    }
}

TEST_CASE("F10: the 15 minutes of the shortest session are not short-lived, dates being whole seconds") {
    store_simulation w;
    w.answer = [&](const call& c) { return issued_for(*c.spec, w.time, 898s); };
    const auto web = spec_for("web");
    w.retain(web);
    w.run_for(5min);
    CHECK(w.calls.size() == 1);
}

TEST_CASE("F10: credentials that expire sooner do not replace those in hand") {
    store_simulation w;
    auto life = 3600s;
    w.answer = [&](const call& c) { return issued_for(*c.spec, w.time, life); };
    const auto web = spec_for("web");
    w.retain(web);
    w.run_for(1s);
    const auto first = w.lookup(web).usable;
    life = 65s;
    w.run_for(40min);
    CHECK(w.calls.size() > 1);
    CHECK(w.lookup(web).usable == first);
}

TEST_CASE("states tell pending, fresh, renewing, stale and failed apart, and are counted") {
    failing_store w(failing(kind::transient));
    const auto web = spec_for("web");
    const auto state = [&] { return w.lookup(web).state; };
    w.latency = 2s;
    w.retain(web);
    w.run_for(1s);
    CHECK(state() == entry_state::pending);
    w.run_for(1s);
    CHECK(state() == entry_state::failed);
    CHECK(w.store.count(w.now()).failed == 1);
    w.healthy = true;
    w.run_for(10s);
    CHECK(state() == entry_state::fresh);
    CHECK(w.store.count(w.now()).fresh == 1);
    w.healthy = false;
    const auto due = w.store.next_due(w.now()).value();
    w.run_until(due - 1ns);
    CHECK(state() == entry_state::fresh);
    w.run_until(due);
    CHECK(state() == entry_state::renewing);
    CHECK(w.store.count(w.now()).renewing == 1);
    w.run_for(2s);
    CHECK(state() == entry_state::stale);
    CHECK(w.store.count(w.now()).stale == 1);
    w.healthy = true;
    w.run_for(10s);
    CHECK(state() == entry_state::fresh);
    CHECK_FALSE(w.lookup(web).problem);
}

TEST_CASE("changes are reported once each, those that time brings too") {
    store_simulation w;
    const auto web = spec_for("web");
    w.retain(web);
    CHECK(reported(w.store, web) == 1);
    CHECK(reported(w.store, web) == 0);
    w.run_for(1s);
    CHECK(reported(w.store, web) == 1);
    w.run_for(10min);
    CHECK(reported(w.store, web) == 0);
    w.retain(web); // nothing new can be said about it
    w.demand(web, 1s);
    w.run_for(1s);
    CHECK(reported(w.store, web) == 0);
}
