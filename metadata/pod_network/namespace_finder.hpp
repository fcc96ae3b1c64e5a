#pragma once
// Finds the network namespaces of this node's pods. Discovery loop only; reads files of /proc, of the cgroup
// file system and of the runtime, which are memory, but blocks as they do.
//
// By processes: the kubelet names a pod's control group by its uid, and what runs there, in another network
// namespace than the node's, runs in the pod's. A process is looked at through an open directory of /proc: a
// number that is used again meanwhile is another directory. Of several namespaces that of the oldest process
// counts: a pod's first process is in its sandbox, and later ones may have gone elsewhere (nsenter, a
// namespace of their own). Processes in the node's own namespace do not count: runtimes put monitors of
// theirs into pods' groups, and every process of a container begins there.
//
// By what the runtime has pinned: CRI-O runs no process for a sandbox, so before its first container the
// namespace is only a file in /run/netns. Such a file says nothing of the pod; who uses it must see to that.

#include "metadata/pod_network/cgroup_path.hpp"
#include "runtime/async.hpp"
#include "runtime/network_namespace.hpp"

#include <boost/asio/io_context.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace credlet::metadata {

struct found_namespace {
    network_namespace net;
    std::string how; // for operators: "process 4711 in /kubepods/pod…/…", or "/run/netns/cni-…"
};

// What looking for a pod's processes came to.
struct process_sighting {
    std::optional<found_namespace> found;
    std::string missing; // when not found: what is not there (yet), or cannot be read
    // Something of it is there already: the rest is a matter of milliseconds.
    bool imminent = false;
    // It has no control group (any more).
    bool group_gone = false;
    // Nothing can be found for any pod, for want of a right or a mount: `missing` says which.
    bool blind = false;
};

struct pinned_namespace {
    found_namespace found;
    std::vector<asio::ip::address> addresses; // of its links
    std::vector<std::string> tenants;         // uids of pods that have a process in it, sorted
};

struct namespace_finder_settings {
    std::string proc_dir = "/proc";
    std::string cgroup_dir = "/sys/fs/cgroup";
    std::string pinned_dir = "/run/netns";
};

class namespace_finder {
public:
    virtual ~namespace_finder() = default;

    // From now on changed() is called for this pod: when its control group or one of a container comes or
    // goes and, until watch_processes(uid, false), when a process joins one.
    virtual void follow(const std::string& uid) = 0;
    virtual void watch_processes(const std::string& uid, bool on) = 0;
    virtual void forget(const std::string& uid) = 0;

    // Looks for the pod's processes now.
    [[nodiscard]] virtual process_sighting look(const std::string& uid) = 0;
    // Every pinned namespace that is not the node's. For their addresses it visits them; for their tenants it
    // looks at the processes of all pods. Not cheap.
    [[nodiscard]] virtual std::vector<pinned_namespace> pinned() = 0;

    // Why events may be missing; empty: nothing is known. For operators; changes seldom.
    [[nodiscard]] virtual std::string trouble() const { return {}; }

    // The control group of the pod changed: look again. May be called for one that nothing happened to. Like
    // pins_changed called by the loop, not from within the methods above.
    std::function<void(const std::string& uid)> changed;
    // The runtime has pinned a namespace, or let one go.
    std::function<void()> pins_changed;
};

// loop: what events are awaited on; the visitor's thread runs it. errc::denied or not_found: this process
// cannot even tell which namespace is the node's; the message says what it lacks. Without inotify(7), or at
// its limits, events are missing: who uses it looks again after a while.
result<std::unique_ptr<namespace_finder>> make_namespace_finder(asio::io_context& loop,
                                                                const namespace_visitor& visitor,
                                                                namespace_finder_settings settings);

} // namespace credlet::metadata
