#pragma once
// Which pod a control group belongs to, by its path. The kubelet names a pod's group by its uid, and the
// runtime puts those of its containers below it:
//
//   cgroupfs driver   /kubepods[/burstable|/besteffort]/pod<uid>/<container>
//   systemd driver /kubepods.slice[/kubepods-burstable.slice]/kubepods-burstable-pod<uid>.slice/<container>
//                     with '-' in the uid as '_'
//   containers        <id>, cri-containerd-<id>.scope, crio-<id>[.scope], crio-conmon-<id>[.scope]
//
// Names may have more in front (kubelet --cgroup-root), and paths too: what is outside of the reader's own
// cgroup namespace is written with "/..". A container may make groups below its own with any name; so the
// first component that names a pod decides. https://kubernetes.io/docs/concepts/architecture/cgroups/

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace credlet::metadata {

// The uid that the path names, in the form that Kubernetes uses. None: no pod's. A uid is a UUID in lower
// case or, of a static pod, 32 hexadecimal digits.
[[nodiscard]] std::optional<std::string> pod_of_cgroup(std::string_view path);

// The same for one name of a directory.
[[nodiscard]] std::optional<std::string> pod_of_cgroup_name(std::string_view component);

// The pod whose process has this /proc/PID/cgroup (cgroups(7)): each of its lines is one hierarchy's, and all
// that name a pod must name the same one.
[[nodiscard]] std::optional<std::string> pod_of_process_cgroups(std::string_view file);

// Whether a directory's name says that pods' groups are in it or below: "kubepods", "kubepods.slice",
// "kubelet-kubepods.slice".
[[nodiscard]] bool is_pods_root(std::string_view component);

// The two directories in a pods root that have the pods which are not of the class Guaranteed: "burstable"
// and "besteffort", "kubepods-burstable.slice" and "kubepods-besteffort.slice".
[[nodiscard]] std::array<std::string, 2> quality_classes(std::string_view pods_root);

// The name of a pod's group in a pods root, or in one of its quality classes. None: no uid has this form, so
// there is no such group.
[[nodiscard]] std::optional<std::string> cgroup_name_of(std::string_view uid, std::string_view parent);

} // namespace credlet::metadata
