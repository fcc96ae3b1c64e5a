#pragma once
// The admin endpoints, for operators, probes and Prometheus; never on a listener that pods are meant to
// reach, and never with a secret in them.
//
//   GET /metrics                    the Prometheus text format
//   GET /healthz                    200 "ok" while all event loops turn; never a matter of STS or Kubernetes
//   GET /readyz                     200 or 503 and {"ready":..,"reasons":[..]}: watches synced, listeners
//   open GET /explain?namespace=N&pod=P  {"namespace":..,"pod":..,"ok":..,"steps":[..]}: each step from
//   address to credentials

#include "metadata/service.hpp"
#include "runtime/http_server.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace credlet::app {

struct readiness {
    bool ready = false;
    std::vector<std::string> reasons; // why not
};

// All are called on the upstream loop.
struct admin_sources {
    std::function<std::string()> metrics;
    std::function<readiness()> ready;
    std::function<awaitable<std::vector<metadata::explain_step>>(std::string namespace_name, std::string pod)>
        explain;
};

// A loop that health is a matter of, besides the one that tells.
struct watched_loop {
    asio::io_context& loop;
    std::string does; // what it does: "serves pods"
};

struct admin_limits {
    std::chrono::milliseconds heartbeat{2000}; // without a sign of another loop: unhealthy
    std::chrono::milliseconds explain{25000};  // an explanation may wait for a token and for STS
    std::size_t explaining_at_once = 4;        // more are answered 503: each may cost a call to STS
};

// Runs on the upstream loop. The loops and the clock outlive the handler, and the handler the server it is
// given to.
std::unique_ptr<request_handler> make_admin_handler(asio::io_context& upstream,
                                                    const std::vector<watched_loop>& others,
                                                    const clock& time, admin_sources sources,
                                                    admin_limits limits = {});

// Metrics alone, for a listener that others than operators can reach: whatever they ask, they are told
// nothing else, and the exposition is rendered once a second at most.
std::unique_ptr<request_handler> make_metrics_handler(const clock& time,
                                                      std::function<std::string()> metrics);

// The answer of /explain.
std::string render_explanation(const std::string& namespace_name, const std::string& pod,
                               const std::vector<metadata::explain_step>& steps);

} // namespace credlet::app
