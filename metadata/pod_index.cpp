#include "metadata/pod_index.hpp"

#include <algorithm>

namespace credlet::metadata {

void pod_index::put(pod p) {
    remove(p.uid);
    auto added = std::make_shared<const pod>(std::move(p));
    by_uid_.emplace(added->uid, added);
    if (added->terminal)
        return;
    for (const auto& address : added->addresses) {
        auto& claimants = claimants_[address_key(address)];
        if (std::find(claimants.begin(), claimants.end(), added) ==
            claimants.end()) // an address listed twice
            claimants.push_back(added);
    }
}

void pod_index::remove(std::string_view uid) {
    const auto found = by_uid_.find(uid);
    if (found == by_uid_.end())
        return;
    unlink(*found->second);
    by_uid_.erase(found);
}

void pod_index::unlink(const pod& p) {
    for (const auto& address : p.addresses) {
        const auto found = claimants_.find(address_key(address));
        if (found == claimants_.end())
            continue;
        std::erase_if(found->second, [&](const pod_ptr& c) { return c->uid == p.uid; });
        if (found->second.empty())
            claimants_.erase(found);
    }
}

pod_ptr pod_index::by_uid(std::string_view uid) const {
    const auto found = by_uid_.find(uid);
    return found == by_uid_.end() ? nullptr : found->second;
}

pod_ptr pod_index::by_name(std::string_view namespace_name, std::string_view name) const {
    pod_ptr best;
    for (const auto& [uid, p] : by_uid_) {
        if (p->name != name || p->namespace_name != namespace_name)
            continue;
        if (!p->terminal)
            return p;
        best = p;
    }
    return best;
}

address_claim pod_index::claim(const address_key& address) const {
    const auto found = claimants_.find(address);
    if (found == claimants_.end())
        return {};
    // A pod with its own network that has the node's address is no state Kubernetes should bring about: a
    // conflict.
    const auto& claimants = found->second;
    if (std::all_of(claimants.begin(), claimants.end(), [](const pod_ptr& p) { return p->host_network; }))
        return {claim_kind::host_network, nullptr};
    if (claimants.size() > 1)
        return {claim_kind::conflict, nullptr};
    return {claim_kind::owned, claimants.front()};
}

std::vector<address_key> pod_index::addresses() const {
    std::vector<address_key> keys;
    keys.reserve(claimants_.size());
    for (const auto& [key, claimants] : claimants_)
        keys.push_back(key);
    return keys;
}

std::vector<pod_ptr> pod_index::all() const {
    std::vector<pod_ptr> pods;
    pods.reserve(by_uid_.size());
    for (const auto& [uid, p] : by_uid_)
        pods.push_back(p);
    return pods;
}

} // namespace credlet::metadata
