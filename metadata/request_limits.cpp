#include "metadata/request_limits.hpp"

#include <algorithm>

namespace credlet::metadata {

request_limits::request_limits(double per_second, double burst, std::size_t max_callers)
    : per_nanosecond_(per_second * 1e-9),
      burst_(std::max(burst, 1.0)),
      max_callers_(max_callers) {}

bool request_limits::take(std::uint64_t caller, boot_time now) {
    auto found = buckets_.find(caller);
    if (found == buckets_.end()) {
        if (buckets_.size() >= max_callers_)
            make_room(now);
        found = buckets_.emplace(caller, bucket{burst_, now}).first;
    }
    bucket& b = found->second;
    if (now > b.when) {
        b.left = std::min(burst_, b.left + static_cast<double>((now - b.when).count()) * per_nanosecond_);
        b.when = now;
    }
    if (b.left < 1.0)
        return false;
    b.left -= 1.0;
    return true;
}

void request_limits::refund(std::uint64_t caller) {
    if (const auto found = buckets_.find(caller); found != buckets_.end())
        found->second.left = std::min(burst_, found->second.left + 1.0);
}

void request_limits::make_room(boot_time now) {
    boost::unordered::erase_if(buckets_, [&](const auto& entry) {
        const bucket& b = entry.second;
        return b.left + static_cast<double>((now - b.when).count()) * per_nanosecond_ >= burst_;
    });
    if (buckets_.size() >= max_callers_)
        buckets_.clear();
}

} // namespace credlet::metadata
