#pragma once
// Where the control groups of pods are, below a mount of control groups: version 2, or the directory that
// version 1 has its hierarchies in, or both at once. A pod's processes are in one group of each hierarchy, so
// one hierarchy is enough.

#include "metadata/pod_network/cgroup_path.hpp"
#include "runtime/error.hpp"

#include <functional>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace credlet::metadata {

class cgroup_tree {
public:
    explicit cgroup_tree(std::string dir);

    // Looks for the pods roots, breadth first and not deep. True: they are not those of before.
    bool discover();
    [[nodiscard]] bool empty() const { return roots_.empty(); }
    // Why there are none.
    [[nodiscard]] const std::string& problem() const { return problem_; }

    // Paths of pods roots. More than one: a kubelet that has had another driver before.
    [[nodiscard]] const std::vector<std::string>& roots() const { return roots_; }
    // The directories in a root that pods' groups are in, itself first. They need not exist.
    [[nodiscard]] static std::vector<std::string> levels(const std::string& root);

    // The path of the pod's group. None: it has none.
    [[nodiscard]] std::optional<std::string> find(const std::string& uid) const;

    // A path of this tree as an operator knows it, from the mount on.
    [[nodiscard]] std::string shown(const std::string& path) const;

private:
    std::string dir_, problem_;
    std::vector<std::string> roots_;
};

// A pod's groups: its own, those of its containers, and those that they have made. Breadth first, a bounded
// number. f: whether to go on.
void each_group_of_pod(const std::string& pod, const std::function<bool(const std::string& path)>& f);

struct group_processes {
    std::vector<pid_t> numbers; // a bounded number
    bool outside = false;       // some are of another pid namespace than ours: they have no number here
};
// The processes of this very group. Errors as of kernel_files.hpp.
result<group_processes> processes_of(const std::string& group);

} // namespace credlet::metadata
