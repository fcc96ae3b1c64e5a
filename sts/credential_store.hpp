#pragma once
// The rules of the credential store, without I/O: state and time go in, calls to make and answers come out.
// One thread, one owner; the service (sts/credential_service.hpp) carries out what it decides.
//
// - One call per key at a time, whoever asks and however often; it belongs to no caller.
// - Refresh ahead at 50 % +- 10 % of life. Served until 60 s before expiry, whatever is down.
// - A sustained rate with a burst, a bound on calls in flight; halved on throttling, recovered gradually;
//   retries with full jitter.
// - Waiting callers before renewals before prefetch, in each class the longest due first. A renewal that is
//   running out of time stands with the callers: those of roles that STS refuses come back for ever, and must
//   not take from healthy pods what they have.
// - Definitive denials are remembered for 5 s; warm credentials survive until a second denial at least 10 s
//   later.
// - Dropped, wiped and never renewed again when nobody on this node is entitled to them any more; what a call
//   still brings for them is thrown away.

#include "runtime/random.hpp"
#include "sts/credentials.hpp"

#include <map>
#include <memory>
#include <vector>

namespace credlet::sts {

enum class call_reason { demand, renewal, prefetch }; // highest priority first

struct store_settings {
    double refresh_at = 0.5, refresh_jitter = 0.1; // of life
    double urgent_at = 0.7; // of life: 18 minutes before an hour is over, when SDKs would soon ask for more
    double calls_per_second = 20;
    double burst = 200;
    std::size_t max_in_flight = 16;
    double min_calls_per_second = 0.5; // floor under throttling
    double recovery_per_second = 0.1;  // of the configured rate
    std::chrono::milliseconds demand_backoff_base{100}, demand_backoff_max{5000};
    std::chrono::milliseconds background_backoff_base{1000}, background_backoff_max{60000};
    std::chrono::milliseconds denial_memory{5000};
    std::chrono::milliseconds second_denial_after{10000};
    std::chrono::milliseconds min_refetch_of_short_lived{
        30000}; // credentials that came with < 15 min of life
};

// A call the store wants made now.
struct call {
    credential_key key;
    std::shared_ptr<const credential_spec> spec;
    std::uint64_t id; // hand it back with the result
    call_reason reason;
    bool fresh_token; // the last token was rejected: obtain a new one, not a cached one
};

enum class entry_state { absent, pending, fresh, renewing, stale, failed };

// What can be said about a key right now.
struct lookup_result {
    entry_state state = entry_state::absent;
    credentials_ptr usable; // more than 60 s of life left; else null
    std::optional<failure>
        problem; // of the last call, if it failed; with denial_memory still running for denials
    bool problem_is_definitive = false; // answer it now (negative cache); else waiting may help
    boot_time problem_until{};          // until when a definitive problem is remembered
};

class credential_store {
public:
    credential_store(store_settings settings, random_source& random);
    ~credential_store();

    // Somebody on this node is entitled to these credentials: keep them warm, first call not before now +
    // delay, until release(). A second retain changes nothing: specs of one key may differ in the session
    // name, and the first stays.
    void retain(const credential_spec& spec, boot_time now, std::chrono::nanoseconds prefetch_delay);
    void release(const credential_key& key, boot_time now);

    // A caller waits for this retained key: raises its priority, and cuts background backoff short to demand
    // backoff. Stays in force until credentials arrive, a definitive failure does, or `until`.
    void demand(const credential_key& key, boot_time now, boot_time until);

    // The calls to start now, at most once each. Time-driven changes (expiry, forgetting a denial) happen
    // here too.
    std::vector<call> due(boot_time now);
    // When to call due() again, if nothing else happens before. None: nothing is scheduled.
    [[nodiscard]] std::optional<boot_time> next_due(boot_time now) const;

    // The result of a call, and how often STS was really called for it: the rate counts that. An unknown or
    // repeated id is ignored; what came for a dropped key is wiped.
    void finish(std::uint64_t call_id, outcome<credentials> result, boot_time now, unsigned sts_calls = 1);

    [[nodiscard]] lookup_result lookup(const credential_key& key, boot_time now) const;
    // Keys whose lookup may have changed since the last call of this.
    std::vector<credential_key> take_changed();

    struct counts {
        std::size_t pending = 0, fresh = 0, renewing = 0, stale = 0, failed = 0;
        // Of those that failed: for a reason that stays until somebody mends it; because STS did not answer,
        // or not now.
        std::size_t refused = 0, unanswered = 0;
    };
    [[nodiscard]] counts count(boot_time now) const;
    [[nodiscard]] double allowed_rate(boot_time now) const;

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

} // namespace credlet::sts
