#pragma once
// Time, passed in wherever a policy depends on it, so that tests move it by hand.
//
// Two clocks with two jobs. wall() is for stamps that others read or wrote (a JWT's exp, LastUpdated). now()
// is for every lifetime, deadline and interval: it counts through suspend (CLOCK_BOOTTIME) and no clock step,
// NTP slew or wrong date can make all credentials expire at once.

#include <chrono>

namespace credlet {

// Milliseconds since the Unix epoch.
using wall_time = std::chrono::sys_time<std::chrono::milliseconds>;

// A point on this machine's boot clock, in nanoseconds; comparable only within one process.
struct boot_clock {
    using rep = std::chrono::nanoseconds::rep;
    using period = std::chrono::nanoseconds::period;
    using duration = std::chrono::nanoseconds;
    using time_point = std::chrono::time_point<boot_clock>;
    static constexpr bool is_steady = true;
    static time_point now() noexcept;
};
using boot_time = boot_clock::time_point;

class clock {
public:
    virtual ~clock() = default;
    [[nodiscard]] virtual wall_time wall() const = 0;
    [[nodiscard]] virtual boot_time now() const = 0;

protected:
    clock() = default;
    clock(const clock&) = default;
    clock& operator=(const clock&) = default;
};

class system_clock final : public clock {
public:
    [[nodiscard]] wall_time wall() const override;
    [[nodiscard]] boot_time now() const override { return boot_clock::now(); }
};

} // namespace credlet
