// Against real processes, network namespaces and control groups, which the tests make.

#include "metadata/pod_network/cgroup_tree.hpp"
#include "metadata/pod_network/namespace_finder.hpp"
#include "tests/support/control_groups.hpp"
#include "tests/support/results.hpp"
#include "tests/support/runtime_network_namespaces.hpp"
#include "tests/support/temporary_directory.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <filesystem>
#include <set>

using namespace credlet;
using namespace credlet::metadata;
using namespace credlet::test;
using namespace std::chrono_literals;

namespace {

const std::string uid = "7f1b6c42-5a0d-4f3e-9b1c-0d2e4f6a8b90",
                  other = "0c9d1e2f-3a4b-4c5d-8e6f-7a8b9c0d1e2f";

struct driver {
    const char* name;
    std::string level, container;
    [[nodiscard]] std::string pod(const std::string& of) const {
        return level + "/" + *cgroup_name_of(of, level.substr(level.rfind('/') + 1));
    }
};
const driver cgroupfs{"cgroupfs", "kubepods/burstable", "5f0c0f3b8d6c4b0f"};
const driver systemd{"systemd", "kubepods.slice/kubepods-besteffort.slice",
                     "cri-containerd-5f0c0f3b8d6c4b0f.scope"};

struct fixture {
    asio::io_context loop{1};
    std::optional<namespace_visitor> visitor;
    std::optional<private_groups> groups;
    temporary_directory dir;
    namespace_finder_settings settings;
    std::unique_ptr<namespace_finder> finder;
    std::multiset<std::string> changed;
    int pins_changed = 0;

    explicit fixture(cgroup_version version = cgroup_version::v2) {
        if (!namespaces_can_be_made())
            return;
        groups.emplace(version);
        auto home = namespace_visitor::make();
        REQUIRE(home);
        visitor.emplace(std::move(*home));
        settings.cgroup_dir = groups->path();
        settings.proc_dir = dir.path + "/proc";
        std::filesystem::create_directory(settings.proc_dir);
        show(1, ::getpid());
        settings.pinned_dir = dir.path + "/netns";
    }
    // In the node's /proc, `number` is this process.
    void show(pid_t number, pid_t process) const {
        std::filesystem::create_symlink("/proc/" + std::to_string(process),
                                        settings.proc_dir + "/" + std::to_string(number));
    }
    // False: not without rights.
    bool begin() {
        if (!groups || !*groups)
            return false;
        auto made = make_namespace_finder(loop, *visitor, settings);
        REQUIRE(made);
        finder = std::move(*made);
        finder->changed = [this](const std::string& pod) { changed.insert(pod); };
        finder->pins_changed = [this] { ++pins_changed; };
        return true;
    }
    std::string container(const driver& d, const std::string& of = uid) {
        return groups->make(d.pod(of) + "/" + d.container);
    }
    template <class F>
    bool until(F condition) {
        const auto end = std::chrono::steady_clock::now() + 10s;
        while (!condition() && std::chrono::steady_clock::now() < end) {
            loop.restart();
            loop.run_one_for(100ms);
        }
        return condition();
    }
    // Whether it is told of this pod; what was told of before does not count.
    bool told(const std::string& of = uid) {
        const bool heard = until([&] { return changed.contains(of); });
        changed.clear();
        return heard;
    }
    // All that has happened so far is told.
    void settle() {
        loop.restart();
        loop.poll();
        loop.restart();
        loop.poll();
        changed.clear();
    }
    bool finds(const obedient_process& process, const std::string& of = uid) {
        const auto seen = finder->look(of);
        return seen.found && seen.found->net.id() == network_namespace::open(process.network_path())->id();
    }
};

// A process of the node, whose first process is the test: in some containers nobody may look at the real one.
struct node_process : obedient_process {
    explicit node_process(const fixture& f) { f.show(number(), number()); }
};

} // namespace

TEST_CASE("a pod's network namespace is found by its process, under both drivers, in both versions of "
          "control groups") {
    for (const auto version : {cgroup_version::v1, cgroup_version::v2})
        for (const auto& d : {cgroupfs, systemd}) {
            INFO(d.name << (version == cgroup_version::v1 ? ", version 1" : ", version 2"));
            fixture f(version);
            if (!f.groups || !*f.groups)
                return;
            const auto ours = f.container(d), others = f.container(d, other);
            node_process process(f), stranger(f);
            process.enter_new_network();
            process.join(ours);
            stranger.enter_new_network();
            stranger.join(others);
            REQUIRE(f.begin());
            CHECK(f.finds(process));
            CHECK(f.finds(stranger, other));
            CHECK(f.finder->look(uid).found->how ==
                  "process " + std::to_string(process.number()) + " in /" + d.pod(uid) + "/" + d.container);
            process.end();
            CHECK_FALSE(f.finder->look(uid).found);
            CHECK(f.finds(stranger, other));
        }
}

TEST_CASE("a process is found in groups that its container has made, also beside one of threads only") {
    fixture f;
    if (!f.groups || !*f.groups)
        return;
    const auto nested = f.groups->make(systemd.pod(uid) + "/b/container/init.scope");
    // cgroup.procs of a threaded group cannot be read: EOPNOTSUPP.
    const auto threads = f.groups->make(systemd.pod(uid) + "/a/threads");
    std::ofstream(threads + "/cgroup.type") << "threaded";
    REQUIRE(processes_of(threads).error().kind == errc::rejected);
    node_process process(f);
    process.enter_new_network();
    process.join(nested);
    REQUIRE(f.begin());
    CHECK(f.finds(process));
}

TEST_CASE("hierarchies of version 1 are found side by side, as a tmpfs holds them") {
    fixture f(cgroup_version::v1);
    if (!f.groups || !*f.groups)
        return;
    private_groups unified(cgroup_version::v2);
    if (!unified)
        return;
    const auto container = f.container(cgroupfs);
    unified.make("kubepods");
    node_process process(f);
    process.enter_new_network();
    process.join(container);
    on_a_thread([&] {
        REQUIRE(::unshare(CLONE_NEWNS) == 0);
        REQUIRE(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
        for (const auto& [name, from] :
             {std::pair{"unified", unified.path()}, {"memory", f.groups->path()}}) {
            const auto to = f.dir.path + "/" + name;
            std::filesystem::create_directory(to);
            REQUIRE(::mount(from.c_str(), to.c_str(), nullptr, MS_BIND, nullptr) == 0);
        }
        f.settings.cgroup_dir = f.dir.path;
        REQUIRE(f.begin());
        CHECK(f.finds(process));
        CHECK(f.finder->look(uid).found->how.find(" in /memory/kubepods/burstable/pod" + uid) !=
              std::string::npos);
        f.finder.reset();
        for (const auto* name : {"unified", "memory"})
            CHECK(::umount((f.dir.path + "/" + name).c_str()) == 0);
    });
}

TEST_CASE("T10: a pod's process in the node's network is not taken for the pod's network") {
    fixture f;
    if (!f.groups || !*f.groups)
        return;
    const auto container = f.container(cgroupfs);
    node_process process(f);
    process.join(container);
    REQUIRE(f.begin());
    const auto seen = f.finder->look(uid);
    CHECK_FALSE(seen.found);
    CHECK(seen.imminent);
    CHECK_FALSE(seen.blind);
    CHECK_FALSE(seen.group_gone);
    CHECK(seen.missing.find("node's network namespace") != std::string::npos);
}

TEST_CASE("a monitor of the runtime in the pod's group, older than the container, is not taken") {
    fixture f;
    if (!f.groups || !*f.groups)
        return;
    const auto container = f.container(systemd);
    const auto monitors = f.groups->make(systemd.pod(uid) + "/crio-conmon-5f0c0f3b.scope");
    node_process monitor(f), process(f);
    monitor.join(monitors);
    process.enter_new_network();
    process.join(container);
    REQUIRE(f.begin());
    CHECK(f.finds(process));
}

TEST_CASE("of several namespaces that of the oldest process counts") {
    for (const bool swapped : {false, true}) { // in whatever order groups are listed
        fixture f;
        if (!f.groups || !*f.groups)
            return;
        const auto one = f.container(cgroupfs), another = f.groups->make(cgroupfs.pod(uid) + "/another");
        node_process sandbox(f), later(f);
        later.enter_new_network();
        later.join(swapped ? one : another);
        sandbox.enter_new_network();
        sandbox.join(swapped ? another : one);
        REQUIRE(f.begin());
        CHECK(f.finds(sandbox));
        sandbox.end();
        CHECK(f.finds(later));
    }
}

TEST_CASE("what is kept of a look is the namespace, not the process") {
    fixture f;
    if (!f.groups || !*f.groups)
        return;
    const auto container = f.container(cgroupfs);
    node_process process(f);
    process.enter_new_network();
    process.join(container);
    REQUIRE(f.begin());
    const auto before = f.finder->look(uid);
    REQUIRE(before.found);
    process.enter_new_network();
    const auto after = f.finder->look(uid);
    REQUIRE(after.found);
    CHECK(before.found->net.id() != after.found->net.id());
    CHECK(f.visitor->inside(before.found->net, [] { return result<void>(); }));
}

TEST_CASE("T7: a number in the pod's group that another pod's process has by now is not taken") {
    fixture f;
    if (!f.groups || !*f.groups)
        return;
    const auto ours = f.container(cgroupfs), others = f.container(cgroupfs, other);
    obedient_process dying;
    node_process stranger(f);
    dying.enter_new_network();
    dying.join(ours);
    stranger.enter_new_network();
    stranger.join(others);
    // The number that the group tells is looked up when the stranger has it.
    f.show(dying.number(), stranger.number());
    REQUIRE(f.begin());
    CHECK_FALSE(f.finder->look(uid).found);
    CHECK(f.finder->look(uid).imminent);
}

TEST_CASE("a process whose groups have no name, seen from its own cgroup namespace, is the pod's whose group "
          "lists it") {
    fixture f;
    if (!f.groups || !*f.groups)
        return;
    node_process process(f), unlisted(f);
    process.enter_new_network();
    unlisted.enter_new_network();
    std::filesystem::create_directories(f.dir.path + "/cgroup/kubepods/pod" + uid);
    f.dir.write("cgroup/kubepods/pod" + uid + "/cgroup.procs", std::to_string(process.number()) + "\n");
    f.settings.cgroup_dir = f.dir.path + "/cgroup";
    REQUIRE(f.begin());
    CHECK(f.finds(process));
    // Another pod's name is another pod's, whatever lists it.
    process.join(f.container(cgroupfs, other));
    CHECK_FALSE(f.finder->look(uid).found);
}

TEST_CASE("the look says how far a pod has come") {
    fixture f;
    if (!f.groups || !*f.groups)
        return;
    f.groups->make(cgroupfs.level);
    REQUIRE(f.begin());
    auto seen = f.finder->look(uid);
    CHECK(seen.group_gone);
    CHECK_FALSE(seen.imminent);
    CHECK(seen.missing == "it has no control group");

    f.groups->make(cgroupfs.pod(uid));
    seen = f.finder->look(uid);
    CHECK_FALSE(seen.group_gone);
    CHECK_FALSE(seen.imminent);
    CHECK(seen.missing == "there is no container in its control group yet");

    const auto container = f.container(cgroupfs);
    seen = f.finder->look(uid);
    CHECK(seen.imminent);
    CHECK(seen.missing == "there is no process in its containers' control groups");

    node_process process(f);
    process.join(container);
    CHECK(f.finder->look(uid).imminent);
    process.enter_new_network();
    CHECK(f.finds(process));

    process.end();
    private_groups::remove(container);
    private_groups::remove(f.groups->path() + "/" + cgroupfs.pod(uid));
    CHECK(f.finder->look(uid).group_gone);
}

TEST_CASE("whatever happens to a followed pod's groups is told, and only of that pod") {
    for (const auto version : {cgroup_version::v1, cgroup_version::v2}) {
        INFO((version == cgroup_version::v1 ? "version 1" : "version 2"));
        fixture f(version);
        if (!f.groups || !*f.groups)
            return;
        f.groups->make(cgroupfs.level);
        REQUIRE(f.begin());
        f.finder->follow(uid);
        const auto pod = f.groups->make(cgroupfs.pod(uid));
        CHECK(f.told());
        const auto container = f.container(cgroupfs);
        CHECK(f.told());
        node_process process(f);
        process.join(container);
        CHECK(f.told());
        const auto nested = f.groups->make(cgroupfs.pod(uid) + "/" + cgroupfs.container + "/container");
        CHECK(f.told());
        process.join(nested);
        CHECK(f.told());
        process.end();
        private_groups::remove(nested);
        CHECK(f.told());
        private_groups::remove(container);
        CHECK(f.told());
        private_groups::remove(pod);
        CHECK(f.told());
        // And once more, as if nothing had been.
        f.container(cgroupfs);
        CHECK(f.told());
        CHECK(f.finder->trouble().empty());

        // Events come in order: what is told of the other comes after what is not told.
        f.finder->forget(uid);
        f.finder->follow(other);
        f.settle();
        f.groups->make(cgroupfs.pod(uid) + "/another");
        f.groups->make(cgroupfs.pod(other));
        CHECK(f.until([&] { return f.changed.contains(other); }));
        CHECK_FALSE(f.changed.contains(uid));
    }
}

TEST_CASE("processes are told of only while they are awaited, containers always") {
    fixture f;
    if (!f.groups || !*f.groups)
        return;
    const auto container = f.container(cgroupfs);
    f.groups->make(cgroupfs.pod(other));
    REQUIRE(f.begin());
    f.finder->follow(uid);
    f.finder->follow(other);
    node_process process(f);
    process.join(container);
    CHECK(f.told());

    f.finder->watch_processes(uid, false);
    f.settle();
    node_process later(f);
    later.join(container);
    later.join(f.groups->path() + "/" + cgroupfs.pod(uid));
    f.groups->make(cgroupfs.pod(other) + "/" + cgroupfs.container);
    CHECK(f.until([&] { return f.changed.contains(other); }));
    CHECK_FALSE(f.changed.contains(uid));
    const auto another = f.groups->make(cgroupfs.pod(uid) + "/another");
    CHECK(f.told());

    f.finder->watch_processes(uid, true);
    later.join(another);
    CHECK(f.told());
}

TEST_CASE("a process that is born in a container's group is told of as well") {
    fixture f;
    if (!f.groups || !*f.groups)
        return;
    const auto container = f.container(cgroupfs);
    REQUIRE(f.begin());
    f.finder->follow(uid);
    f.settle();
    const descriptor group(::open(container.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    clone_args how{};
    how.flags = CLONE_INTO_CGROUP;
    how.exit_signal = SIGCHLD;
    how.cgroup = static_cast<std::uint64_t>(group.get());
    const auto child = static_cast<pid_t>(::syscall(SYS_clone3, &how, sizeof how));
    if (child == 0)
        ::_exit(0);
    REQUIRE(child > 0);
    ::waitpid(child, nullptr, 0);
    CHECK(f.told());
}

TEST_CASE("quality classes and pods in them that are made after the beginning are told of") {
    fixture f;
    if (!f.groups || !*f.groups)
        return;
    f.groups->make("kubepods.slice");
    REQUIRE(f.begin());
    f.finder->follow(uid);
    f.groups->make(systemd.pod(uid)); // the class and the pod at once
    CHECK(f.told());
    private_groups::remove(f.groups->path() + "/" + systemd.pod(uid));
    CHECK(f.told());
}

TEST_CASE("pods roots that are made after the beginning are found, and what happened in them is told") {
    fixture f;
    if (!f.groups || !*f.groups)
        return;
    REQUIRE(f.begin());
    f.finder->follow(uid);
    f.finder->follow(other);
    CHECK(f.finder->look(other).missing.find("no control groups of pods") != std::string::npos);
    f.container(cgroupfs);
    f.container(cgroupfs, other);
    // Who looks for one pod finds them for all.
    CHECK(f.until([&] { return f.finder->look(other).imminent; }));
    CHECK(f.told());
    f.groups->make(cgroupfs.pod(uid) + "/another");
    CHECK(f.told());
}

TEST_CASE("events that the kernel has lost are made up for") {
    fixture f;
    if (!f.groups || !*f.groups)
        return;
    f.groups->make(cgroupfs.level);
    std::filesystem::create_directory(f.settings.pinned_dir);
    REQUIRE(f.begin());
    f.finder->follow(uid);
    std::size_t room = 0;
    std::ifstream("/proc/sys/fs/inotify/max_queued_events") >> room;
    const auto file = f.settings.pinned_dir + "/x";
    for (std::size_t i = 0; i <= room / 2; ++i) {
        ::close(::open(file.c_str(), O_CREAT | O_CLOEXEC | O_WRONLY, 0600));
        ::unlink(file.c_str());
    }
    f.container(cgroupfs); // nobody hears of that
    CHECK(f.told());
    CHECK(f.pins_changed > 0);
    f.settle();
    f.groups->make(cgroupfs.pod(uid) + "/another");
    CHECK(f.told());
}

TEST_CASE("without a tree of control groups, processes are found through /proc") {
    fixture f;
    if (!f.groups || !*f.groups)
        return;
    const auto ours = f.container(cgroupfs), others = f.container(cgroupfs, other);
    node_process process(f), hosts(f);
    process.enter_new_network();
    process.join(ours);
    hosts.join(others);
    f.settings.cgroup_dir = f.dir.path + "/nowhere";
    REQUIRE(f.begin());
    CHECK(f.finds(process));
    CHECK_FALSE(f.finder->look(other).found);
    CHECK(f.finder->look(other).imminent);
    const auto nobody = f.finder->look("00000000-0000-0000-0000-000000000000");
    CHECK_FALSE(nobody.found);
    CHECK_FALSE(nobody.imminent);
    CHECK(nobody.missing.find("/nowhere'") != std::string::npos);
    // What one look has seen serves the next ones; a process that has ended meanwhile is seen to have.
    process.end();
    CHECK_FALSE(f.finder->look(uid).found);
    // And not for long.
    node_process next(f);
    next.enter_new_network();
    next.join(ours);
    CHECK(f.until([&] { return f.finds(next); }));
}

TEST_CASE("without the node's namespace there is no finder, and the error says what is missing") {
    fixture f;
    if (!f.visitor)
        return;
    f.settings.proc_dir = "/nowhere/proc";
    auto made = make_namespace_finder(f.loop, *f.visitor, f.settings);
    REQUIRE_FALSE(made);
    CHECK(made.error().kind == errc::not_found);
    CHECK(made.error().message.find("'/nowhere/proc'") != std::string::npos);

    f.settings.proc_dir = f.dir.path + "/empty";
    std::filesystem::create_directory(f.settings.proc_dir);
    made = make_namespace_finder(f.loop, *f.visitor, f.settings);
    REQUIRE_FALSE(made);
    CHECK(made.error().kind == errc::not_found);
    CHECK(made.error().message.find("hostPID") != std::string::npos);

    // A process with more rights than who looks.
    const obedient_process first;
    f.show(1, first.number());
    on_a_thread([&] {
        REQUIRE(give_up_capabilities({CAP_SYS_PTRACE}));
        const auto refused = make_namespace_finder(f.loop, *f.visitor, f.settings);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().kind == errc::denied);
        CHECK(refused.error().message.find("CAP_SYS_PTRACE") != std::string::npos);
    });
}

TEST_CASE("who may not see, or cannot, says so instead of waiting for what never comes") {
    fixture f;
    if (!f.groups || !*f.groups)
        return;
    const auto container = f.container(cgroupfs);
    node_process process(f);
    process.enter_new_network();
    process.join(container);
    REQUIRE(f.begin());
    on_a_thread([&] {
        REQUIRE(give_up_capabilities({CAP_SYS_PTRACE}));
        const auto seen = f.finder->look(uid);
        CHECK_FALSE(seen.found);
        CHECK(seen.blind);
        CHECK(seen.missing.find("CAP_SYS_PTRACE") != std::string::npos);
    });
    CHECK(f.finds(process));

    // As the kernel shows processes of a pid namespace that is not below the reader's.
    std::filesystem::create_directories(f.dir.path + "/cgroup/kubepods/pod" + uid + "/5f0c");
    f.dir.write("cgroup/kubepods/pod" + uid + "/5f0c/cgroup.procs", "0\n0\n");
    f.settings.cgroup_dir = f.dir.path + "/cgroup";
    REQUIRE(f.begin());
    const auto seen = f.finder->look(uid);
    CHECK(seen.blind);
    CHECK(seen.missing.find("hostPID is missing") != std::string::npos);
}

TEST_CASE("pinned namespaces are listed with their addresses and tenants, and told of") {
    fixture f;
    if (!f.groups || !*f.groups)
        return;
    const auto container = f.container(cgroupfs);
    node_process process(f);
    process.enter_new_network();
    const auto lonely = make_network_namespace();
    const auto inhabited = network_namespace::open(process.network_path());
    REQUIRE(f.visitor->inside(lonely, [] {
        links::make("eth0");
        links::add_address("eth0", "192.0.2.7");
        links::add_address("eth0", "2001:db8::7");
        links::set_up("eth0");
        return result<void>();
    }));
    on_a_thread([&] {
        REQUIRE(::unshare(CLONE_NEWNS) == 0);
        REQUIRE(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
        const auto path = [&](const std::string& name) { return f.settings.pinned_dir + "/" + name; };
        const auto touch = [&](const std::string& name) { std::ofstream(path(name)).flush(); };
        const auto mount_on = [&](const std::string& name, const std::string& what) {
            REQUIRE(::mount(what.c_str(), path(name).c_str(), nullptr, MS_BIND, nullptr) == 0);
        };
        const auto told = [&] {
            const bool heard = f.until([&] { return f.pins_changed > 0; });
            f.pins_changed = 0;
            return heard;
        };

        REQUIRE(f.begin());
        CHECK(f.finder->pinned().empty()); // no such directory
        std::filesystem::create_directory(f.settings.pinned_dir);
        CHECK(f.finder->pinned().empty()); // watched from now on

        // The file first; only what is mounted there makes it a pin.
        touch("cni-lonely");
        f.settle();
        CHECK(f.pins_changed == 0);
        CHECK(f.finder->pinned().empty());
        // What is mounted elsewhere is not taken for it, and does not end the waiting.
        REQUIRE(::mount(f.settings.proc_dir.c_str(), f.settings.proc_dir.c_str(), nullptr, MS_BIND,
                        nullptr) == 0);
        f.settle();
        REQUIRE(::umount(f.settings.proc_dir.c_str()) == 0);
        f.settle();
        CHECK(f.pins_changed == 0);
        mount_on("cni-lonely", "/proc/self/fd/" + std::to_string(lonely.file().get()));
        CHECK(told());
        auto pins = f.finder->pinned();
        REQUIRE(pins.size() == 1);
        CHECK(pins[0].found.net.id() == lonely.id());
        CHECK(pins[0].found.how == path("cni-lonely"));
        const auto has = [&](const char* address) {
            return std::ranges::count(pins[0].addresses, asio::ip::make_address(address)) == 1;
        };
        CHECK(has("192.0.2.7"));
        CHECK(has("2001:db8::7"));
        CHECK(pins[0].tenants.empty());

        // The node's own is none, and neither is what else may lie there.
        touch("node");
        mount_on("node", "/proc/self/ns/net");
        CHECK(told());
        touch("uts");
        mount_on("uts", "/proc/self/ns/uts");
        CHECK(told());
        REQUIRE(::mkfifo(path("pipe").c_str(), 0600) == 0);
        std::filesystem::create_symlink(process.network_path(), path("link"));
        std::filesystem::create_directory(path("directory"));
        CHECK(f.finder->pinned().size() == 1);

        touch("cni-inhabited");
        mount_on("cni-inhabited", process.network_path());
        CHECK(told());
        process.join(container);
        pins = f.finder->pinned();
        REQUIRE(pins.size() == 2);
        for (const auto& pin : pins)
            CHECK(pin.tenants == (pin.found.net.id() == inhabited->id() ? std::vector<std::string>{uid}
                                                                        : std::vector<std::string>{}));

        // The runtime can let a namespace go while it is kept here.
        for (const auto* name : {"cni-inhabited", "cni-lonely", "node", "uts"}) {
            REQUIRE(::umount(path(name).c_str()) == 0);
            REQUIRE(::unlink(path(name).c_str()) == 0);
            CHECK(told());
        }
        CHECK(f.finder->pinned().empty());
        f.finder.reset();
    });
}

TEST_CASE("a finder that ends leaves no handler behind") {
    fixture f;
    if (!f.groups || !*f.groups)
        return;
    f.groups->make(cgroupfs.level);
    std::filesystem::create_directory(f.settings.pinned_dir);
    REQUIRE(f.begin());
    f.finder->follow(uid);
    f.container(cgroupfs);
    std::ofstream(f.settings.pinned_dir + "/cni-x").flush();
    f.loop.poll_one(); // events have been read, and what is told of them waits
    f.finder.reset();
    f.loop.restart();
    f.loop.poll();
    CHECK(f.changed.empty());
}
