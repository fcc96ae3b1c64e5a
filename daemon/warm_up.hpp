#pragma once
// When a process that is to take another's place may say that it is ready, which ends the other: not before
// it has what the other serves from, or pods would wait for what they had. But what nobody can obtain must
// not hold up an update for ever.

#include "runtime/clock.hpp"
#include "sts/credential_store.hpp"

#include <optional>
#include <string>

namespace credlet::app {

class warm_up {
public:
    // What this node needs is known from now on: its credentials are being obtained.
    void begin(boot_time now) { begun_ = now; }
    // What is missing still; empty: nothing, and never again.
    [[nodiscard]] std::string missing(const sts::credential_store::counts& c, boot_time now);

    // Some may fail for long, for reasons of their own.
    static constexpr std::chrono::seconds patience{10};
    // But if there is no answer to any, it is likely that the one who serves now has what no other can get.
    static constexpr std::chrono::minutes patience_without_answers{5};

private:
    std::optional<boot_time> begun_;
    bool done_ = false;
};

} // namespace credlet::app
