#include "metadata/kubernetes/presented_store.hpp"

#include <algorithm>

namespace credlet::metadata::kubernetes {

void presented_store::remember(const verified_token& claims, secret_string jwt) {
    if (claims.expires <= time_.wall())
        return;
    const auto shared = std::make_shared<const secret_string>(std::move(jwt));
    const auto count = std::min(claims.audiences.size(), max_audiences);
    for (std::size_t i = 0; i < count; ++i) {
        key k{claims.service_account_uid, claims.audiences[i], claims.pod_uid};
        const auto known = entries_.find(k);
        if (known != entries_.end()) {
            if (claims.expires > known->second.expires)
                known->second = {claims.pod_uid, claims.expires, shared};
            continue;
        }
        if (entries_.size() >= bound_)
            drop_expired();
        if (entries_.size() >= bound_) {
            entries_.erase(
                std::min_element(entries_.begin(), entries_.end(), [](const auto& a, const auto& b) {
                    return a.second.expires < b.second.expires;
                }));
        }
        entries_.emplace(std::move(k), entry{claims.pod_uid, claims.expires, shared});
    }
}

void presented_store::forget_pod(const std::string& pod_uid) {
    std::erase_if(entries_, [&](const auto& e) { return e.second.pod_uid == pod_uid; });
}

void presented_store::drop_expired() {
    const auto now = time_.wall();
    std::erase_if(entries_, [&](const auto& e) { return e.second.expires <= now; });
}

std::vector<presented_store::entry> presented_store::find(const std::string& service_account_uid,
                                                          const std::string& audience,
                                                          const std::string& pod_uid) const {
    std::vector<entry> found;
    const auto now = time_.wall();
    for (auto it = entries_.lower_bound(key{service_account_uid, audience, pod_uid});
         it != entries_.end() && it->first.service_account_uid == service_account_uid &&
         it->first.audience == audience && (pod_uid.empty() || it->first.pod_uid == pod_uid);
         ++it) {
        if (it->second.expires > now)
            found.push_back(it->second);
    }
    std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.expires > b.expires; });
    return found;
}

} // namespace credlet::metadata::kubernetes
