#include "metadata/pod_network/group_watches.hpp"

#include "metadata/pod_network/kernel_files.hpp"

#include <algorithm>
#include <sys/inotify.h>
#include <utility>

namespace credlet::metadata {

namespace {

constexpr std::uint32_t coming_and_going = IN_CREATE | IN_DELETE | IN_ONLYDIR | IN_DONT_FOLLOW;
// Whoever puts a process into a group writes its number to cgroup.procs, or to tasks (version 1), which the
// kernel tells to those who watch the directory. A process can also be born there (CLONE_INTO_CGROUP): of
// version 2, cgroup.events changes then, but only who watches this very file hears of it for sure.
constexpr std::uint32_t processes_too = coming_and_going | IN_MODIFY;
constexpr std::string_view populated = "cgroup.events";

// The pod's own group, its containers', and one or two below: crun's "container", systemd's in a container.
constexpr int deepest = 3;
constexpr std::size_t most_watches = 64, most_children = 64;

bool of_directory(std::uint32_t what) { return (what & IN_ISDIR) != 0; }

} // namespace

group_watches::~group_watches() {
    for (auto& [uid, p] : pods_)
        uncover(p, p.group);
    for (const auto& [path, watch] : levels_)
        events_.remove(watch);
}

void group_watches::follow(const std::string& uid) {
    const auto [at, added] = pods_.try_emplace(uid);
    if (!added)
        return;
    if (const auto group = tree_.find(uid))
        attach(uid, at->second, *group);
}

void group_watches::watch_processes(const std::string& uid, bool on) {
    const auto at = pods_.find(uid);
    if (at == pods_.end() || at->second.processes == on)
        return;
    pod& p = at->second;
    p.processes = on;
    if (p.group.empty())
        return;
    if (!on)
        uncover(p, p.group);
    cover(uid, p, p.group, 0);
}

void group_watches::forget(const std::string& uid) {
    const auto at = pods_.find(uid);
    if (at == pods_.end())
        return;
    uncover(at->second, at->second.group);
    pods_.erase(at);
}

void group_watches::roots_changed() {
    const auto before = std::exchange(levels_, {});
    // Watched first and looked at then: nothing can happen in between. What is still the same directory keeps
    // its watch, and with it the events that have not been told yet.
    for (const auto& root : tree_.roots())
        for (const auto& level : cgroup_tree::levels(root))
            watch_level(level);
    for (const auto& [path, watch] : before)
        if (std::ranges::none_of(levels_, [&](const auto& l) { return l.second == watch; }))
            events_.remove(watch);
    attach_missing();
}

void group_watches::start_anew() {
    for (auto& [uid, p] : pods_) {
        uncover(p, p.group);
        p.group.clear();
    }
    roots_changed();
    for (const auto& [uid, p] : pods_)
        happened(uid);
}

void group_watches::found(const std::string& uid, const std::string& group) {
    const auto at = pods_.find(uid);
    if (at != pods_.end() && at->second.group != group)
        attach(uid, at->second, group);
}

void group_watches::watch_level(const std::string& level) {
    const int watch =
        events_.add(level, coming_and_going, [this, level](std::uint32_t what, std::string_view name) {
            on_level(level, what, name);
        });
    if (watch >= 0)
        levels_[level] = watch;
}

void group_watches::on_level(const std::string& level, std::uint32_t what, std::string_view name) {
    if ((what & IN_IGNORED) != 0) {
        levels_.erase(level);
        return;
    }
    if (!of_directory(what))
        return;
    const auto path = level + "/" + std::string(name);
    if (const auto uid = pod_of_cgroup_name(name)) {
        const auto at = pods_.find(*uid);
        if (at == pods_.end())
            return;
        pod& p = at->second;
        if ((what & IN_CREATE) != 0) {
            attach(*uid, p, path);
        } else if (p.group == path) {
            uncover(p, p.group);
            p.group.clear();
        }
        happened(*uid);
        return;
    }
    // A quality class; all that one may be in the root.
    const auto& roots = tree_.roots();
    if (std::ranges::find(roots, level) == roots.end())
        return;
    const auto levels = cgroup_tree::levels(level);
    if (std::ranges::find(levels, path) == levels.end())
        return;
    if ((what & IN_CREATE) != 0) {
        watch_level(path);
        attach_missing();
    } else if (const auto gone = levels_.find(path); gone != levels_.end()) {
        events_.remove(gone->second);
        levels_.erase(gone);
    }
}

void group_watches::attach(const std::string& uid, pod& p, const std::string& group) {
    uncover(p, p.group);
    p.group = group;
    cover(uid, p, group, 0);
}

void group_watches::attach_missing() {
    for (auto& [uid, p] : pods_)
        if (p.group.empty())
            if (const auto group = tree_.find(uid)) {
                attach(uid, p, *group);
                happened(uid);
            }
}

void group_watches::cover(const std::string& uid, pod& p, const std::string& path, int depth) {
    if (p.watches.size() >= most_watches)
        return;
    const int watch = events_.add(path, p.processes ? processes_too : coming_and_going,
                                  [this, uid, path, depth](std::uint32_t what, std::string_view name) {
                                      on_group(uid, path, depth, what, name);
                                  });
    if (watch < 0)
        return;
    p.watches[path] = watch;
    if (!p.processes)
        return;
    auto events = path + "/" + std::string(populated);
    const int births = events_.add(events, IN_MODIFY, [this, uid](std::uint32_t what, std::string_view) {
        if ((what & IN_MODIFY) != 0)
            happened(uid);
    });
    if (births >= 0)
        p.watches[std::move(events)] = births;
    if (depth == deepest)
        return;
    if (const auto children = directories_in(path, most_children))
        for (const auto& child : *children)
            cover(uid, p, path + "/" + child, depth + 1);
}

void group_watches::on_group(const std::string& uid, const std::string& path, int depth, std::uint32_t what,
                             std::string_view name) {
    const auto at = pods_.find(uid);
    if (at == pods_.end())
        return;
    pod& p = at->second;
    if ((what & IN_IGNORED) != 0) {
        p.watches.erase(path);
        return;
    }
    if ((what & IN_MODIFY) != 0) {
        if (name == "cgroup.procs" || name == "tasks" || name == populated)
            happened(uid);
        return;
    }
    if (!of_directory(what))
        return;
    const auto child = path + "/" + std::string(name);
    if ((what & IN_DELETE) != 0)
        uncover(p, child);
    else if (p.processes && depth < deepest)
        cover(uid, p, child, depth + 1);
    happened(uid);
}

void group_watches::uncover(pod& p, const std::string& path) {
    const auto below = path + "/";
    for (auto at = p.watches.lower_bound(path); at != p.watches.end() && at->first.starts_with(path);) {
        if (at->first == path || at->first.starts_with(below)) {
            events_.remove(at->second);
            at = p.watches.erase(at);
        } else {
            ++at;
        }
    }
}

} // namespace credlet::metadata
