#include "sts/call_governor.hpp"

#include <algorithm>
#include <cmath>

namespace credlet::sts {

namespace {

using std::chrono::nanoseconds;
using namespace std::chrono_literals;

double seconds(nanoseconds d) { return std::chrono::duration<double>(d).count(); }
nanoseconds at_least(double s) { return nanoseconds(static_cast<nanoseconds::rep>(std::ceil(s * 1e9))); }

// Recovery is quick up to this share of the rate that was throttled, and careful from there on: the limit is
// near, and each time it is overrun costs calls. When none was throttled for a while, the limit may have
// moved.
constexpr double near_the_limit = 0.8;
constexpr double careful_pace = 0.1; // of the quick one
constexpr double careful_for = 10;   // seconds since the cut

// A rate that rises makes a forecast from now too late; look again meanwhile.
constexpr nanoseconds look_again = 250ms;

} // namespace

call_governor::call_governor(governor_settings settings) : settings_(settings) {
    settings_.burst = std::max(settings_.burst, 1.0);
    settings_.max_in_flight = std::max<std::size_t>(settings_.max_in_flight, 1);
    settings_.min_calls_per_second = std::min(settings_.min_calls_per_second, settings_.calls_per_second);
    tokens_ = settings_.burst;
}

double call_governor::allowed_rate(boot_time now) const {
    if (!cut_)
        return settings_.calls_per_second;
    const double quick = settings_.recovery_per_second * settings_.calls_per_second;
    const double near = std::max(cut_->to, near_the_limit * cut_->from);
    const double until_near = (near - cut_->to) / quick;
    const double since = seconds(now - cut_->at);
    if (since <= until_near)
        return cut_->to + quick * since;
    const double careful = std::clamp(since, until_near, std::max(until_near, careful_for)) - until_near;
    const double quick_again = since - until_near - careful;
    return std::min(near + quick * (careful_pace * careful + quick_again), settings_.calls_per_second);
}

double call_governor::tokens_at(boot_time now) const {
    if (!refilled_ || now <= *refilled_)
        return tokens_;
    const double rate = allowed_rate(*refilled_); // it only rises between cuts
    // What was saved up serves a start of many pods, not a limit that has just been found.
    const double capacity =
        rate < settings_.calls_per_second ? std::clamp(rate, 1.0, settings_.burst) : settings_.burst;
    return std::min(tokens_ + rate * seconds(now - *refilled_), std::max(capacity, tokens_));
}

void call_governor::refill(boot_time now) {
    tokens_ = tokens_at(now);
    refilled_ = refilled_ ? std::max(*refilled_, now) : now;
    if (cut_ && allowed_rate(now) >= settings_.calls_per_second)
        cut_.reset();
}

bool call_governor::try_start(boot_time now, unsigned calls) {
    refill(now);
    if (in_flight_ >= settings_.max_in_flight || tokens_ < 1)
        return false;
    tokens_ -= calls;
    ++in_flight_;
    return true;
}

std::optional<boot_time> call_governor::next_start(boot_time now) const {
    if (in_flight_ >= settings_.max_in_flight)
        return std::nullopt;
    const double tokens = tokens_at(now);
    if (tokens >= 1)
        return now;
    const double rate = allowed_rate(now);
    // The extra nanosecond makes up for rounding: who comes at that time is not sent away once more.
    const auto full = now + at_least((1 - tokens) / rate) + 1ns;
    return rate < settings_.calls_per_second ? std::min(full, now + look_again) : full;
}

void call_governor::charge(int calls, boot_time now) {
    refill(now);
    tokens_ = std::min(tokens_ - calls, settings_.burst);
}

void call_governor::finished(boot_time started, bool throttled, boot_time now) {
    --in_flight_;
    if (!throttled || (cut_ && started <= cut_->at))
        return;
    refill(now);
    const double rate = allowed_rate(now);
    cut_ = cut{now, rate, std::max(rate / 2, settings_.min_calls_per_second)};
    tokens_ = std::min(tokens_, 0.0);
}

} // namespace credlet::sts
