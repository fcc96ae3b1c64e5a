#pragma once
// Control groups and processes of a test's own, as a kubelet and a runtime make them. All of it takes root.

#include "runtime/descriptor.hpp"

#include <doctest/doctest.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <linux/sched.h>
#include <sched.h>
#include <string>
#include <string_view>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace credlet::test {

enum class cgroup_version { v1, v2 };

// A part of a hierarchy of control groups, removed at the end; the processes in it must have ended before.
class private_groups {
public:
    explicit private_groups(cgroup_version version) {
        const bool v2 = version == cgroup_version::v2;
        const std::vector<std::string> mounted =
            v2 ? std::vector<std::string>{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"}
               : std::vector<std::string>{"/sys/fs/cgroup/pids"};
        for (const auto& at : mounted)
            if (::access((at + (v2 ? "/cgroup.controllers" : "/tasks")).c_str(), F_OK) == 0 && make_in(at))
                return;
        // A container may have them read-only; another mount of theirs is its own.
        mount_ = "/tmp/credlet-cgroup-XXXXXX";
        if (::mkdtemp(mount_.data()) != nullptr &&
            ::mount("none", mount_.c_str(), v2 ? "cgroup2" : "cgroup", 0,
                    v2 ? nullptr : "none,name=credlet") == 0 &&
            make_in(mount_))
            return;
        constexpr auto why =
            "control groups take root, and a kernel that has both versions; CREDLET_ALLOW_SKIPS=1 "
            "lets this pass without";
        if (std::getenv("CREDLET_ALLOW_SKIPS") == nullptr)
            FAIL(why);
        MESSAGE(why);
    }
    private_groups(const private_groups&) = delete;
    private_groups& operator=(const private_groups&) = delete;
    ~private_groups() {
        for (auto at = made_.rbegin(); at != made_.rend(); ++at)
            ::rmdir(at->c_str());
        if (!mount_.empty()) {
            ::umount(mount_.c_str());
            ::rmdir(mount_.c_str());
        }
    }
    explicit operator bool() const { return !path_.empty(); }
    [[nodiscard]] const std::string& path() const { return path_; }

    // Makes the directory and those above it. Returns its path.
    std::string make(const std::string& below) { // NOLINT(modernize-use-nodiscard)
        for (auto end = below.find('/'); end != std::string::npos; end = below.find('/', end + 1))
            make_one(path_ + "/" + below.substr(0, end));
        make_one(path_ + "/" + below);
        return path_ + "/" + below;
    }
    static void remove(const std::string& group) {
        REQUIRE_MESSAGE(::rmdir(group.c_str()) == 0, std::strerror(errno)); // NOLINT(concurrency-mt-unsafe)
    }

private:
    bool make_in(const std::string& at) {
        auto path = at + "/credlet-test-XXXXXX";
        if (::mkdtemp(path.data()) == nullptr)
            return false;
        path_ = path;
        made_.push_back(path);
        return true;
    }
    void make_one(const std::string& path) {
        if (::mkdir(path.c_str(), 0755) == 0)
            made_.push_back(path);
        else
            REQUIRE(errno == EEXIST);
    }
    std::string path_, mount_;
    std::vector<std::string> made_;
};

// A process that does as it is told, and ends with this object. It begins in the network namespace of
// process 1.
class obedient_process {
public:
    // wanted: the number it is to have; 0: any.
    explicit obedient_process(pid_t wanted = 0) {
        int orders[2], answers[2];
        REQUIRE(::pipe2(orders, O_CLOEXEC) == 0);
        REQUIRE(::pipe2(answers, O_CLOEXEC) == 0);
        clone_args how{};
        how.exit_signal = SIGCHLD;
        if (wanted != 0) {
            how.set_tid = reinterpret_cast<std::uintptr_t>(&wanted);
            how.set_tid_size = 1;
        }
        number_ = static_cast<pid_t>(::syscall(SYS_clone3, &how, sizeof how));
        if (number_ == 0)
            obey(orders[0], answers[1]);
        orders_ = descriptor(orders[1]);
        answers_ = descriptor(answers[0]);
        ::close(orders[0]);
        ::close(answers[1]);
        REQUIRE(number_ > 0);
    }
    obedient_process(const obedient_process&) = delete;
    obedient_process& operator=(const obedient_process&) = delete;
    ~obedient_process() { end(); }

    [[nodiscard]] pid_t number() const { return number_; }
    [[nodiscard]] std::string network_path() const { return "/proc/" + std::to_string(number_) + "/ns/net"; }

    void join(const std::string& group) const {
        std::ofstream procs(group + "/cgroup.procs");
        procs << number_ << std::flush;
        REQUIRE(procs.good());
    }
    void enter_new_network() { order("n"); }
    void enter(const std::string& network) { order("e" + network); }
    // It is gone, also for the kernel, when this returns.
    void end() {
        if (number_ <= 0)
            return;
        ::kill(number_, SIGKILL);
        ::waitpid(number_, nullptr, 0);
        number_ = 0;
    }

private:
    void order(const std::string& what) {
        REQUIRE(::write(orders_.get(), what.c_str(), what.size() + 1) ==
                static_cast<ssize_t>(what.size() + 1));
        char done = 0;
        REQUIRE(::read(answers_.get(), &done, 1) == 1);
        REQUIRE(done == 'y');
    }
    // In a copy of a process that may have had threads: system calls only.
    [[noreturn]] static void obey(int orders, int answers) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        char order[256];
        while (::read(orders, order, sizeof order) > 0) {
            bool well = false;
            if (order[0] == 'n') {
                well = ::unshare(CLONE_NEWNET) == 0;
            } else {
                const int network = ::open(order + 1, O_RDONLY | O_CLOEXEC);
                well = ::setns(network, CLONE_NEWNET) == 0;
                ::close(network);
            }
            const char done = well ? 'y' : 'n';
            if (::write(answers, &done, 1) != 1)
                break;
        }
        ::_exit(0);
    }
    pid_t number_ = -1;
    descriptor orders_, answers_;
};

} // namespace credlet::test
