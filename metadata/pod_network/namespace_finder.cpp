#include "metadata/pod_network/namespace_finder.hpp"

#include "metadata/pod_network/cgroup_tree.hpp"
#include "metadata/pod_network/directory_events.hpp"
#include "metadata/pod_network/group_watches.hpp"
#include "metadata/pod_network/kernel_files.hpp"
#include "metadata/pod_network/pinned_namespaces.hpp"
#include "metadata/pod_network/process_namespace.hpp"
#include "metadata/pod_network/process_scan.hpp"

#include <boost/asio/post.hpp>

#include <algorithm>
#include <chrono>
#include <fcntl.h>
#include <set>

namespace credlet::metadata {

namespace {

using namespace std::chrono_literals;
using steady_time = std::chrono::steady_clock::time_point;

constexpr auto rights = "this takes hostPID, and CAP_SYS_PTRACE";

// Whose namespace is taken so far, of the processes that a look comes by.
struct survey {
    std::optional<network_namespace> net;
    std::uint64_t started = 0;
    pid_t number = 0;
    std::string group;      // where that process is, for operators
    std::size_t groups = 0; // below the pod's own
    std::size_t listed = 0; // processes that are said to be the pod's
    bool outside = false;   // some that have no number here
    std::string unreadable; // a group whose processes cannot be read, or a process that cannot be looked at
};

// What one sees of a namespace while being in it.
struct surroundings {
    network_namespace net;
    std::vector<asio::ip::address> addresses;
};

result<surroundings> look_around() {
    // An open file keeps what it was found in from being unmounted (umount(2), EBUSY), so the runtime's bind
    // mount is not to stay open; found this way the namespace is the same.
    auto net = network_namespace::open("/proc/thread-self/ns/net");
    if (!net)
        return net.error();
    auto addresses = addresses_here();
    if (!addresses)
        return addresses.error();
    return surroundings{std::move(*net), std::move(*addresses)};
}

class finder final : public namespace_finder {
public:
    finder(asio::io_context& loop, const namespace_visitor& visitor, namespace_finder_settings settings,
           descriptor proc, network_namespace node)
        : loop_(loop),
          visitor_(visitor),
          settings_(std::move(settings)),
          proc_(std::move(proc)),
          node_(std::move(node)),
          tree_(settings_.cgroup_dir),
          events_(loop),
          watches_(tree_, events_),
          pins_(loop, events_, settings_.pinned_dir) {
        watches_.happened = [this](const std::string& uid) { tell(uid); };
        pins_.changed = [this] {
            if (pins_changed)
                pins_changed();
        };
        events_.lost = [this] {
            watches_.start_anew();
            if (pins_changed)
                pins_changed();
        };
        look_for_roots();
    }

    void follow(const std::string& uid) override { watches_.follow(uid); }
    void watch_processes(const std::string& uid, bool on) override { watches_.watch_processes(uid, on); }
    void forget(const std::string& uid) override { watches_.forget(uid); }
    process_sighting look(const std::string& uid) override;
    std::vector<pinned_namespace> pinned() override;
    std::string trouble() const override { return events_.trouble(); }

private:
    void tell(const std::string& uid);
    void look_for_roots();
    std::optional<std::string> group_of(const std::string& uid);
    process_sighting look_through_proc(const std::string& uid);
    void consider(survey& s, pid_t number, const std::string& uid, const std::string* group) const;
    [[nodiscard]] bool is_of_pod(const process_directory& process, pid_t number, const std::string& uid,
                                 const std::string* group) const;
    static process_sighting summary(survey s, std::string nothing);

    asio::io_context& loop_;
    const namespace_visitor& visitor_;
    const namespace_finder_settings settings_;
    const descriptor proc_;
    const network_namespace node_;
    cgroup_tree tree_;
    steady_time roots_looked_for_;
    directory_events events_;
    group_watches watches_;
    pinned_namespaces pins_;
    std::set<std::string> to_tell_;
    process_scan scan_;
    steady_time scan_holds_until_{};
    std::shared_ptr<const int> alive_ = std::make_shared<int>();
};

// One call for a burst of events, and none from within a method that the caller is in.
void finder::tell(const std::string& uid) {
    const bool first = to_tell_.empty();
    to_tell_.insert(uid);
    if (!first)
        return;
    asio::post(loop_, [this, alive = std::weak_ptr(alive_)] {
        if (alive.expired())
            return;
        for (const auto& changed_one : std::exchange(to_tell_, {})) {
            if (changed && watches_.follows(changed_one))
                changed(changed_one);
            if (alive.expired())
                return;
        }
    });
}

void finder::look_for_roots() {
    roots_looked_for_ = std::chrono::steady_clock::now();
    tree_.discover();
    watches_.roots_changed();
}

std::optional<std::string> finder::group_of(const std::string& uid) {
    auto group = tree_.find(uid);
    if (!group) {
        // The kubelet may have been started since, or anew with another driver.
        const auto pause = tree_.empty() ? 1s : 30s;
        if (std::chrono::steady_clock::now() - roots_looked_for_ < pause)
            return std::nullopt;
        look_for_roots();
        group = tree_.find(uid);
    }
    if (group)
        watches_.found(uid, *group);
    return group;
}

process_sighting finder::look(const std::string& uid) {
    const auto pod = group_of(uid);
    if (tree_.empty())
        return look_through_proc(uid);
    if (!pod) {
        process_sighting nothing;
        nothing.missing = "it has no control group";
        nothing.group_gone = true;
        return nothing;
    }
    survey s;
    each_group_of_pod(*pod, [&](const std::string& group) {
        if (group != *pod)
            ++s.groups;
        const auto processes = processes_of(group);
        if (!processes) {
            if (processes.error().kind == errc::denied)
                s.unreadable = processes.error().message;
            return true; // it has gone, or has threads only (cgroups(7), threaded mode)
        }
        s.outside = s.outside || processes->outside;
        for (const auto number : processes->numbers)
            consider(s, number, uid, &group);
        return true;
    });
    return summary(std::move(s), "there is no container in its control group yet");
}

process_sighting finder::look_through_proc(const std::string& uid) {
    constexpr auto serves_for = 200ms; // all pods that are looked for meanwhile
    const auto now = std::chrono::steady_clock::now();
    if (now >= scan_holds_until_) {
        scan_ = scan_processes(proc_, settings_.proc_dir);
        // Counted from its end, and at most a third of the time is spent on it.
        const auto end = std::chrono::steady_clock::now();
        scan_holds_until_ = end + std::max<std::chrono::steady_clock::duration>(serves_for, 2 * (end - now));
    }
    survey s;
    if (const auto known = scan_.by_pod.find(uid); known != scan_.by_pod.end())
        for (const auto& process : known->second)
            consider(s, process.number, uid, nullptr);
    auto seen =
        summary(std::move(s), "none of " + std::to_string(scan_.seen) + " processes in " +
                                  settings_.proc_dir + " is in its control group (" + tree_.problem() + ")");
    if (scan_.seen == 0) {
        seen.blind = true;
        seen.missing = settings_.proc_dir + " shows no processes: " + rights;
    }
    return seen;
}

void finder::consider(survey& s, pid_t number, const std::string& uid, const std::string* group) const {
    ++s.listed;
    const auto process = process_directory::open(proc_, number);
    if (!process)
        return;
    const auto started = process->started();
    if (!started)
        return;
    if (s.net && std::pair(*started, number) >= std::pair(s.started, s.number))
        return;
    // The namespace is opened while the process is known to be the pod's: it is so before and after. One that
    // the number is given to in between is another directory, and the old one is then empty.
    if (!is_of_pod(*process, number, uid, group))
        return;
    auto net = process->network();
    if (!net) {
        if (net.error().kind == errc::denied)
            s.unreadable = "process " + std::to_string(number) + ": " + net.error().message;
        return;
    }
    if (net->id() == node_.id() || !is_of_pod(*process, number, uid, group))
        return;
    s.net.emplace(std::move(*net));
    s.started = *started;
    s.number = number;
    s.group = group != nullptr ? tree_.shown(*group) : "its control group";
}

bool finder::is_of_pod(const process_directory& process, pid_t number, const std::string& uid,
                       const std::string* group) const {
    const auto cgroups = process.cgroups();
    if (!cgroups)
        return false;
    if (const auto named = pod_of_process_cgroups(*cgroups))
        return *named == uid;
    // To who is in a cgroup namespace, the groups of its own pod have no names above its own ("/../<id>").
    // Then the group's word is taken; the number is this very process's if it still is there afterwards.
    if (group == nullptr || cgroups->find("pod") != std::string::npos)
        return false;
    const auto members = processes_of(*group);
    return members && std::ranges::find(members->numbers, number) != members->numbers.end() &&
           process.started().has_value();
}

process_sighting finder::summary(survey s, std::string nothing) {
    process_sighting seen;
    if (s.net) {
        seen.found.emplace(
            found_namespace{std::move(*s.net), "process " + std::to_string(s.number) + " in " + s.group});
        return seen;
    }
    seen.imminent = s.groups > 0 || s.listed > 0;
    if (s.outside) {
        seen.blind = true;
        seen.missing = "its processes cannot be seen from here: hostPID is missing";
    } else if (!s.unreadable.empty()) {
        seen.blind = true;
        seen.missing = s.unreadable + ": " + rights;
    } else if (s.listed > 0) {
        seen.missing = "no process of it has left the node's network namespace yet";
    } else if (s.groups > 0) {
        seen.missing = "there is no process in its containers' control groups";
    } else {
        seen.missing = std::move(nothing);
    }
    return seen;
}

std::vector<pinned_namespace> finder::pinned() {
    std::vector<pinned_namespace> all;
    auto pins = pins_.list();
    std::erase_if(pins, [&](const auto& pin) { return pin.net.id() == node_.id(); });
    if (pins.empty())
        return all;
    // A namespace whose tenants are not all known must not look like one without.
    const auto scan = scan_processes(proc_, settings_.proc_dir);
    if (!scan.complete)
        return all;
    for (auto& pin : pins) {
        pinned_namespace one{{std::move(pin.net), printable(pin.path)}, {}, {}};
        if (auto seen = visitor_.inside(one.found.net, look_around)) {
            one.found.net = std::move(seen->net);
            one.addresses = std::move(seen->addresses);
        }
        for (const auto& [uid, processes] : scan.by_pod)
            if (std::ranges::any_of(processes, [&](const auto& p) { return p.net == one.found.net.id(); }))
                one.tenants.push_back(uid);
        all.push_back(std::move(one));
    }
    return all;
}

} // namespace

result<std::unique_ptr<namespace_finder>> make_namespace_finder(asio::io_context& loop,
                                                                const namespace_visitor& visitor,
                                                                namespace_finder_settings settings) {
    const std::string doing = "cannot tell which network namespace is the node's";
    auto proc = open_at(AT_FDCWD, settings.proc_dir, O_PATH | O_DIRECTORY);
    if (!proc)
        return in_context(doing, proc.error());
    constexpr pid_t init = 1;
    const auto first = process_directory::open(*proc, init);
    auto node = first ? first->network() : first.error();
    if (!node) {
        auto problem =
            in_context(doing, in_context("process 1 of '" + settings.proc_dir + "'", node.error()));
        problem.message += std::string(": ") + rights;
        return problem;
    }
    return std::unique_ptr<namespace_finder>(
        std::make_unique<finder>(loop, visitor, std::move(settings), std::move(*proc), std::move(*node)));
}

} // namespace credlet::metadata
