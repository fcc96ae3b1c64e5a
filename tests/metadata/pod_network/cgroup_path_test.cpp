#include "metadata/pod_network/cgroup_path.hpp"

#include <doctest/doctest.h>

#include <array>
#include <vector>

using namespace credlet::metadata;

namespace {

const std::string uid = "7f1b6c42-5a0d-4f3e-9b1c-0d2e4f6a8b90",
                  other = "0c9d1e2f-3a4b-4c5d-8e6f-7a8b9c0d1e2f";
const std::string escaped = "7f1b6c42_5a0d_4f3e_9b1c_0d2e4f6a8b90",
                  other_escaped = "0c9d1e2f_3a4b_4c5d_8e6f_7a8b9c0d1e2f";
const std::string of_static_pod = "a4b0c6de7f8091a2b3c4d5e6f7089aab"; // an MD5 sum
const std::string id = "5f0c0f3b8d6c4b0f9a2e7d1c3b5a79680f1e2d3c4b5a69788796a5b4c3d2e1f0";

} // namespace

TEST_CASE("a pod's control group is recognized in what every driver and runtime makes of it") {
    struct row {
        const char* what;
        std::string path, uid;
    };
    const row rows[] = {
        {"cgroupfs, burstable", "/kubepods/burstable/pod" + uid + "/" + id, uid},
        {"cgroupfs, best effort", "/kubepods/besteffort/pod" + uid + "/" + id, uid},
        {"cgroupfs, guaranteed", "/kubepods/pod" + uid + "/" + id, uid},
        {"cgroupfs, the pod's own group", "/kubepods/burstable/pod" + uid, uid},
        {"cgroupfs, CRI-O", "/kubepods/burstable/pod" + uid + "/crio-" + id, uid},
        {"systemd, containerd, burstable",
         "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + escaped +
             ".slice/cri-containerd-" + id + ".scope",
         uid},
        {"systemd, containerd, guaranteed",
         "/kubepods.slice/kubepods-pod" + escaped + ".slice/cri-containerd-" + id + ".scope", uid},
        {"systemd, CRI-O, best effort",
         "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + escaped + ".slice/crio-" + id +
             ".scope",
         uid},
        {"systemd, CRI-O with crun",
         "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + escaped + ".slice/crio-" + id +
             ".scope/container",
         uid},
        {"systemd, CRI-O's monitor",
         "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + escaped + ".slice/crio-conmon-" +
             id + ".scope",
         uid},
        {"systemd, cri-dockerd",
         "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + escaped + ".slice/docker-" + id +
             ".scope",
         uid},
        {"kubelet with systemd, containerd without",
         "/system.slice/containerd.service/kubepods-burstable-pod" + escaped + ".slice:cri-containerd:" + id,
         uid},
        {"kind, cgroupfs", "/kubelet/kubepods/besteffort/pod" + uid + "/" + id, uid},
        {"kind, systemd",
         "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/"
         "kubelet-kubepods-burstable-pod" +
             escaped + ".slice/cri-containerd-" + id + ".scope",
         uid},
        {"kind, seen from its host",
         "/docker/" + id + "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + escaped +
             ".slice/cri-containerd-" + id + ".scope",
         uid},
        {"from within a cgroup namespace, cgroupfs", "/../../pod" + uid + "/" + id, uid},
        {"from within a cgroup namespace, another class", "/../../../besteffort/pod" + uid + "/" + id, uid},
        {"from within a cgroup namespace, systemd",
         "/../../kubepods-burstable-pod" + escaped + ".slice/cri-containerd-" + id + ".scope", uid},
        {"a static pod, cgroupfs", "/kubepods/burstable/pod" + of_static_pod + "/" + id, of_static_pod},
        {"a static pod, systemd",
         "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + of_static_pod + ".slice/crio-" +
             id + ".scope",
         of_static_pod},
        {"systemd in a container", "/kubepods/burstable/pod" + uid + "/" + id + "/init.scope", uid},
    };
    for (const auto& r : rows) {
        INFO(r.what << ": " << r.path);
        CHECK(pod_of_cgroup(r.path) == r.uid);
    }
}

TEST_CASE("what names no pod is no pod's control group") {
    const std::string paths[] = {
        "",
        "/",
        "//",
        "/..",
        "/../" + id,
        "/init.scope",
        "/user.slice/user-1000.slice/session-3.scope",
        "/system.slice/containerd.service",
        "/kubepods",
        "/kubepods/burstable",
        "/kubepods.slice/kubepods-burstable.slice",
        "/podruntime/runtime",
        "/podman.slice",
        "/kubepods/pod",
        "/kubepods/pod" + uid.substr(1),
        "/kubepods/pod" + uid + "0",
        "/kubepods/pod" + uid + " (deleted)",
        "/kubepods/pod" + escaped, // that is how systemd writes it, and without .slice it does not
        "/kubepods.slice/kubepods-pod" + uid + ".slice",
        "/kubepods.slice/kubepods-guaranteed-pod" + escaped + ".slice",
        "/kubepods.slice/mykubepods-pod" + escaped + ".slice",
        "/machine.slice/machine-pod" + escaped + ".slice",
        "/kubepods/pod7F1B6C42-5A0D-4F3E-9B1C-0D2E4F6A8B90", // Kubernetes makes them in lower case
        "/kubepods/podg" + of_static_pod.substr(1),
    };
    for (const auto& path : paths) {
        INFO(path);
        CHECK_FALSE(pod_of_cgroup(path));
    }
}

TEST_CASE("T7: a container that names a group of its own after another pod stays in its pod") {
    CHECK(pod_of_cgroup("/kubepods/burstable/pod" + uid + "/" + id + "/kubepods/burstable/pod" + other) ==
          uid);
    CHECK(pod_of_cgroup("/kubepods/pod" + uid + "/pod" + other) == uid);
    CHECK(pod_of_cgroup("/../../pod" + uid + "/" + id + "/pod" + other) == uid);
    CHECK(pod_of_cgroup("/kubepods.slice/kubepods-pod" + escaped + ".slice/crio-" + id +
                        ".scope/kubepods-pod" + other_escaped + ".slice") == uid);
}

TEST_CASE("a process's control groups name its pod, whatever the hierarchies") {
    const auto v2 = "0::/kubepods/burstable/pod" + uid + "/" + id + "\n";
    CHECK(pod_of_process_cgroups(v2) == uid);
    const auto v1 = "12:pids:/kubepods/burstable/pod" + uid + "/" + id +
                    "\n11:cpu,cpuacct:/kubepods/burstable/pod" + uid + "/" + id +
                    "\n2:rdma:/\n1:name=systemd:/kubepods/burstable/pod" + uid + "/" + id + "\n";
    CHECK(pod_of_process_cgroups(v1) == uid);
    CHECK(pod_of_process_cgroups(v1 + "0::/system.slice/containerd.service\n") == uid);
    CHECK(pod_of_process_cgroups("0::/kubepods/pod" + uid + "/a:b:c") == uid); // no line's end, and colons

    CHECK_FALSE(pod_of_process_cgroups(""));
    CHECK_FALSE(pod_of_process_cgroups("0::/\n"));
    CHECK_FALSE(pod_of_process_cgroups("/kubepods/pod" + uid + "\n"));
    CHECK_FALSE(pod_of_process_cgroups("0:/kubepods/pod" + uid + "\n"));
}

TEST_CASE("a process whose hierarchies name two pods is nobody's") {
    const auto in = [](const std::string& pod) { return ":/kubepods/pod" + pod + "/" + id + "\n"; };
    CHECK_FALSE(pod_of_process_cgroups("2:memory" + in(uid) + "1:pids" + in(other)));
    CHECK_FALSE(pod_of_process_cgroups("3:cpu" + in(uid) + "2:memory" + in(other) + "1:pids" + in(uid)));
}

TEST_CASE("pods roots are recognized by name, and have their quality classes and pods below") {
    for (const std::string root : {"kubepods", "kubepods.slice", "kubelet-kubepods.slice"})
        CHECK(is_pods_root(root));
    for (const std::string no : {"", "kubepod", "mykubepods", "mykubepods.slice", "kubepods-burstable.slice",
                                 "kubelet.slice", "kubepods.scope", ".slice"})
        CHECK_FALSE(is_pods_root(no));

    using names = std::array<std::string, 2>;
    CHECK(quality_classes("kubepods") == names{"burstable", "besteffort"});
    CHECK(quality_classes("kubelet-kubepods.slice") ==
          names{"kubelet-kubepods-burstable.slice", "kubelet-kubepods-besteffort.slice"});

    for (const std::string root : {"kubepods", "kubepods.slice", "kubelet-kubepods.slice"}) {
        std::vector<std::string> parents{root};
        for (const auto& name : quality_classes(root))
            parents.push_back(name);
        for (const auto& parent : parents)
            for (const auto& pod : {uid, of_static_pod}) {
                const auto name = cgroup_name_of(pod, parent);
                REQUIRE(name);
                INFO(*name);
                CHECK(pod_of_cgroup_name(*name) == pod);
            }
    }
    CHECK(cgroup_name_of(uid, "burstable") == "pod" + uid);
    CHECK(cgroup_name_of(uid, "kubepods-burstable.slice") == "kubepods-burstable-pod" + escaped + ".slice");
    for (const std::string no : {"", "..", "../../etc", "uid", "7f1b6c42/5a0d-4f3e-9b1c-0d2e4f6a8b90"})
        CHECK_FALSE(cgroup_name_of(no, "kubepods"));
    CHECK_FALSE(cgroup_name_of(escaped, "kubepods.slice"));
}
