#include "metadata/kubernetes/probe_policy.hpp"

#include <algorithm>

namespace credlet::metadata::kubernetes {

std::chrono::milliseconds probe_policy::jittered(std::chrono::milliseconds d) {
    const auto factor = 0.8 + 0.4 * random_.unit();
    return std::chrono::milliseconds(
        static_cast<std::chrono::milliseconds::rep>(factor * static_cast<double>(d.count())));
}

std::chrono::milliseconds probe_policy::after_failure(std::optional<std::chrono::milliseconds> retry_after) {
    const auto doublings = std::min(failures_++, 10U);
    const auto backoff = jittered(std::min(first_backoff_ * (1U << doublings), silence_));
    return std::max(backoff, std::min(retry_after.value_or(backoff), longest_retry_after));
}

} // namespace credlet::metadata::kubernetes
