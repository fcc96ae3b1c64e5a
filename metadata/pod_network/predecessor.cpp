#include "metadata/pod_network/predecessor.hpp"

#include "metadata/pod_network/kernel_files.hpp"
#include "metadata/pod_network/process_namespace.hpp"
#include "metadata/pod_network/process_scan.hpp"
#include "runtime/shared_address.hpp"

#include <algorithm>
#include <fcntl.h>
#include <set>

namespace credlet::metadata {

bool is_listened_on_in_pods(const pod_listener_settings& settings) {
    constexpr pid_t init = 1;
    const auto visitor = namespace_visitor::make();
    const auto proc = open_at(AT_FDCWD, settings.finder.proc_dir, O_PATH | O_DIRECTORY);
    if (!visitor || !proc)
        return false;
    std::set<namespace_id> seen;
    if (const auto first = process_directory::open(*proc, init))
        if (const auto node = first->network_id())
            seen.insert(*node);
    const auto is_listened_on_here = [&settings]() -> result<bool> {
        return std::ranges::any_of(settings.where, is_listened_on);
    };
    for (const auto& [uid, processes] : scan_processes(*proc, settings.finder.proc_dir).by_pod)
        for (const auto& p : processes) {
            if (!p.net || !seen.insert(*p.net).second)
                continue;
            const auto process = process_directory::open(*proc, p.number);
            const auto net = process ? process->network() : process.error();
            if (!net)
                continue;
            if (const auto taken = visitor->inside(*net, is_listened_on_here); taken && *taken)
                return true;
        }
    return false;
}

} // namespace credlet::metadata
