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

std::chrono::milliseconds watch_policy::backoff(unsigned& failures) {
    const auto doublings = std::min(failures++, 10U);
    const auto highest = std::min(first_backoff * (1U << doublings), longest_backoff);
    return std::chrono::milliseconds(
        static_cast<std::chrono::milliseconds::rep>(random_.unit() * static_cast<double>(highest.count())));
}

watch_step watch_policy::after(watch_end end, bool have_version, std::chrono::nanoseconds lasted,
                               std::optional<std::chrono::milliseconds> retry_after) {
    const bool missed = end == watch_end::expired || end == watch_end::undecodable;
    if (lasted >= healthy_after)
        failures_ = relists_ = 0;
    if (!missed)
        relists_ = 0;
    if (end != watch_end::version_ahead)
        versions_ahead_ = 0;
    if (end != watch_end::unavailable)
        unavailable_ = 0;

    // When the server names a time, that and up to a second more, so that not all nodes come back at once.
    const auto asked_or_backoff = [&] {
        if (!retry_after)
            return backoff(failures_);
        return std::min(*retry_after, longest_retry_after) + std::chrono::milliseconds(random_.next() % 1000);
    };
    // Every so many in a row the version is given up.
    const auto given_up = [](unsigned& count, unsigned most) {
        count = (count + 1) % most;
        return count == 0;
    };

    switch (end) {
    case watch_end::closed:
    case watch_end::silent:
        if (lasted >= briefest_watch)
            return {!have_version, std::chrono::milliseconds(0)};
        return {!have_version, backoff(failures_)};
    case watch_end::expired:
    case watch_end::undecodable:
        // What was missed is in a new list. At once, however long the API server was away before; only a list
        // that does not help is waited for.
        if (relists_ == 0) {
            ++relists_;
            return {true, std::chrono::milliseconds(0)};
        }
        return {true, backoff(relists_)};
    case watch_end::unavailable: {
        const bool relist = given_up(unavailable_, unavailable_in_a_row);
        return {relist || !have_version, asked_or_backoff()};
    }
    case watch_end::version_ahead: {
        const bool relist = given_up(versions_ahead_, versions_ahead_in_a_row);
        return {relist || !have_version, asked_or_backoff()};
    }
    case watch_end::throttled:
        return {!have_version, asked_or_backoff()};
    case watch_end::connection:
    case watch_end::unauthorized:
    case watch_end::forbidden:
        return {!have_version, backoff(failures_)};
    case watch_end::refused:
        return {true, backoff(failures_)};
    }
    return {true, backoff(failures_)};
}

} // namespace credlet::metadata::kubernetes
