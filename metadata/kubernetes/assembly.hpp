#pragma once
// The parts behind kubernetes.hpp put together over a given HTTPS client, so that tests can bring a scripted
// one.

#include "metadata/kubernetes/kubernetes.hpp"

namespace credlet::metadata::kubernetes {

// As make_kubernetes; the client takes at least three requests at once, two of which are the watches.
result<std::unique_ptr<kubernetes>> assemble(asio::io_context& loop, task_group& tasks, const clock& time,
                                             random_source& random, std::unique_ptr<https_client> http,
                                             const pod_chooser& chooser, metrics::kubernetes_metrics& metrics,
                                             logger& log, settings s);

} // namespace credlet::metadata::kubernetes
