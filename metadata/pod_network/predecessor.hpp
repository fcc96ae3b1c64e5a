#pragma once
// Whether another process has listeners in pods already: in an update, the one whose place this one takes.

#include "metadata/pod_network/pod_listeners.hpp"

namespace credlet::metadata {

// Visits every network namespace that a process of a pod runs in, the node's left out. To be called on a
// thread that may do so, once: it looks at all processes. What cannot be seen is taken for unlistened.
[[nodiscard]] bool is_listened_on_in_pods(const pod_listener_settings& settings);

} // namespace credlet::metadata
