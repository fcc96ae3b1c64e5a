#include "metadata/pod_network/cgroup_tree.hpp"

#include "metadata/pod_network/kernel_files.hpp"

#include <algorithm>
#include <charconv>
#include <deque>
#include <fcntl.h>
#include <sys/stat.h>

namespace credlet::metadata {

namespace {

// kind: /docker/<id>/kubelet.slice/kubelet-kubepods.slice.
constexpr std::size_t deepest_root = 4;
constexpr std::size_t most_directories = 8192, most_roots = 8;
// Of one pod. Those of its containers come first, and only a privileged container can make more.
constexpr std::size_t most_groups = 256, deepest_group = 8;
constexpr std::size_t most_processes = 4096;

std::string_view last_component(std::string_view path) { return path.substr(path.rfind('/') + 1); }

std::optional<dev_t> device_of(const std::string& path) {
    struct stat about{};
    if (::lstat(path.c_str(), &about) != 0 || !S_ISDIR(about.st_mode))
        return std::nullopt;
    return about.st_dev;
}

// The kubelet cannot do without memory, cpu and cpuset; what systemd has mounted as "unified" beside version
// 1 limits nothing, and need not have pods' processes.
int rank(const std::string& hierarchy) {
    if (hierarchy == "memory")
        return 0;
    if (hierarchy.starts_with("cpu"))
        return 1;
    if (hierarchy == "pids")
        return 2;
    if (hierarchy == "systemd")
        return 3;
    return hierarchy == "unified" ? 5 : 4;
}

// The pods roots of one hierarchy; what is mounted below it is another.
std::vector<std::string> roots_in(const std::string& top, dev_t device) {
    struct place {
        std::string path;
        std::size_t depth;
    };
    std::vector<std::string> roots;
    std::deque<place> todo{{top, 0}};
    for (std::size_t seen = 0; !todo.empty() && seen < most_directories; ++seen) {
        const place here = std::move(todo.front());
        todo.pop_front();
        const auto names = directories_in(here.path, most_directories);
        if (!names)
            continue;
        for (const auto& name : *names) {
            auto path = here.path + "/" + name;
            if (device_of(path) != device)
                continue;
            if (is_pods_root(name)) {
                if (roots.size() < most_roots)
                    roots.push_back(std::move(path));
            } else if (here.depth + 1 < deepest_root) {
                todo.push_back({std::move(path), here.depth + 1});
            }
        }
    }
    std::ranges::sort(roots);
    return roots;
}

// What is mounted in the directory, the best hierarchy first.
std::vector<std::string> hierarchies_in(const std::string& dir, const std::vector<std::string>& names,
                                        dev_t device) {
    std::vector<std::string> mounted;
    for (const auto& name : names)
        if (const auto d = device_of(dir + "/" + name); d && *d != device)
            mounted.push_back(name);
    std::ranges::sort(mounted, [](const std::string& a, const std::string& b) {
        return std::pair(rank(a), std::string_view(a)) < std::pair(rank(b), std::string_view(b));
    });
    return mounted;
}

} // namespace

cgroup_tree::cgroup_tree(std::string dir) : dir_(std::move(dir)) {
    while (dir_.size() > 1 && dir_.ends_with('/'))
        dir_.pop_back();
}

bool cgroup_tree::discover() {
    std::vector<std::string> found;
    problem_.clear();
    const auto names = directories_in(dir_, most_directories);
    struct stat about{};
    if (!names) {
        problem_ = names.error().message;
    } else if (::stat(dir_.c_str(), &about) == 0) {
        found = roots_in(dir_, about.st_dev);
        if (found.empty())
            for (const auto& name : hierarchies_in(dir_, *names, about.st_dev)) {
                const auto top = dir_ + "/" + name;
                const auto device = device_of(top);
                if (device)
                    found = roots_in(top, *device);
                if (!found.empty())
                    break;
            }
        if (found.empty())
            problem_ = "no control groups of pods (kubepods, kubepods.slice) below '" + dir_ + "'";
    }
    const bool changed = found != roots_;
    roots_ = std::move(found);
    return changed;
}

std::vector<std::string> cgroup_tree::levels(const std::string& root) {
    std::vector<std::string> all{root};
    for (const auto& name : quality_classes(last_component(root)))
        all.push_back(root + "/" + name);
    return all;
}

std::optional<std::string> cgroup_tree::find(const std::string& uid) const {
    for (const auto& root : roots_)
        for (const auto& level : levels(root)) {
            const auto name = cgroup_name_of(uid, last_component(level));
            if (!name)
                return std::nullopt;
            auto path = level + "/" + *name;
            if (device_of(path))
                return path;
        }
    return std::nullopt;
}

std::string cgroup_tree::shown(const std::string& path) const {
    return printable(path.starts_with(dir_) ? std::string_view(path).substr(dir_.size()) : path);
}

void each_group_of_pod(const std::string& pod, const std::function<bool(const std::string& path)>& f) {
    struct place {
        std::string path;
        std::size_t depth;
    };
    std::deque<place> todo{{pod, 0}};
    std::size_t known = 1;
    while (!todo.empty()) {
        const place here = std::move(todo.front());
        todo.pop_front();
        if (!f(here.path))
            return;
        if (here.depth == deepest_group || known == most_groups)
            continue;
        const auto names = directories_in(here.path, most_groups - known);
        if (!names)
            continue;
        known += names->size();
        for (const auto& name : *names)
            todo.push_back({here.path + "/" + name, here.depth + 1});
    }
}

result<group_processes> processes_of(const std::string& group) {
    constexpr std::size_t longest_number = 11;
    const auto text = read_beginning(AT_FDCWD, group + "/cgroup.procs", most_processes * longest_number);
    if (!text)
        return text.error();
    group_processes all;
    const char* at = text->data();
    const char* const end = at + text->size();
    while (at < end && all.numbers.size() < most_processes) {
        pid_t number = -1;
        const auto [next, problem] = std::from_chars(at, end, number);
        // The last line may be cut off.
        if (problem != std::errc() || next == end || *next != '\n')
            break;
        at = next + 1;
        if (number > 0)
            all.numbers.push_back(number);
        else if (number == 0)
            all.outside = true;
    }
    return all;
}

} // namespace credlet::metadata
