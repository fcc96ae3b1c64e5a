#include "metadata/caller_memory.hpp"

#include <algorithm>

namespace credlet::metadata {

void caller_memory::remember(const token_digest& digest, remembered_token token) {
    if (tokens_.contains(digest) || max_tokens_ == 0)
        return;
    if (tokens_.size() >= max_tokens_)
        forget(tokens_.begin()->first);
    auto& of_pod = tokens_of_[token.pod_uid];
    of_pod.push_back(digest);
    tokens_.emplace(digest, std::move(token));
    if (of_pod.size() > max_tokens_per_pod)
        forget(of_pod.front());
}

void caller_memory::forget(const token_digest& gone) {
    const token_digest digest = gone; // what is passed in may be the element that goes
    const auto found = tokens_.find(digest);
    const auto of_pod = tokens_of_.find(found->second.pod_uid);
    std::erase(of_pod->second, digest);
    if (of_pod->second.empty())
        tokens_of_.erase(of_pod);
    tokens_.erase(found);
}

const remembered_token* caller_memory::token(const token_digest& digest, boot_time now) {
    const auto found = tokens_.find(digest);
    if (found == tokens_.end())
        return nullptr;
    if (now < found->second.expires)
        return &found->second;
    forget(digest);
    return nullptr;
}

void caller_memory::keep_only(const identity_map& pods) {
    boost::unordered::erase_if(tokens_of_, [&](const auto& of_pod) {
        if (pods.by_uid.contains(of_pod.first))
            return false;
        for (const auto& digest : of_pod.second)
            tokens_.erase(digest);
        return true;
    });
}

template <class Map, class Key>
void caller_memory::put(Map& map, const Key& key, entry e) {
    if (map.size() >= max_refusals && !map.contains(key))
        map.clear(); // they are asked about once more
    map.insert_or_assign(key, e);
}

template <class Map, class Key>
std::optional<refusal> caller_memory::get(const Map& map, const Key& key, boot_time now) {
    const auto found = map.find(key);
    return found == map.end() || now >= found->second.until ? std::nullopt : std::optional(found->second.why);
}

void caller_memory::refuse(const lack& lacking, refusal why, boot_time until) {
    switch (lacking.what) {
    case need::token:
        return put(refused_tokens_, lacking.digest, {why, until});
    case need::address:
        return put(refused_addresses_, lacking.address, {why, until});
    case need::account:
        return put(refused_pods_, lacking.pod_uid, {why, until});
    case need::credentials:
        return; // the view tells
    }
}

std::optional<refusal> caller_memory::refused(const lack& lacking, boot_time now) const {
    switch (lacking.what) {
    case need::token:
        return get(refused_tokens_, lacking.digest, now);
    case need::address:
        return get(refused_addresses_, lacking.address, now);
    case need::account:
        return get(refused_pods_, lacking.pod_uid, now);
    case need::credentials:
        return std::nullopt;
    }
    return std::nullopt;
}

} // namespace credlet::metadata
