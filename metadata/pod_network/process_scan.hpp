#pragma once
// All processes that are in pods' control groups, by a look at every one in /proc: where there is no tree of
// control groups to be read, and to find out who is in a namespace.

#include "runtime/descriptor.hpp"
#include "runtime/network_namespace.hpp"

#include <map>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace credlet::metadata {

struct process_in_pod {
    pid_t number;
    std::optional<namespace_id> net; // none: it has ended, or nobody may see it
};

struct process_scan {
    std::map<std::string, std::vector<process_in_pod>, std::less<>> by_pod; // by uid
    std::size_t seen = 0;                                                   // processes of all kinds
    bool complete = false; // false: /proc cannot be listed, or has more processes than are looked at
};

// proc: the open directory /proc, which is also at proc_dir.
process_scan scan_processes(const descriptor& proc, const std::string& proc_dir);

} // namespace credlet::metadata
