#pragma once
// Connects the discovery loop, which opens listeners inside of pods, with the loop that serves them and with
// the one that knows the pods. Nothing is shared: sockets go to the serving loop, news to the upstream loop,
// pods to the discovery loop.

#include "daemon/discovery_thread.hpp"
#include "daemon/options.hpp"
#include "daemon/pod_listener_board.hpp"

namespace credlet::app {

[[nodiscard]] metadata::pod_listener_settings pod_listener_settings_of(const options& o);

// Upstream loop. Goes behind the discovery thread's end, and the loops and the service behind it.
class pod_listening {
public:
    pod_listening(discovery_thread& discovery, asio::io_context& serving, asio::io_context& upstream,
                  const clock& time, metadata::service& service, metrics::pod_listener_metrics& metrics,
                  logger& log)
        : discovery_(discovery),
          serving_(serving),
          upstream_(upstream),
          time_(time),
          service_(service),
          log_(log),
          board_(time, metrics, log) {}

    // Before the loops run. The error says which right or mount is missing.
    result<void> start(const options& o);
    // From now on those whom the service knows have listeners; it is to know all who are here.
    void follow_pods(pod_choice whose);
    // Whether those who were here at the beginning have been looked for.
    [[nodiscard]] bool settled() const { return settled_; }
    // No new listeners.
    void stop() { discovery_.stop(); }

private:
    [[nodiscard]] metadata::pod_listener_events events();

    discovery_thread& discovery_;
    asio::io_context& serving_;
    asio::io_context& upstream_;
    const clock& time_;
    metadata::service& service_;
    logger& log_;
    pod_listener_board board_;
    bool following_ = false, settled_ = false;
};

} // namespace credlet::app
