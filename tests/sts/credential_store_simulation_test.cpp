// The store under load and in chaos, in fake time and with seeded randomness.

#include "tests/support/store_simulation.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <set>

using namespace credlet;
using namespace credlet::sts;
using namespace credlet::test;
using namespace std::chrono_literals;
using kind = failure_kind;

namespace {

double seconds(std::chrono::nanoseconds d) { return std::chrono::duration<double>(d).count(); }

std::vector<credential_spec> many(int n) {
    std::vector<credential_spec> specs;
    for (int i = 0; i < n; ++i)
        specs.push_back(spec_for("sa" + std::to_string(i)));
    return specs;
}

// An STS that admits so many calls per second, and as many at once after a rest, and throttles the others.
struct limited_sts {
    double per_second, at_once;
    double left = at_once;
    std::optional<boot_time> last{};
    unsigned throttled = 0;

    bool admits(boot_time now) {
        if (last)
            left = std::min(at_once, left + per_second * seconds(now - *last));
        last = now;
        if (left < 1) {
            ++throttled;
            return false;
        }
        left -= 1;
        return true;
    }
};

struct throttled_run {
    double took;
    std::size_t calls;
};

// 500 keys, STS admits 5 calls/s; each pod asks, waits at most `patience`, and asks again a second later.
throttled_run run_throttled(std::uint64_t seed, std::chrono::nanoseconds latency,
                            std::chrono::nanoseconds patience) {
    store_simulation w(seed);
    limited_sts limit{5, 5};
    w.latency = latency;
    w.answer = [&](const call& c) -> outcome<credentials> {
        if (!limit.admits(w.now()))
            return failing(kind::throttled, "Throttling");
        return issued_for(*c.spec, w.time);
    };
    const auto specs = many(500);
    const auto start = w.now();
    for (const auto& s : specs) {
        w.retain(s);
        const auto offset = std::chrono::nanoseconds(static_cast<std::int64_t>(w.random.unit() * 1e9));
        for (auto when = start + offset; when < start + 300s; when += patience + 1s)
            w.at(when, [&w, &s, patience] {
                if (!w.lookup(s).usable)
                    w.demand(s, patience);
            });
    }
    std::size_t served = 0;
    w.run_until(start + 300s, [&] {
        while (served < specs.size() && w.lookup(specs[served]).usable)
            ++served;
        return served == specs.size();
    });
    CHECK(served == specs.size());
    return {seconds(w.now() - start), w.calls.size()};
}

} // namespace

TEST_CASE(
    "F2: STS admits 5 calls/s, 500 keys: all are served in 120 s with at most 1.2 times the calls needed") {
    const auto holds = [](std::uint64_t seed, std::chrono::milliseconds latency,
                          std::chrono::milliseconds patience) {
        const auto run = run_throttled(seed, latency, patience);
        INFO("seed ", seed, ", STS takes ", latency.count(), " ms, callers wait ", patience.count(), " ms");
        CHECK(run.took <= 120);
        CHECK(run.calls <= 600);
    };
    for (std::uint64_t seed = 1; seed <= 4; ++seed)
        holds(seed, 100ms, 5000ms);
    holds(5, 50ms, 900ms);
    holds(6, 400ms, 5000ms);
    holds(7, 100ms, 300000ms);
    const auto typical = run_throttled(1, 100ms, 5000ms);
    MESSAGE("served in " << typical.took << " s with " << typical.calls << " calls");
}

TEST_CASE("F2: the rate is back to normal within 30 s after STS has stopped throttling") {
    store_simulation w;
    limited_sts limit{1, 1};
    bool limiting = true;
    w.answer = [&](const call& c) -> outcome<credentials> {
        if (limiting && !limit.admits(w.now()))
            return failing(kind::throttled, "Throttling");
        return issued_for(*c.spec, w.time);
    };
    const auto specs = many(200);
    for (const auto& s : specs) {
        w.retain(s);
        w.demand(s, 1h);
    }
    w.run_for(20s);
    CHECK(w.store.allowed_rate(w.now()) < 3);
    limiting = false;
    w.run_for(30s);
    CHECK(w.store.allowed_rate(w.now()) == doctest::Approx(20));
    CHECK(w.store.count(w.now()).fresh == 200);
}

namespace {

// Roles that STS refuses are asked for without end, more often than the rate allows, while others are warm.
// Counts the seconds in which somebody who was warm had nothing to be served.
unsigned seconds_without_credentials(int refused, int warm, std::optional<limited_sts> limit,
                                     std::uint64_t seed) {
    store_simulation w(seed);
    const auto specs = many(refused + warm);
    const std::vector<credential_spec> refused_specs(specs.begin(), specs.begin() + refused);
    const std::vector<credential_spec> warm_specs(specs.begin() + refused, specs.end());
    std::set<credential_key> refused_keys;
    for (const auto& s : refused_specs)
        refused_keys.insert(s.key());
    for (const auto& s : warm_specs)
        w.retain(s);
    w.run_for(1min);
    w.answer = [&](const call& c) -> outcome<credentials> {
        if (limit && !limit->admits(w.now()))
            return failing(kind::throttled, "Throttling");
        if (refused_keys.contains(c.key))
            return failing(kind::denied, "AccessDenied");
        return issued_for(*c.spec, w.time);
    };
    for (const auto& s : refused_specs)
        w.retain(s);
    unsigned without = 0;
    const auto end = w.now() + 2h;
    std::function<void()> ask = [&] {
        for (const auto& s : refused_specs)
            w.demand(s, 5s);
        for (const auto& s : warm_specs)
            without += w.lookup(s).usable ? 0 : 1;
        w.at(w.now() + 1s, ask);
    };
    ask();
    w.run_until(end);
    return without;
}

} // namespace

TEST_CASE("F14: callers of roles that STS refuses let nothing lapse that is warm, however many they are") {
    CHECK(seconds_without_credentials(150, 50, std::nullopt, 1) == 0);
}

TEST_CASE("F2, F14: nor do a few where STS admits a call in two seconds") {
    for (std::uint64_t seed = 1; seed <= 5; ++seed)
        CHECK(seconds_without_credentials(6, 5, limited_sts{0.5, 1}, seed) == 0);
}

TEST_CASE("F35: 200 keys asked for by 1000 pods within a second: 200 calls, the last answer within 1.5 s") {
    for (const bool prefetched : {false, true}) {
        store_simulation w(11);
        const auto specs = many(200);
        const auto start = w.now();
        boot_time last_served = start;
        std::size_t waiting = 0;
        for (std::size_t pod = 0; pod < 1000; ++pod) {
            const auto& spec = specs[pod % specs.size()];
            const auto asks =
                start + std::chrono::nanoseconds(static_cast<std::int64_t>(w.random.unit() * 1e9));
            w.retain(spec, prefetched ? 0s : 1h);
            ++waiting;
            w.at(asks, [&w, &spec, &waiting] {
                if (w.lookup(spec).usable)
                    --waiting;
                else
                    w.demand(spec, 5s);
            });
        }
        w.run_until(start + 10s, [&] {
            for (const auto& key : w.store.take_changed())
                if (w.store.lookup(key, w.now()).usable)
                    last_served = w.now();
            return false;
        });
        CHECK(w.calls.size() == 200);
        CHECK(w.store.count(w.now()).fresh == 200);
        CHECK(last_served - start <= 1500ms);
        MESSAGE(std::string(prefetched ? "prefetched" : "on demand")
                << ": " << w.calls.size() << " calls, the last answer after " << seconds(last_served - start)
                << " s");
    }
}

TEST_CASE("F35: 200 keys due at one moment take 200 / 16 times what a call takes") {
    store_simulation w;
    const auto specs = many(200);
    for (const auto& s : specs) {
        w.retain(s);
        w.demand(s, 5s);
    }
    const auto start = w.now();
    w.run_until(start + 10s, [&] { return w.store.count(w.now()).fresh == 200; });
    CHECK(w.now() - start == 1300ms); // 13 rounds
    CHECK(w.calls.size() == 200);
}

TEST_CASE("F35: the rate counts calls, of which a target role takes two") {
    store_simulation w;
    auto specs = many(300);
    for (auto& s : specs) {
        s.target_role_arn = "arn:aws:iam::210987654321:role/target";
        w.retain(s);
    }
    const auto start = w.now();
    w.run_for(10s);
    CHECK(w.calls.size() < 300);
    w.run_for(20s);
    CHECK(w.calls.size() == 300);
    CHECK(w.store.count(w.now()).fresh == 300);
    std::size_t made = 0;
    for (const auto& c : w.calls) {
        made += 2;
        CHECK(static_cast<double>(made) <= 201 + 20 * seconds(c.when - start));
    }
}

TEST_CASE("F31: attempts that never reach STS take nothing from those that do") {
    store_simulation w;
    const auto specs = many(2000);
    const auto web = spec_for("web");
    w.latency = 1ms;
    w.answer = [&](const call& c) -> outcome<credentials> {
        if (c.key == web.key())
            return issued_for(*c.spec, w.time);
        return failing(kind::no_token, "NoToken");
    };
    for (const auto& s : specs) {
        w.retain(s);
        w.demand(s, 1h);
    }
    w.run_for(1s);
    CHECK(w.calls.size() >= 2000);
    w.retain(web);
    w.demand(web, 5s);
    w.run_for(1s);
    CHECK(w.lookup(web).usable);
}

TEST_CASE("2000 keys for six hours: no more calls than renewals need, and none missed") {
    store_simulation w;
    const auto specs = many(2000);
    for (const auto& s : specs)
        w.retain(s, std::chrono::nanoseconds(static_cast<std::int64_t>(w.random.unit() * 10e9)));
    w.run_for(2min);
    CHECK(w.store.count(w.now()).fresh == 2000);
    w.calls.clear();
    w.run_for(6h);
    CHECK(w.calls.size() > 2000 * 6 * 60 / 32);
    CHECK(w.calls.size() < 2000 * 6 * 60 / 28);
    CHECK(w.store.count(w.now()).stale + w.store.count(w.now()).failed == 0);
}

namespace {

// Millions of checks: cheaper than doctest's own.
void must(bool holds, const char* rule) {
    if (!holds)
        FAIL(rule);
}

// Anything happens in any order; what must hold always is checked at each step.
class chaos {
public:
    explicit chaos(std::uint64_t seed)
        : random_(seed),
          jitter_(seed + 1),
          store_(settings_, jitter_),
          retained_(key_count),
          seen_(key_count) {
        for (int i = 0; i < key_count; ++i) {
            specs_.push_back(spec_for("sa" + std::to_string(i / 2), i % 2 == 0 ? "reader" : "writer"));
            keys_.push_back(specs_.back().key());
        }
        tokens_at_ = time_.now();
    }

    void step() {
        const auto k = below(key_count);
        switch (below(10)) {
        case 0:
            retain(k);
            break;
        case 1:
            release(k);
            break;
        case 2:
            store_.demand(keys_[k], time_.now(), time_.now() + milliseconds(6000));
            break;
        case 3:
            pass_time();
            break;
        case 4:
        case 5:
            finish();
            break;
        case 6:
            stray_result();
            break;
        default:
            start_calls();
            break;
        }
        check_answer(below(key_count));
        if (++steps_ % 64 == 0)
            check_all();
    }
    [[nodiscard]] std::size_t calls() const { return calls_; }
    [[nodiscard]] std::size_t served() const { return served_; }

private:
    static constexpr int key_count = 60;

    struct flight {
        std::uint64_t id;
        std::size_t key;
    };

    std::size_t below(std::size_t n) { return static_cast<std::size_t>(random_.next() % n); }
    std::chrono::nanoseconds milliseconds(std::size_t n) { return std::chrono::milliseconds(below(n)); }

    void retain(std::size_t k) {
        store_.retain(specs_[k], time_.now(), milliseconds(10000));
        retained_[k] = true;
    }
    void release(std::size_t k) {
        std::weak_ptr<const credentials> held = store_.lookup(keys_[k], time_.now()).usable;
        store_.release(keys_[k], time_.now());
        retained_[k] = false;
        must(held.expired(), "dropped credentials are let go");
    }
    void pass_time() {
        switch (below(20)) {
        case 0:
            time_.advance(milliseconds(3'600'000));
            break;
        case 1:
        case 2:
        case 3:
            time_.advance(milliseconds(60'000));
            break;
        default:
            time_.advance(milliseconds(500));
            break;
        }
        // Often to exactly the next event.
        const auto due = store_.next_due(time_.now());
        if (due && below(2) == 0)
            time_.advance(*due - time_.now());
    }

    outcome<credentials> any_result(std::size_t k) {
        if (below(3) > 0) {
            constexpr std::array<std::chrono::seconds, 6> lives{3600s, 900s, 43200s, 300s, 61s, 60s};
            return issued_for(specs_[k], time_, lives[below(lives.size())]);
        }
        constexpr std::array<kind, 8> kinds{kind::transient, kind::throttled,     kind::token_rejected,
                                            kind::denied,    kind::misconfigured, kind::unusable,
                                            kind::no_token,  kind::cancelled};
        auto f = failing(kinds[below(kinds.size())]);
        f.definitive = f.kind == kind::no_token && below(2) == 0;
        if (below(10) == 0)
            f.retry_after = std::chrono::milliseconds(below(100'000));
        return f;
    }
    void finish() {
        if (flights_.empty())
            return;
        const auto which = below(flights_.size());
        const auto [id, k] = flights_[which];
        flights_.erase(flights_.begin() + static_cast<std::ptrdiff_t>(which));
        store_.finish(id, any_result(k), time_.now());
    }
    void stray_result() {
        const auto id = random_.next();
        for (const auto& f : flights_)
            if (f.id == id)
                return;
        store_.finish(id, failing(kind::denied), time_.now());
    }

    void start_calls() {
        const auto now = time_.now();
        allowance_ =
            std::min(settings_.burst, allowance_ + settings_.calls_per_second * seconds(now - tokens_at_));
        tokens_at_ = now;
        for (const auto& c : store_.due(now)) {
            const auto k =
                static_cast<std::size_t>(std::find(keys_.begin(), keys_.end(), c.key) - keys_.begin());
            must(k < keys_.size(), "a call is for a known key");
            must(retained_[k], "a call is for a retained key");
            must(c.spec->key() == c.key, "a call carries its key's spec");
            for (const auto& f : flights_)
                must(f.key != k, "one call per key at a time");
            flights_.push_back({c.id, k});
            allowance_ -= 1;
            ++calls_;
        }
        must(allowance_ > -1e-6, "no window sees more calls than its share and the burst");
        must(flights_.size() <= settings_.max_in_flight, "calls in flight are bounded");
        const auto next = store_.next_due(now);
        must(!next || *next > now, "nothing is left undone and nobody is woken in vain");
        bool idle = false;
        for (std::size_t k = 0; k < keys_.size(); ++k)
            idle = idle || (retained_[k] && !in_flight(k));
        if (idle && flights_.size() < settings_.max_in_flight)
            must(next.has_value(), "who is retained gets a turn some time");
        if (below(4) == 0)
            check_reported();
    }

    [[nodiscard]] bool in_flight(std::size_t k) const {
        return std::any_of(flights_.begin(), flights_.end(), [k](const flight& f) { return f.key == k; });
    }

    void check_answer(std::size_t k) {
        const auto now = time_.now();
        const auto known = store_.lookup(keys_[k], now);
        must((known.state == entry_state::absent) == !retained_[k], "absent is what nobody retains");
        must(known.usable == nullptr || known.usable->expires - now > 60s,
             "nothing is served in its last minute");
        if (known.usable) {
            must(known.usable->access_key_id == access_key_of(keys_[k]), "nobody gets foreign credentials");
            ++served_;
        }
    }
    void check_all() {
        std::size_t told = 0;
        for (std::size_t k = 0; k < keys_.size(); ++k) {
            check_answer(k);
            const auto state = store_.lookup(keys_[k], time_.now()).state;
            told += state != entry_state::absent && state != entry_state::pending ? 1 : 0;
        }
        const auto c = store_.count(time_.now());
        must(c.fresh + c.renewing + c.stale + c.failed == told,
             "every entry that there is something to say of "
             "is counted once");
        const auto rate = store_.allowed_rate(time_.now());
        must(rate >= settings_.min_calls_per_second, "the rate keeps its floor");
        must(rate <= settings_.calls_per_second, "the rate keeps its ceiling");
    }
    // Right after due(): an answer that is not what it was when last looked at has been reported since.
    void check_reported() {
        const auto changed = store_.take_changed();
        const std::set<credential_key> reported(changed.begin(), changed.end());
        for (std::size_t k = 0; k < keys_.size(); ++k) {
            const auto known = store_.lookup(keys_[k], time_.now());
            const seen is{known.state, known.usable.get(), known.problem_is_definitive};
            if (!reported.contains(keys_[k]))
                must(is == seen_[k], "what changed is reported");
            seen_[k] = is;
        }
    }

    struct seen {
        entry_state state = entry_state::absent;
        const void* usable = nullptr;
        bool definitive = false;
        bool operator==(const seen&) const = default;
    };

    const store_settings settings_{};
    seeded_random random_, jitter_;
    manual_clock time_;
    credential_store store_;
    std::vector<credential_spec> specs_;
    std::vector<credential_key> keys_;
    std::vector<bool> retained_;
    std::vector<seen> seen_;
    std::vector<flight> flights_;
    double allowance_ = 200;
    boot_time tokens_at_{};
    std::size_t steps_ = 0, calls_ = 0, served_ = 0;
};

} // namespace

TEST_CASE("whatever happens in whatever order, limits hold and nobody gets foreign or expired credentials") {
    std::size_t calls = 0, served = 0;
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
        INFO("seed ", seed);
        chaos c(seed);
        for (int i = 0; i < 50'000; ++i)
            c.step();
        calls += c.calls();
        served += c.served();
    }
    CHECK(calls > 5'000); // it was no empty run
    CHECK(served > 100'000);
}
