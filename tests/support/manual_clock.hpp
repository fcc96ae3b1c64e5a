#pragma once
// A clock that moves only when told to.

#include "runtime/clock.hpp"

namespace credlet::test {

class manual_clock final : public clock {
public:
    [[nodiscard]] wall_time wall() const override { return wall_; }
    [[nodiscard]] boot_time now() const override { return now_; }
    // Time passes on both clocks.
    void advance(std::chrono::nanoseconds d) {
        now_ += d;
        wall_ += std::chrono::duration_cast<std::chrono::milliseconds>(d);
    }
    // Somebody sets the date; no time passes.
    void step_wall(std::chrono::milliseconds d) { wall_ += d; }

private:
    wall_time wall_{std::chrono::seconds(1'760'000'000)};
    boot_time now_{std::chrono::hours(100)};
};

} // namespace credlet::test
