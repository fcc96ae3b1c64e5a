#pragma once
// Tells when something happens to the control groups of the pods that are followed: inotify watches on the
// directories that pods' groups are in, on each followed pod's, and while its processes are awaited on those
// of its containers. Discovery loop only.

#include "metadata/pod_network/cgroup_tree.hpp"
#include "metadata/pod_network/directory_events.hpp"

#include <functional>
#include <map>
#include <string>

namespace credlet::metadata {

class group_watches {
public:
    // Both outlive this.
    group_watches(const cgroup_tree& tree, directory_events& events) : tree_(tree), events_(events) {}
    group_watches(const group_watches&) = delete;
    group_watches& operator=(const group_watches&) = delete;
    ~group_watches();

    void follow(const std::string& uid);
    void watch_processes(const std::string& uid, bool on);
    void forget(const std::string& uid);
    [[nodiscard]] bool follows(const std::string& uid) const { return pods_.contains(uid); }

    // The tree has other roots than before.
    void roots_changed();
    // Events have been lost.
    void start_anew();
    // The pod has a group, whatever has been told.
    void found(const std::string& uid, const std::string& group);

    // Of a followed pod. Called from within any of these methods, and by events.
    std::function<void(const std::string& uid)> happened;

private:
    struct pod {
        std::string group; // empty: it has none
        bool processes = true;
        std::map<std::string, int> watches; // by path
    };
    void watch_level(const std::string& level);
    void on_level(const std::string& level, std::uint32_t what, std::string_view name);
    void attach(const std::string& uid, pod& p, const std::string& group);
    void attach_missing();
    void cover(const std::string& uid, pod& p, const std::string& path, int depth);
    void on_group(const std::string& uid, const std::string& path, int depth, std::uint32_t what,
                  std::string_view name);
    void uncover(pod& p, const std::string& path);

    const cgroup_tree& tree_;
    directory_events& events_;
    std::map<std::string, int> levels_; // by path
    std::map<std::string, pod, std::less<>> pods_;
};

} // namespace credlet::metadata
