// What the store does when calls fail: backoff, memory of denials, second opinions, order and limits of
// calls.

#include "tests/support/store_simulation.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace credlet;
using namespace credlet::sts;
using namespace credlet::test;
using namespace std::chrono_literals;
using kind = failure_kind;

namespace {

// STS is in trouble for a minute: who asks waits and is served soon after; what is warm is served throughout.
void survives(const failure& trouble) {
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        failing_store w(trouble, seed);
        const auto cold = spec_for("cold"), warm = spec_for("warm");
        w.warm(warm);
        w.run_for(40min); // its renewal fails
        CHECK(w.lookup(warm).usable);
        CHECK(w.lookup(warm).state == entry_state::stale);
        w.calls.clear();
        w.retain(cold);
        for (int i = 0; i < 12; ++i) {
            w.demand(cold, 5s);
            w.run_for(5s);
            const auto known = w.lookup(cold);
            CHECK_FALSE(known.usable);
            CHECK(known.state == entry_state::failed);
            CHECK_FALSE(known.problem_is_definitive); // waiting may help
            CHECK(known.problem->code == trouble.code);
            CHECK(w.lookup(warm).usable);
        }
        const auto tries = static_cast<std::size_t>(std::count_if(
            w.calls.begin(), w.calls.end(), [&](const auto& c) { return c.what.key == cold.key(); }));
        CHECK(tries >= 15); // about every 2.5 s in the end
        CHECK(tries <= 60);
        w.healthy = true;
        const auto healed = w.now();
        w.demand(cold, 10s);
        w.run_until(healed + 10s, [&] { return w.lookup(cold).usable != nullptr; });
        CHECK(w.now() - healed <= 5s + w.latency);
        w.run_for(61s);
        CHECK(w.lookup(warm).state == entry_state::fresh);
    }
}

} // namespace

TEST_CASE("F1: STS answers 5xx for a minute") { survives(failing(kind::transient, "InternalFailure")); }
TEST_CASE("F3: STS never answers") { survives(failing(kind::transient, "Timeout")); }
TEST_CASE("F5: connections to STS are reset") { survives(failing(kind::transient, "ConnectionLost")); }
TEST_CASE("F13: STS cannot reach the identity provider") {
    survives(failing(kind::transient, "IDPCommunicationError"));
}
TEST_CASE("F31: the token source fails for a minute") { survives(failing(kind::no_token, "NoToken")); }
TEST_CASE("a cancelled call is tried again like any that failed") {
    survives(failing(kind::cancelled, "Cancelled"));
}

TEST_CASE("failures are counted as refused, as unanswered, or as neither while nobody has given a token") {
    auto refused_by_kubernetes = failing(kind::no_token);
    refused_by_kubernetes.definitive = true;
    const std::vector<std::pair<failure, credential_store::counts>> failures{
        {failing(kind::denied), {.failed = 1, .refused = 1}},
        {failing(kind::token_rejected), {.failed = 1, .refused = 1}},
        {failing(kind::misconfigured), {.failed = 1, .refused = 1}},
        {failing(kind::unusable), {.failed = 1, .refused = 1}},
        {refused_by_kubernetes, {.failed = 1, .refused = 1}},
        {failing(kind::no_token), {.failed = 1}},
        {failing(kind::transient), {.failed = 1, .unanswered = 1}},
        {failing(kind::throttled), {.failed = 1, .unanswered = 1}},
    };
    for (const auto& [problem, counted] : failures) {
        CAPTURE(to_string(problem.kind));
        store_simulation w;
        w.answer = [&problem](const call&) { return problem; };
        w.retain(spec_for("web"));
        CHECK(w.store.count(w.now()).pending == 1);
        w.run_for(w.latency);
        const auto c = w.store.count(w.now());
        CHECK(c.pending == 0);
        CHECK(c.failed == counted.failed);
        CHECK(c.refused == counted.refused);
        CHECK(c.unanswered == counted.unanswered);
    }
}

TEST_CASE("F1: a caller who waits 5 s is worth several tries, soon after each other at first") {
    unsigned total = 0;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        failing_store w(failing(kind::transient), seed);
        const auto web = spec_for("web");
        w.retain(web);
        w.demand(web, 5s);
        w.run_for(5s);
        CHECK(w.calls.size() >= 3);
        CHECK(w.calls[1].when - w.calls[0].when <= w.latency + 100ms);
        CHECK(w.calls[2].when - w.calls[1].when <= w.latency + 200ms);
        for (const auto& c : w.calls)
            CHECK(c.what.reason == call_reason::demand);
        total += static_cast<unsigned>(w.calls.size());
    }
    CHECK(total / 20 <= 10);
}

TEST_CASE("F1: no key is tried more than three times within any second, whatever fails and whoever asks") {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        store_simulation w(seed);
        w.latency = std::chrono::milliseconds(1 + seed * seed);
        w.answer = [&](const call&) -> outcome<credentials> {
            return failing(w.random.unit() < 0.8 ? kind::transient : kind::token_rejected);
        };
        const auto asked = spec_for("asked"), prefetched = spec_for("prefetched");
        w.retain(asked);
        w.retain(prefetched);
        for (int i = 0; i < 1000; ++i) {
            w.demand(asked, 5s);
            w.run_for(10ms);
        }
        std::map<credential_key, std::vector<boot_time>> tries;
        for (const auto& c : w.calls)
            tries[c.what.key].push_back(c.when);
        CHECK(tries[asked.key()].size() >= 4);
        for (const auto& [key, times] : tries)
            for (std::size_t i = 3; i < times.size(); ++i)
                CHECK(times[i] - times[i - 3] >= 1s);
    }
}

TEST_CASE("F1: who asks first does not pay for what failed while nobody did") {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        failing_store w(failing(kind::transient), seed);
        const auto web = spec_for("web");
        w.retain(web);
        w.run_for(10min);
        const auto failed = w.calls.back().when;
        w.run_until(w.now() + 2min, [&] { return w.calls.back().when > failed; });
        w.run_for(w.latency);
        w.calls.clear();
        w.demand(web, 5s); // the moment the last attempt has failed, as late as that may be
        w.run_for(w.latency);
        CHECK(w.calls.size() == 1);
        const auto second = w.now();
        w.demand(web, 5s); // the next one does: it is known to somebody that STS is in trouble
        w.run_for(5s);
        CHECK(w.calls.size() >= 2);
        CHECK(w.calls.size() <= 6);
        CHECK(w.calls[1].when > second);
    }
}

TEST_CASE("F2: who asks first waits all the same for as long as STS has said") {
    failing_store w(failing(kind::throttled, "Throttling"));
    w.with.retry_after = 8s;
    const auto web = spec_for("web");
    w.retain(web);
    w.run_for(w.latency);
    w.calls.clear();
    w.demand(web, 1min);
    w.run_for(8s - 1ns);
    CHECK(w.calls.empty());
    w.run_for(1ns);
    CHECK(w.calls.size() == 1);
}

TEST_CASE("nobody waiting, failures are retried within 1 s at first and within a minute in the end") {
    failing_store w(failing(kind::transient));
    w.retain(spec_for("web"));
    w.run_for(1h);
    REQUIRE(w.calls.size() > 60);
    auto longest = 0ns;
    for (std::size_t i = 1; i < w.calls.size(); ++i)
        longest = std::max<std::chrono::nanoseconds>(longest, w.calls[i].when - w.calls[i - 1].when);
    CHECK(w.calls[1].when - w.calls[0].when <= 1s + w.latency);
    CHECK(longest <= 60s + w.latency);
    CHECK(longest > 40s);
}

TEST_CASE("a caller cuts background backoff short, but not the backoff of callers") {
    failing_store w(failing(kind::transient));
    const auto web = spec_for("web");
    w.retain(web);
    w.run_for(1h);
    w.calls.clear();
    // Whoever asks, and however often: at most one attempt within what full jitter allows on average.
    for (int i = 0; i < 600; ++i) {
        w.demand(web, 100ms);
        w.run_for(100ms);
    }
    CHECK(w.calls.size() > 12);
    CHECK(w.calls.size() < 60);
    for (std::size_t i = 1; i < w.calls.size(); ++i)
        CHECK(w.calls[i].when - w.calls[i - 1].when <= 5s + w.latency + 100ms);
}

TEST_CASE("F2: Retry-After is waited for, also when somebody asks, but never longer than 30 s") {
    failing_store w(failing(kind::throttled, "Throttling"));
    w.with.retry_after = 8s;
    const auto web = spec_for("web");
    w.retain(web);
    w.demand(web, 1h);
    w.run_for(1min);
    REQUIRE(w.calls.size() >= 6);
    for (std::size_t i = 1; i < w.calls.size(); ++i)
        CHECK(w.calls[i].when - w.calls[i - 1].when >= 8s);
    w.with.retry_after = 24h;
    w.run_for(10s); // the next call is told so
    w.healthy = true;
    w.run_for(31s);
    CHECK(w.lookup(web).usable);
}

TEST_CASE("F14: a denial is remembered for 5 s: it is the answer, and starts no call") {
    failing_store w(failing(kind::denied, "AccessDenied"));
    const auto web = spec_for("web");
    w.retain(web);
    w.demand(web, 5s);
    w.run_for(w.latency);
    const auto known = w.lookup(web);
    CHECK(known.state == entry_state::failed);
    CHECK(known.problem_is_definitive);
    CHECK(known.problem->code == "AccessDenied");
    CHECK(known.problem_until == w.now() + 5s);
    const auto denied = w.now();
    while (w.now() < denied + 4900ms) {
        w.demand(web, 5s);
        w.run_for(100ms);
    }
    CHECK(w.calls.size() == 1);
    w.store.take_changed();
    w.run_until(denied + 5s);
    CHECK_FALSE(w.lookup(web).problem_is_definitive);
    CHECK(w.store.take_changed().size() == 1);
    w.healthy = true;
    w.demand(web, 5s);
    w.run_for(w.latency);
    CHECK(w.lookup(web).usable); // healed at the first question after that
    CHECK(w.calls.size() == 2);
}

TEST_CASE("F14: nobody asking, a denied key is tried about once a minute and heals unasked") {
    failing_store w(failing(kind::denied, "AccessDenied"));
    const auto web = spec_for("web");
    w.retain(web);
    w.run_for(1h);
    CHECK(w.calls.size() >= 60);
    CHECK(w.calls.size() <= 81);
    w.healthy = true;
    w.run_for(60s + w.latency);
    CHECK(w.lookup(web).usable);
}

TEST_CASE("F14: 200 denied keys that everybody asks for cost at most a call per key in 5 s") {
    failing_store w(failing(kind::denied, "AccessDenied"));
    std::vector<credential_spec> specs;
    for (int i = 0; i < 50; ++i)
        specs.push_back(spec_for("sa" + std::to_string(i)));
    for (const auto& s : specs)
        w.retain(s);
    for (int i = 0; i < 600; ++i) {
        for (const auto& s : specs)
            w.demand(s, 5s);
        w.run_for(100ms);
    }
    CHECK(w.calls.size() <= 50 * 12);
}

TEST_CASE("F14: warm credentials survive one denial and go with a second, 10 to 15 s later") {
    failing_store w(failing(kind::denied, "AccessDenied"));
    const auto web = spec_for("web");
    w.warm(web);
    w.run_until_renewed();
    CHECK(w.lookup(web).usable);
    CHECK(w.lookup(web).state == entry_state::stale);
    const auto first = w.now();
    std::weak_ptr<const credentials> held = w.lookup(web).usable;
    w.store.take_changed();
    w.run_until(first + 10s - 1ns);
    CHECK(w.calls.size() == 1);
    w.run_until(first + 15s + w.latency);
    CHECK(w.calls.size() == 2);
    CHECK(held.expired());
    CHECK(w.lookup(web).state == entry_state::failed);
    CHECK(w.lookup(web).problem_is_definitive);
    CHECK(w.store.take_changed().size() == 1);
}

TEST_CASE("T44: only a second denial, 10 s or more after the first, takes credentials away, whatever fails "
          "between") {
    unsigned taken = 0;
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
        store_simulation w(seed);
        const auto web = spec_for("web");
        std::optional<boot_time> first_denial;
        unsigned denials = 0;
        bool healthy = true;
        w.answer = [&](const call& c) -> outcome<credentials> {
            if (healthy)
                return issued_for(*c.spec, w.time);
            if (w.random.unit() < 0.6)
                return failing(kind::transient);
            if (++denials == 1)
                first_denial = w.now() + w.latency;
            return failing(kind::denied, "AccessDenied");
        };
        w.retain(web);
        w.run_for(1s);
        healthy = false;
        const auto line = w.lookup(web).usable->expires - 60s;
        w.run_until(line, [&] {
            w.demand(web, 5s); // makes no difference while there is something to serve
            return !w.lookup(web).usable;
        });
        if (w.now() == line)
            continue;
        ++taken;
        CHECK(denials >= 2);
        CHECK(w.now() - first_denial.value() >= 10s);
    }
    CHECK(taken > 40);
}

TEST_CASE("T44: a success between two denials makes the second a first one") {
    failing_store w(failing(kind::denied, "AccessDenied"));
    const auto web = spec_for("web");
    w.warm(web);
    w.run_until_renewed();
    w.healthy = true;
    w.run_for(16s);
    CHECK(w.lookup(web).state == entry_state::fresh);
    w.healthy = false;
    w.run_until_renewed();
    CHECK(w.lookup(web).state == entry_state::stale);
    CHECK(w.lookup(web).usable);
    w.run_for(16s);
    CHECK_FALSE(w.lookup(web).usable);
}

TEST_CASE("what says that we cannot ask properly, not that the role is not ours, takes nothing away") {
    auto no_token = failing(kind::no_token, "NoToken");
    no_token.definitive = true;
    for (const auto& f : {failing(kind::misconfigured, "ValidationError"), failing(kind::unusable),
                          failing(kind::token_rejected, "InvalidIdentityToken"), no_token}) {
        failing_store w(f);
        const auto web = spec_for("web");
        w.warm(web);
        const auto line = w.lookup(web).usable->expires - 60s;
        w.run_until(line - 1ns);
        CHECK(w.lookup(web).usable);
        CHECK(w.lookup(web).state == entry_state::stale);
        CHECK(w.calls.size() > 10);
        CHECK(w.calls.size() < 70);
        w.run_until(line);
        CHECK_FALSE(w.lookup(web).usable);
    }
}

TEST_CASE("F12: a rejected token is replaced at once, and only once") {
    failing_store w(failing(kind::token_rejected, "ExpiredTokenException"));
    const auto web = spec_for("web");
    w.retain(web);
    w.demand(web, 5s);
    w.run_for(w.latency);
    REQUIRE(w.calls.size() == 2);
    CHECK_FALSE(w.calls[0].what.fresh_token);
    CHECK(w.calls[1].what.fresh_token);
    CHECK_FALSE(w.lookup(web).problem_is_definitive);
    w.run_for(w.latency);
    CHECK(w.lookup(web).problem_is_definitive);
    const auto denied = w.now();
    while (w.now() < denied + 4900ms) {
        w.demand(web, 5s);
        w.run_for(100ms);
    }
    CHECK(w.calls.size() == 2);
    // One call per 5 s from then on, always with a new token.
    w.run_until(denied + 5s);
    w.demand(web, 5s);
    w.run_for(4s);
    REQUIRE(w.calls.size() == 3);
    CHECK(w.calls[2].what.fresh_token);
}

TEST_CASE("F12: a fresh token that STS takes ends the matter") {
    store_simulation w;
    const auto web = spec_for("web");
    w.answer = [&](const call& c) -> outcome<credentials> {
        if (!c.fresh_token)
            return failing(kind::token_rejected, "ExpiredTokenException");
        return issued_for(*c.spec, w.time);
    };
    w.retain(web);
    w.demand(web, 5s);
    w.run_for(2 * w.latency);
    CHECK(w.lookup(web).state == entry_state::fresh);
    CHECK(w.calls.size() == 2);
    w.run_for(36min); // and the next renewal starts with what is at hand again
    REQUIRE(w.calls.size() >= 3);
    CHECK_FALSE(w.calls[2].what.fresh_token);
}

TEST_CASE(
    "F12: where there is no other token, STS's rejection stands, and the same token is tried 5 s later") {
    store_simulation w;
    const auto web = spec_for("web");
    bool healthy = false;
    w.answer = [&](const call& c) -> outcome<credentials> {
        if (c.fresh_token) // as sources answer whose pods have one token until the kubelet rotates it
            return failing(kind::no_token, "NoToken");
        if (!healthy)
            return failing(kind::token_rejected, "InvalidIdentityToken");
        return issued_for(*c.spec, w.time);
    };
    w.retain(web);
    for (int i = 0; i < 600; ++i) {
        w.demand(web, 5s);
        w.run_for(100ms);
        if (i > 2)
            CHECK(w.lookup(web).problem->code == "InvalidIdentityToken");
    }
    CHECK(w.lookup(web).problem_is_definitive);
    CHECK(w.calls.size() >= 20); // one with the token there is and one in vain for another, every 5 s
    CHECK(w.calls.size() <= 26);
    for (std::size_t i = 0; i < w.calls.size(); ++i)
        CHECK(w.calls[i].what.fresh_token == (i % 2 == 1));
    healthy = true; // the identity provider has been registered
    const auto mended = w.now();
    w.run_until(mended + 10s, [&] {
        w.demand(web, 5s);
        return w.lookup(web).usable != nullptr;
    });
    CHECK(w.now() - mended <= 5s + w.latency);
}

TEST_CASE("F12: a rejection that stands for want of another token takes nothing warm away") {
    store_simulation w;
    const auto web = spec_for("web");
    w.retain(web);
    w.run_for(1s);
    w.answer = [](const call& c) {
        return c.fresh_token ? failing(kind::no_token, "NoToken")
                             : failing(kind::token_rejected, "ExpiredTokenException");
    };
    const auto line = w.lookup(web).usable->expires - 60s;
    w.run_until(line - 1ns);
    CHECK(w.lookup(web).usable);
    CHECK(w.lookup(web).problem->code == "ExpiredTokenException");
}

TEST_CASE("F15: a region that is not enabled is not hammered, and keeps its own name") {
    failing_store w(failing(kind::unusable, "RegionDisabledException"));
    const auto web = spec_for("web");
    w.retain(web);
    for (int i = 0; i < 600; ++i) {
        w.demand(web, 5s);
        w.run_for(100ms);
    }
    CHECK(w.calls.size() <= 12);
    CHECK(w.lookup(web).problem->kind == kind::unusable);
    CHECK(w.lookup(web).state == entry_state::failed);
}

TEST_CASE("F31: a token source that refuses for good is asked as seldom as STS would be") {
    auto refused = failing(kind::no_token, "NoToken");
    refused.definitive = true;
    failing_store w(refused);
    const auto web = spec_for("web");
    w.retain(web);
    w.demand(web, 5s);
    w.run_for(w.latency);
    CHECK(w.lookup(web).problem_is_definitive);
    w.run_for(1h);
    CHECK(w.calls.size() <= 81);
}

TEST_CASE("callers go before renewals, renewals before prefetch, the longest due first") {
    store_settings s;
    s.max_in_flight = 1;
    store_simulation w(1, s);
    const auto renewed1 = spec_for("renewed1"), renewed2 = spec_for("renewed2"),
               blocker = spec_for("blocker"), late = spec_for("late"), later = spec_for("later"),
               asked1 = spec_for("asked1"), asked2 = spec_for("asked2");
    w.retain(renewed1);
    w.run_for(1s);
    w.retain(renewed2);
    w.run_for(1s);
    // Something slow occupies the only slot while everything else falls due.
    w.retain(blocker, 20min);
    w.latency = 30min;
    w.run_for(21min);
    REQUIRE(w.calls.size() == 3);
    w.latency = 100ms;
    w.retain(late, 1s);
    w.retain(later, 2s);
    w.retain(asked2, 8s);
    w.retain(asked1, 9s);
    w.run_for(20min);
    w.demand(asked1, 1h);
    w.run_for(1s);
    w.demand(asked2, 1h);
    w.calls.clear();
    w.run_for(20min);
    REQUIRE(w.calls.size() >= 6);
    // asked2's own prefetch fell due before asked1's: a demand changes the class, not how long it has been
    // due.
    CHECK(w.calls[0].what.key == asked2.key());
    CHECK(w.calls[1].what.key == asked1.key());
    CHECK(w.calls[2].what.reason == call_reason::renewal);
    CHECK(w.calls[3].what.reason == call_reason::renewal);
    CHECK(w.calls[4].what.key == late.key());
    CHECK(w.calls[5].what.key == later.key());
}

TEST_CASE("a caller who has stopped waiting gives no priority any more") {
    store_settings s;
    s.max_in_flight = 1;
    store_simulation w(1, s);
    const auto blocker = spec_for("blocker"), first = spec_for("first"), left = spec_for("left"),
               waits = spec_for("waits");
    w.latency = 10s;
    w.retain(blocker);
    w.run_for(1s);
    w.retain(left);
    w.demand(left, 1s);
    w.retain(first);
    w.retain(waits);
    w.demand(waits, 1min);
    w.run_for(10s);
    REQUIRE(w.calls.size() == 2);
    CHECK(w.calls[1].what.key == waits.key());
    w.run_for(10s);
    REQUIRE(w.calls.size() == 3);
    CHECK(w.calls[2].what.key == left.key());
    CHECK(w.calls[2].what.reason == call_reason::prefetch);
}
