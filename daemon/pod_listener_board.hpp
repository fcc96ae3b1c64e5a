#pragma once
// What has become of the listeners inside of pods, as the upstream loop knows it from the discovery loop's
// updates: told on in metrics and in the log, and kept for whoever asks about a pod.

#include "metadata/pod_network/pod_listeners.hpp"
#include "metrics/metrics.hpp"
#include "runtime/log.hpp"

#include <map>
#include <optional>
#include <string>

namespace credlet::app {

class pod_listener_board {
public:
    // All outlive it.
    pod_listener_board(const clock& time, metrics::pod_listener_metrics& metrics, logger& log)
        : time_(time),
          metrics_(metrics),
          log_(log) {}

    // In the order in which they happened.
    void told(const metadata::pod_listener_update& u);

    // None: nothing has been told of this pod, or it is not here any more.
    [[nodiscard]] std::optional<metadata::pod_listener_state> state_of(const std::string& pod_uid) const;

private:
    void log_change(const metadata::pod_listener_update& u, bool was_open);

    const clock& time_;
    metrics::pod_listener_metrics& metrics_;
    logger& log_;
    log_sampler sampler_{std::chrono::seconds(10)}; // who takes and leaves the port in turn writes no log
    std::map<std::string, metadata::pod_listener_state, std::less<>> states_;
};

} // namespace credlet::app
