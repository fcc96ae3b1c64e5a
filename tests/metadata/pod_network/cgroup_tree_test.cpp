#include "metadata/pod_network/cgroup_tree.hpp"
#include "tests/support/results.hpp"
#include "tests/support/temporary_directory.hpp"

#include <doctest/doctest.h>

#include <filesystem>

using namespace credlet;
using namespace credlet::metadata;

namespace {

const std::string uid = "7f1b6c42-5a0d-4f3e-9b1c-0d2e4f6a8b90";
const std::string escaped = "7f1b6c42_5a0d_4f3e_9b1c_0d2e4f6a8b90";

// Directories are all that a tree looks at.
struct fixture {
    test::temporary_directory dir;
    cgroup_tree tree{dir.path};
    std::string make(const std::string& below) const { // NOLINT(modernize-use-nodiscard)
        std::filesystem::create_directories(dir.path + "/" + below);
        return dir.path + "/" + below;
    }
};

} // namespace

TEST_CASE_FIXTURE(fixture, "pods' groups are found under both drivers, in every quality class") {
    struct row {
        std::string level, pod;
    };
    for (const auto& r :
         {row{"kubepods", "pod" + uid}, row{"kubepods/burstable", "pod" + uid},
          row{"kubepods/besteffort", "pod" + uid}, row{"kubepods.slice", "kubepods-pod" + escaped + ".slice"},
          row{"kubepods.slice/kubepods-burstable.slice", "kubepods-burstable-pod" + escaped + ".slice"},
          row{"kubelet/kubepods/burstable", "pod" + uid},
          row{"kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice",
              "kubelet-kubepods-besteffort-pod" + escaped + ".slice"},
          row{"docker/5f0c/kubelet/kubepods", "pod" + uid}}) {
        INFO(r.level);
        make("system.slice/containerd.service");
        make(r.level);
        CHECK(tree.discover());
        CHECK_FALSE(tree.find(uid));
        const auto path = make(r.level + "/" + r.pod);
        CHECK_FALSE(tree.discover());
        CHECK(tree.find(uid) == path);
        CHECK(tree.shown(path) == "/" + r.level + "/" + r.pod);
        std::filesystem::remove_all(dir.path + "/" + r.level.substr(0, r.level.find('/')));
        CHECK(tree.discover());
        CHECK(tree.empty());
    }
}

TEST_CASE_FIXTURE(fixture, "where two drivers have left roots, a pod is looked for in both") {
    make("kubepods/burstable");
    make("kubepods.slice/kubepods-burstable.slice");
    tree.discover();
    CHECK(tree.roots().size() == 2);
    const auto path =
        make("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + escaped + ".slice");
    CHECK(tree.find(uid) == path);
}

TEST_CASE_FIXTURE(fixture, "a pods root that a container makes below its own group is none") {
    make("kubepods/pod0c9d1e2f-3a4b-4c5d-8e6f-7a8b9c0d1e2f/kubepods/pod" + uid);
    tree.discover();
    CHECK(tree.roots() == std::vector<std::string>{dir.path + "/kubepods"});
    CHECK_FALSE(tree.find(uid));
}

TEST_CASE_FIXTURE(fixture, "no root is looked for deep down, or behind links") {
    make("a/b/c/d/kubepods");
    std::filesystem::create_directory_symlink("a/b/c/d/kubepods", dir.path + "/kubepods");
    CHECK_FALSE(tree.discover());
    CHECK(tree.empty());
    CHECK(tree.problem().find("no control groups of pods") != std::string::npos);
    CHECK(tree.problem().find(dir.path) != std::string::npos);
}

TEST_CASE_FIXTURE(fixture, "a uid that no control group can have is not looked for") {
    make("kubepods/pod..");
    make("secret");
    tree.discover();
    for (const std::string no : {"", "..", "../../secret", "/../../secret"})
        CHECK_FALSE(tree.find(no));
}

TEST_CASE("without a tree of control groups the tree says what is missing") {
    cgroup_tree tree("/nowhere/at/all");
    CHECK_FALSE(tree.discover());
    CHECK(tree.empty());
    CHECK(tree.problem().find("'/nowhere/at/all'") != std::string::npos);
}

TEST_CASE_FIXTURE(fixture, "a pod's groups are walked breadth first, and not without end") {
    const auto pod = make("kubepods/pod" + uid);
    make("kubepods/pod" + uid + "/one/deep/deeper");
    make("kubepods/pod" + uid + "/two");
    std::vector<std::string> seen;
    each_group_of_pod(pod, [&](const std::string& path) {
        seen.push_back(path.substr(pod.size()));
        return true;
    });
    REQUIRE(seen.size() == 5);
    CHECK(seen[0].empty());
    CHECK(seen[3] == "/one/deep");
    CHECK(seen[4] == "/one/deep/deeper");

    std::string deep = "kubepods/pod" + uid;
    for (int i = 0; i < 12; ++i)
        deep += "/d";
    make(deep);
    for (int i = 0; i < 400; ++i)
        make("kubepods/pod" + uid + "/many/" + std::to_string(i));
    std::size_t walked = 0, deepest = 0;
    each_group_of_pod(pod, [&](const std::string& path) {
        ++walked;
        if (path.ends_with("/d"))
            deepest = std::max(deepest, path.size() - pod.size());
        return true;
    });
    CHECK(walked == 256);
    CHECK(deepest <= 16);
}

TEST_CASE_FIXTURE(fixture, "the processes of a group are read, and those without a number here are noticed") {
    const auto group = make("kubepods/pod" + uid);
    CHECK(processes_of(group).error().kind == errc::not_found);
    dir.write("kubepods/pod" + uid + "/cgroup.procs", "17\n4711\n");
    CHECK(processes_of(group)->numbers == std::vector<pid_t>{17, 4711});
    CHECK_FALSE(processes_of(group)->outside);
    dir.write("kubepods/pod" + uid + "/cgroup.procs", "0\n0\n4711\n12");
    CHECK(processes_of(group)->numbers == std::vector<pid_t>{4711});
    CHECK(processes_of(group)->outside);
    std::string many;
    for (int i = 1; i <= 10000; ++i)
        many += std::to_string(i) + "\n";
    dir.write("kubepods/pod" + uid + "/cgroup.procs", many);
    CHECK(processes_of(group)->numbers.size() == 4096);
}
