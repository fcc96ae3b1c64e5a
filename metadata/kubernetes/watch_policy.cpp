#include "metadata/kubernetes/watch_policy.hpp"

#include <algorithm>

namespace credlet::metadata::kubernetes {

std::string_view reason_of(watch_end end) {
    switch (end) {
    case watch_end::closed:
        return "closed";
    case watch_end::connection:
        return "connection";
    case watch_end::silent:
        return "idle";
    case watch_end::expired:
        return "expired";
    case watch_end::throttled:
        return "throttled";
    case watch_end::unavailable:
    case watch_end::version_ahead:
        return "unavailable";
    case watch_end::unauthorized:
    case watch_end::forbidden:
        return "denied";
    case watch_end::undecodable:
        return "decode";
    case watch_end::refused:
        return "other";
    }
    return "other";
}

watch_end end_of(const api_error& e) {
    if (e.status == 410 || e.reason == "Expired" || e.reason == "Gone")
        return watch_end::expired;
    if (e.version_too_large)
        return watch_end::version_ahead;
    if (e.status == 401)
        return watch_end::unauthorized;
    if (e.status == 403)
        return watch_end::forbidden;
    switch (e.kind) {
    case errc::throttled:
        return watch_end::throttled;
    case errc::unavailable:
        return watch_end::unavailable;
    case errc::malformed:
    case errc::too_large:
        return watch_end::undecodable;
    case errc::not_found:
    case errc::rejected:
    case errc::denied:
        return watch_end::refused;
    default:
        return watch_end::connection;
    }
}

std::chrono::milliseconds watch_policy::backoff() {
    const auto doublings = std::min(failures_++, 10U);
    const auto highest = std::min(first_backoff * (1U << doublings), longest_backoff);
    return std::chrono::milliseconds(
        static_cast<std::chrono::milliseconds::rep>(random_.unit() * static_cast<double>(highest.count())));
}

watch_step watch_policy::after(watch_end end, bool have_version, std::chrono::nanoseconds lasted,
                               std::optional<std::chrono::milliseconds> retry_after) {
    if (lasted >= healthy_after)
        failures_ = 0;
    if (end != watch_end::version_ahead)
        versions_ahead_ = 0;

    // When the server names a time, that and up to a second more, so that not all nodes come back at once.
    const auto asked_or_backoff = [&] {
        if (!retry_after)
            return backoff();
        return std::min(*retry_after, longest_retry_after) + std::chrono::milliseconds(random_.next() % 1000);
    };

    switch (end) {
    case watch_end::closed:
    case watch_end::silent:
        if (lasted >= briefest_watch)
            return {!have_version, std::chrono::milliseconds(0)};
        return {!have_version, backoff()};
    case watch_end::expired:
    case watch_end::undecodable:
        // What was missed is in a new list. At once, unless that was tried just now.
        if (failures_ == 0) {
            ++failures_;
            return {true, std::chrono::milliseconds(0)};
        }
        return {true, backoff()};
    case watch_end::throttled:
    case watch_end::unavailable:
        return {!have_version, asked_or_backoff()};
    case watch_end::version_ahead:
        if (++versions_ahead_ >= versions_ahead_in_a_row) {
            versions_ahead_ = 0;
            return {true, asked_or_backoff()};
        }
        return {!have_version, asked_or_backoff()};
    case watch_end::connection:
    case watch_end::unauthorized:
    case watch_end::forbidden:
        return {!have_version, backoff()};
    case watch_end::refused:
        return {true, backoff()};
    }
    return {true, backoff()};
}

} // namespace credlet::metadata::kubernetes
