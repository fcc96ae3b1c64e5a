#include "metadata/pod_network/process_scan.hpp"

#include "metadata/pod_network/cgroup_path.hpp"
#include "metadata/pod_network/kernel_files.hpp"
#include "metadata/pod_network/process_namespace.hpp"

#include <charconv>

namespace credlet::metadata {

namespace {

constexpr std::size_t most_entries = 65536;

std::optional<pid_t> number_of(std::string_view name) {
    pid_t number = 0;
    const auto [end, problem] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (problem != std::errc() || end != name.data() + name.size() || number <= 0)
        return std::nullopt;
    return number;
}

} // namespace

process_scan scan_processes(const descriptor& proc, const std::string& proc_dir) {
    process_scan scan;
    const auto names = entries_in(proc_dir, most_entries);
    if (!names)
        return scan;
    scan.complete = names->size() < most_entries;
    for (const auto& name : *names) {
        const auto number = number_of(name);
        if (!number)
            continue;
        ++scan.seen;
        const auto process = process_directory::open(proc, *number);
        if (!process)
            continue;
        const auto cgroups = process->cgroups();
        if (!cgroups)
            continue;
        const auto uid = pod_of_process_cgroups(*cgroups);
        if (!uid)
            continue;
        const auto net = process->network_id();
        scan.by_pod[*uid].push_back({*number, net ? std::optional(*net) : std::nullopt});
    }
    return scan;
}

} // namespace credlet::metadata
