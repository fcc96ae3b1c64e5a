#pragma once
// Which objects are known by a direct answer as they are in a version that the watch has not come to yet.
// Until it has, the older states that it still tells of must not undo the newer one.
//
// Versions are metadata.resourceVersion as a number, 0 where it is none; objects of one kind compare by them
// (officially since Kubernetes 1.35, KEP-5504; before, they were etcd's revisions as well).

#include <cstdint>
#include <map>

namespace credlet::metadata {

template <class Key>
class versions_ahead {
public:
    // A direct answer brought the object in this version.
    void brought(const Key& key, std::uint64_t version) {
        if (version != 0)
            ahead_[key] = {version, false};
    }
    // Whether a state that the watch tells of is older than what was brought. If it is not, the watch has
    // come that far.
    [[nodiscard]] bool outdated(const Key& key, std::uint64_t version) {
        const auto found = ahead_.find(key);
        if (found == ahead_.end())
            return false;
        if (version != 0 && version < found->second.version)
            return true;
        ahead_.erase(found);
        return false;
    }
    // Whether a list read at that version came too early to show what was brought.
    [[nodiscard]] bool newer_than(const Key& key, std::uint64_t list_version) const {
        const auto found = ahead_.find(key);
        return found != ahead_.end() && list_version < found->second.version;
    }
    void forget(const Key& key) { ahead_.erase(key); }
    // A list has come. It may have been read before an answer that came while it was under way; the next
    // list is read after both, so nothing is ahead for longer than that. Without this end, a cluster restored
    // from a backup, whose versions begin again lower, would not be believed.
    void listed() {
        std::erase_if(ahead_, [](const auto& entry) { return entry.second.listed; });
        for (auto& [key, what] : ahead_)
            what.listed = true;
    }

private:
    struct entry {
        std::uint64_t version = 0;
        bool listed = false; // a list has come since
    };
    std::map<Key, entry> ahead_;
};

} // namespace credlet::metadata
