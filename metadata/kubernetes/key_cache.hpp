#pragma once
// Which keys are known, and when the key set may be fetched again. Anybody can send a token with a kid nobody
// knows; that must not become a request to the API server each time, must not throw good keys away, and must
// not keep a key that has just been rotated in from being found. Plain and synchronous.

#include "metadata/kubernetes/jwks.hpp"
#include "runtime/clock.hpp"
#include "runtime/random.hpp"

#include <deque>
#include <optional>
#include <string>

namespace credlet::metadata::kubernetes {

class key_cache {
public:
    struct settings {
        std::chrono::nanoseconds min_interval; // between any fetch and one forced by an unknown kid
        std::chrono::nanoseconds refresh;      // regular
        std::chrono::nanoseconds keep_stale;   // after the last good fetch
    };
    static constexpr std::size_t max_unknown = 128;
    static constexpr std::chrono::minutes unknown_for{5};
    static constexpr std::chrono::milliseconds first_retry{1000}, longest_retry{30000};

    key_cache(settings s, random_source& random) : settings_(s), random_(random) {}

    enum class answer {
        known,   // `key` is it
        fetch,   // may be new: call begin_fetch(), fetch, and ask again
        unknown, // the set that was fetched after this kid was first seen does not have it
        wait,    // may be new, but a fetch was begun just now
        no_keys, // there is nothing to check with, and a fetch was begun just now
    };
    struct lookup_result {
        answer what;
        const verification_key* key = nullptr; // until the next fetched()
    };
    [[nodiscard]] lookup_result lookup(std::string_view key_id, boot_time now) const;
    // Whether a fetch may be begun that is not a regular one.
    [[nodiscard]] bool may_fetch(boot_time now) const;

    // A fetch starts. This takes the slot, whatever comes of it.
    void begin_fetch(boot_time now);
    void fetched(key_set keys, boot_time now);
    // Also for an answer that is no key set or an empty one: what was good stays.
    void failed(boot_time now);
    // After a good fetch that began when this kid had been seen: remembers that the set does not have it.
    void missed(std::string_view key_id, boot_time now);
    // The keys came, but not all that was to come with them: again soon.
    void incomplete(boot_time now) { next_regular_ = now + longest_retry; }

    // When the next regular fetch is due: at once if there was none, after a success the interval (±10 %),
    // after a failure a backoff that no caller can influence.
    [[nodiscard]] boot_time next_regular() const { return next_regular_; }
    [[nodiscard]] std::optional<boot_time> last_good() const { return good_; }
    // Not older than keep_stale.
    [[nodiscard]] bool has_keys(boot_time now) const;

private:
    struct unknown_key {
        std::string id;
        boot_time until;
    };
    settings settings_;
    random_source& random_;
    key_set keys_;
    std::optional<boot_time> good_; // the last good fetch
    std::optional<boot_time> last_begun_;
    boot_time next_regular_{};
    unsigned failures_ = 0;
    std::deque<unknown_key> unknown_; // oldest first
};

} // namespace credlet::metadata::kubernetes
