#pragma once
// Tokens that callers presented and that verified, for the token source `caller`: the newest for each service
// account, audience and pod. Bounded; what expires or whose pod is gone is wiped. Plain and synchronous.

#include "metadata/cluster.hpp"

#include <compare>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace credlet::metadata::kubernetes {

class presented_store {
public:
    static constexpr std::size_t max_tokens = 4096;
    // A token with more audiences than that is kept for the first ones only.
    static constexpr std::size_t max_audiences = 8;

    explicit presented_store(const clock& time, std::size_t bound = max_tokens)
        : time_(time),
          bound_(bound) {}

    // Kept if it outlives the one already there. When full, the one that expires first makes room.
    void remember(const verified_token& claims, secret_string jwt);
    void forget_pod(const std::string& pod_uid);
    void drop_expired();

    struct entry {
        std::string pod_uid;
        wall_time expires;
        std::shared_ptr<const secret_string> jwt;
    };
    // All that are not expired for the service account and audience, the longest-lived first; with pod_uid
    // only that pod's.
    [[nodiscard]] std::vector<entry> find(const std::string& service_account_uid, const std::string& audience,
                                          const std::string& pod_uid) const;
    [[nodiscard]] std::size_t size() const { return entries_.size(); }

private:
    struct key {
        std::string service_account_uid, audience, pod_uid;
        friend auto operator<=>(const key&, const key&) = default;
    };
    const clock& time_;
    std::size_t bound_;
    std::map<key, entry> entries_;
};

} // namespace credlet::metadata::kubernetes
