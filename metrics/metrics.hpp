#pragma once
// Every metric credlet exports, as objects with named methods: callers never spell a metric name or a label.
// Label sets are closed: a value outside of them is counted as "other". All series that can be known in
// advance exist from the first scrape.
//
// The instruments of the serving loop are plain atomics with one writer, read by the scraper: no lock is
// shared.

#include "runtime/clock.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace credlet::metrics {

enum class protocol { ecs, imds, other };
enum class outcome { hit, wait, error }; // answered from memory; after waiting; with a status of 400 or more

// Written by the serving loop only. Wait-free.
class serving_metrics {
public:
    virtual ~serving_metrics() = default;
    // One request answered: credlet_requests_total, credlet_request_duration_seconds.
    virtual void request(protocol p, unsigned status, outcome o, std::chrono::nanoseconds took) = 0;
    virtual void connection_opened() = 0; // credlet_connections
    virtual void connection_closed() = 0;
    // credlet_rejections_total{reason}; the reasons are listed in rejection_reasons.
    virtual void rejected(std::string_view reason) = 0;
};

// Written by the upstream loop only, from here on.

// Bounds what one metric with a series per role can cost a scrape.
inline constexpr std::size_t max_expiry_series = 200;

enum class credential_state { fresh, renewing, stale, failed };
enum class trigger { demand, renewal, prefetch };
std::string_view to_string(trigger t);

class sts_metrics {
public:
    virtual ~sts_metrics() = default;
    virtual void credentials(credential_state s, std::size_t count) = 0; // credlet_credentials
    // credlet_credential_expiry_timestamp_seconds; at most max_expiry_series series, the rest are left out.
    virtual void expiry(std::string_view namespace_name, std::string_view service_account,
                        std::string_view role, wall_time expires) = 0;
    virtual void expiry_gone(std::string_view namespace_name, std::string_view service_account,
                             std::string_view role) = 0;
    // result: "ok", or a failure's name (sts::to_string(failure_kind)).
    virtual void refresh(trigger t, std::string_view result, std::chrono::nanoseconds took) = 0;
    // operation: AssumeRoleWithWebIdentity or AssumeRole; result: "ok", an STS error code that is known, a
    // transport error's name (to_string(errc)), or "other".
    virtual void request(std::string_view operation, std::string_view result,
                         std::chrono::nanoseconds took) = 0;
    virtual void
    allowed_rate(double calls_per_second) = 0; // credlet_sts_allowed_rate: falls under throttling
    virtual void clock_skew(std::chrono::milliseconds skew) = 0; // credlet_clock_skew_seconds, by STS's Date
};

enum class watched { pods, service_accounts };

class kubernetes_metrics {
public:
    virtual ~kubernetes_metrics() = default;
    // source: caller, impersonate, request, projected, file; result: ok or to_string(errc).
    virtual void token_request(std::string_view source, std::string_view result,
                               std::chrono::nanoseconds took) = 0;
    // reason: closed, expired, throttled, denied, unavailable, connection, idle, decode, other.
    virtual void watch_restarted(watched w, std::string_view reason) = 0;
    // The last byte of any kind that the watch delivered; credlet_watch_age_seconds is computed when scraped.
    virtual void watch_alive(watched w, boot_time when) = 0;
    virtual void pods(std::string_view state,
                      std::size_t count) = 0; // credlet_pods{state=live|terminating|terminal|host_network}
    virtual void token_reloaded(std::string_view what,
                                bool ok) = 0;               // credlet_reloads_total{what=token|ca,result}
    virtual void jwks_fetched(std::string_view result) = 0; // credlet_jwks_fetches_total{result}
};

// Of the listeners inside pods' network namespaces; nothing but zeros where there are none.
class pod_listener_metrics {
public:
    virtual ~pod_listener_metrics() = default;
    virtual void pods(std::string_view state,
                      std::size_t count) = 0; // credlet_pod_listeners{state=listening|waiting|failed}
    // A pod's listener begins to fail, or fails for another reason: credlet_pod_listener_failures_total.
    // reason: port_taken, wrong_addresses, shared_namespace, limit, denied, io.
    virtual void failed(std::string_view reason) = 0;
    // after: the first sign of the pod's sandbox. credlet_pod_listener_open_seconds.
    virtual void opened(std::chrono::nanoseconds after) = 0;
};

class registry {
public:
    virtual ~registry() = default;
    virtual serving_metrics& serving() = 0;
    virtual sts_metrics& sts() = 0;
    virtual kubernetes_metrics& kubernetes() = 0;
    virtual pod_listener_metrics& pod_listeners() = 0;
    // Both are asked when scraped, on the thread that calls expose().
    virtual void log_dropped(std::function<std::uint64_t()> read) = 0; // credlet_log_lines_dropped_total
    virtual void
    ready(std::function<bool()> read) = 0; // credlet_ready: what /readyz says; 0 until this is set
    // The exposition in the Prometheus text format, process_* included.
    [[nodiscard]] virtual std::string expose() = 0;
};
std::unique_ptr<registry> make_registry(const clock& time);

} // namespace credlet::metrics
