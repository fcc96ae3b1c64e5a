#pragma once
// How many calls STS gets from this node: a sustained rate with a burst, a bound on calls in flight, and a
// rate that is halved when STS throttles and recovers gradually. Sees neither keys nor results, only starts
// and ends.

#include "runtime/clock.hpp"

#include <cstddef>
#include <optional>

namespace credlet::sts {

struct governor_settings {
    double calls_per_second = 20;
    double burst = 200; // at least 1
    std::size_t max_in_flight = 16;
    double min_calls_per_second = 0.5; // throttling pushes the rate no lower
    double recovery_per_second = 0.1;  // of calls_per_second
};

class call_governor {
public:
    explicit call_governor(governor_settings settings);

    // Takes leave for an attempt that makes so many calls; false: not now. Leave for one is enough to start,
    // the others are owed, since a rate that is cut saves up no more than one. Each true is followed by one
    // finished().
    [[nodiscard]] bool try_start(boot_time now, unsigned calls);
    // When try_start could succeed if nothing else happens, or when to look again. None: every slot is taken,
    // only a finished() helps.
    [[nodiscard]] std::optional<boot_time> next_start(boot_time now) const;

    // So many calls were made that no leave was taken for; below zero: so many were not made after all.
    void charge(int calls, boot_time now);

    // An attempt that started then has ended. Where it was throttled, the rate is halved and saved-up burst
    // forfeited, but only once per round: calls that were under way when the rate was last cut tell nothing
    // about the new one.
    void finished(boot_time started, bool throttled, boot_time now);

    [[nodiscard]] double allowed_rate(boot_time now) const;

private:
    void refill(boot_time now);
    [[nodiscard]] double tokens_at(boot_time now) const;

    governor_settings settings_;
    double tokens_;                     // below zero: calls made that are still to be waited for
    std::optional<boot_time> refilled_; // when tokens_ was right; none before the first use
    std::size_t in_flight_ = 0;

    // The last cut: when, from which rate, to which rate. None: running at calls_per_second.
    struct cut {
        boot_time at;
        double from, to;
    };
    std::optional<cut> cut_;
};

} // namespace credlet::sts
