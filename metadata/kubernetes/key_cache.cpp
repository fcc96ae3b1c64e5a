#include "metadata/kubernetes/key_cache.hpp"

#include <algorithm>

namespace credlet::metadata::kubernetes {

bool key_cache::has_keys(boot_time now) const { return good_ && now - *good_ <= settings_.keep_stale; }

key_cache::lookup_result key_cache::lookup(std::string_view key_id, boot_time now) const {
    if (has_keys(now)) {
        if (const auto* key = keys_.find(key_id))
            return {answer::known, key};
        const auto denied = std::find_if(unknown_.begin(), unknown_.end(),
                                         [&](const auto& u) { return u.id == key_id && now < u.until; });
        if (denied != unknown_.end())
            return {answer::unknown};
    }
    if (may_fetch(now))
        return {answer::fetch};
    return {has_keys(now) ? answer::wait : answer::no_keys};
}

bool key_cache::may_fetch(boot_time now) const {
    return !last_begun_ || now - *last_begun_ >= settings_.min_interval;
}

void key_cache::begin_fetch(boot_time now) { last_begun_ = now; }

void key_cache::fetched(key_set keys, boot_time now) {
    keys_ = std::move(keys);
    good_ = now;
    failures_ = 0;
    const auto spread = 0.9 + 0.2 * random_.unit();
    next_regular_ = now + std::chrono::nanoseconds(static_cast<std::chrono::nanoseconds::rep>(
                              spread * static_cast<double>(settings_.refresh.count())));
}

void key_cache::failed(boot_time now) {
    next_regular_ = now + std::min(first_retry * (1U << std::min(failures_++, 8U)), longest_retry);
}

void key_cache::missed(std::string_view key_id, boot_time now) {
    std::erase_if(unknown_, [&](const auto& u) { return now >= u.until || u.id == key_id; });
    if (unknown_.size() >= max_unknown)
        unknown_.pop_front();
    unknown_.push_back({std::string(key_id), now + unknown_for});
}

} // namespace credlet::metadata::kubernetes
