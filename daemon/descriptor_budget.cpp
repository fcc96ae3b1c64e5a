#include "daemon/descriptor_budget.hpp"

#include <sys/resource.h>

namespace credlet::app {

namespace {

// Admin and metrics connections, the Kubernetes API, files, loops.
constexpr std::size_t others = 256;

} // namespace

std::size_t descriptors_needed(const options& o) {
    std::size_t needed = o.max_connections + o.sts_max_in_flight + others;
    if (!o.pod_listen.empty())
        needed += o.max_pod_namespaces * (1 + o.pod_listen.size());
    return needed;
}

std::optional<std::size_t> descriptor_limit() {
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == RLIM_INFINITY)
        return std::nullopt;
    return files.rlim_cur;
}

} // namespace credlet::app
