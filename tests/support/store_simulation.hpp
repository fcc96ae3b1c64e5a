#pragma once
// The credential store in a world of fake time: calls are answered by a function after the time it says,
// events happen when they are due, and nothing waits.

#include "sts/credential_store.hpp"
#include "tests/support/manual_clock.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace credlet::test {

inline sts::credential_spec spec_for(const std::string& service_account, const std::string& role = "web") {
    sts::credential_spec spec;
    spec.service_account_uid = "uid-of-" + service_account;
    spec.role_arn = "arn:aws:iam::123456789012:role/" + role;
    spec.audience = "sts.amazonaws.com";
    spec.namespace_name = "default";
    spec.service_account = service_account;
    spec.session_name = "default." + service_account + ".node-1";
    return spec;
}

// Whose credentials they are shows in the access key id.
inline std::string access_key_of(const sts::credential_key& key) {
    std::string id = "ASIA";
    for (std::size_t i = 0; i < 8; ++i) {
        id.push_back("0123456789ABCDEF"[key.digest[i] >> 4]);
        id.push_back("0123456789ABCDEF"[key.digest[i] & 15]);
    }
    return id;
}

inline sts::credentials issued_for(const sts::credential_spec& spec, const clock& time,
                                   std::chrono::nanoseconds life = std::chrono::hours(1)) {
    sts::credentials c;
    c.access_key_id = access_key_of(spec.key());
    c.secret_access_key = secret_string("secret-of-" + c.access_key_id);
    c.session_token = secret_string("token-of-" + c.access_key_id);
    c.issued = time.wall();
    c.expiration = time.wall() + std::chrono::duration_cast<std::chrono::milliseconds>(life);
    c.fetched = time.now();
    c.expires = time.now() + life;
    c.role_arn = spec.final_role_arn();
    c.session_name = spec.session_name;
    return c;
}

inline sts::failure failing(sts::failure_kind kind, std::string code = "Failed") {
    sts::failure f;
    f.kind = kind;
    f.code = std::move(code);
    f.message = "it did not work";
    return f;
}

class store_simulation {
public:
    explicit store_simulation(std::uint64_t seed = 1, sts::store_settings s = {})
        : settings(s),
          random(seed),
          store(s, random) {}

    const sts::store_settings settings;
    manual_clock time;
    seeded_random random;
    sts::credential_store store;

    struct made {
        sts::call what;
        boot_time when;
    };
    std::vector<made> calls; // all that were started, in order

    // How STS answers, and how long it takes. Hour-long credentials after 100 ms, unless set otherwise.
    std::chrono::nanoseconds latency = std::chrono::milliseconds(100);
    std::function<sts::outcome<sts::credentials>(const sts::call&)> answer;
    // Called after each step.
    std::function<void()> check;

    [[nodiscard]] boot_time now() const { return time.now(); }
    [[nodiscard]] sts::lookup_result lookup(const sts::credential_spec& spec) const {
        return store.lookup(spec.key(), now());
    }
    void retain(const sts::credential_spec& spec, std::chrono::nanoseconds delay = {}) {
        store.retain(spec, now(), delay);
    }
    void demand(const sts::credential_spec& spec, std::chrono::nanoseconds patience) {
        store.demand(spec.key(), now(), now() + patience);
    }
    void at(boot_time when, std::function<void()> what) { events_.emplace(when, std::move(what)); }

    // Lives until `end`, or until `done` holds after some step.
    void run_until(boot_time end, const std::function<bool()>& done = {}) {
        unsigned steps_at_once = 0;
        for (;;) {
            for (auto& c : store.due(now()))
                begin(std::move(c));
            if (check)
                check();
            if (done && done())
                return;
            auto next = store.next_due(now());
            if (!events_.empty())
                next = next ? std::min(*next, events_.begin()->first) : events_.begin()->first;
            if (!next || *next > end) {
                time.advance(end - now());
                return;
            }
            steps_at_once = *next > now() ? 0 : steps_at_once + 1;
            if (steps_at_once > 10'000)
                throw std::runtime_error("the store asks to be called again and again at one moment");
            if (*next > now())
                time.advance(*next - now());
            while (!events_.empty() && events_.begin()->first <= now()) {
                const auto what = std::move(events_.begin()->second);
                events_.erase(events_.begin());
                what();
            }
        }
    }
    void run_for(std::chrono::nanoseconds d) { run_until(now() + d); }

private:
    void begin(sts::call c) {
        calls.push_back({c, now()});
        auto result = std::make_shared<sts::outcome<sts::credentials>>(
            answer ? answer(c) : sts::outcome<sts::credentials>(issued_for(*c.spec, time)));
        at(now() + latency, [this, c, result] {
            const bool asked = result->has_value() || result->error().kind != sts::failure_kind::no_token;
            if (result->has_value()) { // issued at the end of the call
                auto& issued = **result;
                const auto life = issued.expires - issued.fetched;
                issued.fetched = now();
                issued.expires = now() + life;
            }
            store.finish(c.id, std::move(*result), now(), asked ? c.spec->calls_needed() : 0);
        });
    }

    std::multimap<boot_time, std::function<void()>> events_;
};

// STS is in trouble of one kind until it is healthy.
struct failing_store : store_simulation {
    explicit failing_store(sts::failure f, std::uint64_t seed = 1)
        : store_simulation(seed),
          with(std::move(f)) {
        answer = [this](const sts::call& c) -> sts::outcome<sts::credentials> {
            if (!healthy)
                return with;
            return issued_for(*c.spec, time);
        };
    }
    sts::failure with;
    bool healthy = false;

    // Obtains hour-long credentials before the trouble starts.
    void warm(const sts::credential_spec& spec) {
        healthy = true;
        retain(spec);
        run_for(std::chrono::seconds(1));
        healthy = false;
        if (!lookup(spec).usable)
            throw std::runtime_error("no credentials to begin with");
        calls.clear();
    }
    // Until the first call of a renewal has been answered.
    void run_until_renewed() {
        const auto before = calls.size();
        run_until(now() + std::chrono::hours(1), [&] { return calls.size() > before; });
        run_for(latency);
    }
};

} // namespace credlet::test
