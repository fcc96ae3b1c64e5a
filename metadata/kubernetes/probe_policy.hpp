#pragma once
// When a watch that says nothing is asked about: how long a silence must last, and how long to wait after a
// question that was not answered. Plain and synchronous; the reflector carries it out.

#include "runtime/random.hpp"

#include <chrono>
#include <optional>

namespace credlet::metadata::kubernetes {

class probe_policy {
public:
    // Longer than this a server's Retry-After is not believed: the map of pods would age unseen.
    static constexpr std::chrono::milliseconds longest_retry_after{60000};

    // silence: without a byte, before the server is asked; first_backoff: after a question that failed.
    probe_policy(std::chrono::milliseconds silence, std::chrono::milliseconds first_backoff,
                 random_source& random)
        : silence_(silence),
          first_backoff_(first_backoff),
          random_(random) {}

    // For each silence anew, 20 % more or less: nodes that fell silent together do not ask together.
    [[nodiscard]] std::chrono::milliseconds silence() { return jittered(silence_); }
    void answered() { failures_ = 0; }
    // Doubled from one failure to the next, up to the silence, with the same jitter; not before the server
    // has asked to be left alone.
    std::chrono::milliseconds after_failure(std::optional<std::chrono::milliseconds> retry_after);

private:
    std::chrono::milliseconds jittered(std::chrono::milliseconds d);

    std::chrono::milliseconds silence_, first_backoff_;
    random_source& random_;
    unsigned failures_ = 0; // in a row
};

} // namespace credlet::metadata::kubernetes
