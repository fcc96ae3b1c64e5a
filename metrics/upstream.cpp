#include "metrics/upstream.hpp"

namespace credlet::metrics {

namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;

constexpr std::array<std::string_view, 3> triggers{"demand", "renewal", "prefetch"};
constexpr std::array<std::string_view, 4> credential_states{"fresh", "renewing", "stale", "failed"};
constexpr std::array<std::string_view, 2> resources{"pods", "serviceaccounts"};
constexpr std::array<std::string_view, 2> ok_or_error{"ok", "error"};

// 10 ms to 10 s: an answer of STS or the API server.
prometheus::Histogram::BucketBoundaries upstream_bounds() {
    return {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
}

// 1 ms to 10 s: from an event of the kernel to one that took a good many looks.
prometheus::Histogram::BucketBoundaries opening_bounds() {
    return {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
}

double seconds(std::chrono::nanoseconds d) { return std::chrono::duration<double>(d).count(); }

std::string_view name_of(watched w) { return resources[static_cast<std::size_t>(w)]; }

} // namespace

std::string_view to_string(trigger t) { return triggers[static_cast<std::size_t>(t)]; }

sts_instruments::sts_instruments(prometheus::Registry& registry)
    : credentials_(
          BuildGauge(), registry, "credlet_credentials",
          "Sets of credentials held: fresh, renewing, stale (renewal due and failing, still served), failed "
          "(none to serve).",
          {{"state", credential_states}}),
      refreshes_(BuildCounter(), registry, "credlet_refresh_total",
                 "Attempts to obtain credentials, by what caused them and how they ended.",
                 {{"trigger", triggers}, {"result", refresh_results}}),
      refresh_durations_(BuildHistogram(), registry, "credlet_refresh_duration_seconds",
                         "Time of an attempt to obtain credentials: token and STS calls together.",
                         {{"trigger", triggers}}, upstream_bounds()),
      requests_(BuildCounter(), registry, "credlet_sts_requests_total",
                "Calls to STS, by operation and STS's own error code or what failed below it.",
                {{"operation", sts_operations}, {"result", sts_results}}),
      request_durations_(BuildHistogram(), registry, "credlet_sts_request_duration_seconds",
                         "Time of a call to STS.", {{"operation", sts_operations}}, upstream_bounds()),
      allowed_rate_(BuildGauge()
                        .Name("credlet_sts_allowed_rate")
                        .Help("Calls to STS per second that credlet allows itself; falls when STS throttles.")
                        .Register(registry)
                        .Add({})),
      clock_skew_(BuildGauge()
                      .Name("credlet_clock_skew_seconds")
                      .Help("This node's clock minus STS's, by the Date of STS's last answer.")
                      .Register(registry)
                      .Add({})),
      expiries_(BuildGauge()
                    .Name("credlet_credential_expiry_timestamp_seconds")
                    .Help("When the credentials of a role expire, since the Unix epoch; for at most " +
                          std::to_string(max_expiry_series) + " of them.")
                    .Register(registry)) {}

void sts_instruments::credentials(credential_state s, std::size_t count) {
    credentials_.at(credential_states[static_cast<std::size_t>(s)]).Set(static_cast<double>(count));
}

void sts_instruments::expiry(std::string_view namespace_name, std::string_view service_account,
                             std::string_view role, wall_time expires) {
    expiry_key key(namespace_name, service_account, role);
    auto found = expiry_series_.find(key);
    if (found == expiry_series_.end()) {
        if (expiry_series_.size() >= max_expiry_series)
            return;
        auto& gauge = expiries_.Add({{"namespace", std::get<0>(key)},
                                     {"service_account", std::get<1>(key)},
                                     {"role", std::get<2>(key)}});
        found = expiry_series_.emplace(std::move(key), &gauge).first;
    }
    found->second->Set(seconds(expires.time_since_epoch()));
}

void sts_instruments::expiry_gone(std::string_view namespace_name, std::string_view service_account,
                                  std::string_view role) {
    const auto found = expiry_series_.find(expiry_key(namespace_name, service_account, role));
    if (found == expiry_series_.end())
        return;
    expiries_.Remove(found->second);
    expiry_series_.erase(found);
}

void sts_instruments::refresh(trigger t, std::string_view result, std::chrono::nanoseconds took) {
    refreshes_.at(to_string(t), result).Increment();
    refresh_durations_.at(to_string(t)).Observe(seconds(took));
}

void sts_instruments::request(std::string_view operation, std::string_view result,
                              std::chrono::nanoseconds took) {
    requests_.at(operation, result).Increment();
    request_durations_.at(operation).Observe(seconds(took));
}

void sts_instruments::clock_skew(std::chrono::milliseconds skew) { clock_skew_.Set(seconds(skew)); }

kubernetes_instruments::kubernetes_instruments(prometheus::Registry& registry, const clock& time)
    : time_(time),
      token_requests_(BuildCounter(), registry, "credlet_token_requests_total",
                      "Web identity tokens obtained, by source and result.",
                      {{"source", token_sources}, {"result", plain_results}}),
      token_request_durations_(BuildHistogram(), registry, "credlet_token_request_duration_seconds",
                               "Time to obtain a web identity token.", {{"source", token_sources}},
                               upstream_bounds()),
      watch_restarts_(BuildCounter(), registry, "credlet_watch_restarts_total",
                      "Watches of the Kubernetes API that ended and were started again.",
                      {{"resource", resources}, {"reason", restart_reasons}}),
      pods_(BuildGauge(), registry, "credlet_pods", "Pods of this node.", {{"state", pod_states}}),
      reloads_(BuildCounter(), registry, "credlet_reloads_total",
               "Times the daemon's own token or CA file was read again.",
               {{"what", reloaded_things}, {"result", ok_or_error}}),
      jwks_fetches_(BuildCounter(), registry, "credlet_jwks_fetches_total",
                    "Fetches of the cluster's token-signing keys.", {{"result", plain_results}}) {
    for (auto& alive : last_alive_)
        alive = time.now().time_since_epoch().count();
}

void kubernetes_instruments::token_request(std::string_view source, std::string_view result,
                                           std::chrono::nanoseconds took) {
    token_requests_.at(source, result).Increment();
    token_request_durations_.at(source).Observe(seconds(took));
}

void kubernetes_instruments::watch_restarted(watched w, std::string_view reason) {
    watch_restarts_.at(name_of(w), reason).Increment();
}

void kubernetes_instruments::watch_alive(watched w, boot_time when) {
    last_alive_[static_cast<std::size_t>(w)].store(when.time_since_epoch().count(),
                                                   std::memory_order_relaxed);
}

void kubernetes_instruments::pods(std::string_view state, std::size_t count) {
    pods_.at(state).Set(static_cast<double>(count));
}

void kubernetes_instruments::token_reloaded(std::string_view what, bool ok) {
    reloads_.at(what, ok ? ok_or_error[0] : ok_or_error[1]).Increment();
}

void kubernetes_instruments::jwks_fetched(std::string_view result) { jwks_fetches_.at(result).Increment(); }

std::vector<prometheus::MetricFamily> kubernetes_instruments::Collect() const {
    prometheus::MetricFamily ages;
    ages.name = "credlet_watch_age_seconds";
    ages.help = "Time since a watch of the Kubernetes API last delivered anything, or since the start.";
    ages.type = prometheus::MetricType::Gauge;
    const auto now = time_.now().time_since_epoch().count();
    for (std::size_t w = 0; w < resources.size(); ++w) {
        prometheus::ClientMetric m;
        m.label.push_back({"resource", std::string(resources[w])});
        const auto age = now - last_alive_[w].load(std::memory_order_relaxed);
        m.gauge.value = static_cast<double>(std::max<std::int64_t>(age, 0)) / 1e9;
        ages.metric.push_back(std::move(m));
    }
    return {std::move(ages)};
}

pod_listener_instruments::pod_listener_instruments(prometheus::Registry& registry)
    : pods_(
          BuildGauge(), registry, "credlet_pod_listeners",
          "Pods that are to have a listener in their network namespace: listening, waiting (not found yet), "
          "failed.",
          {{"state", pod_listener_states}}),
      failures_(BuildCounter(), registry, "credlet_pod_listener_failures_total",
                "Times a pod's listener began to fail, or to fail for another reason.",
                {{"reason", pod_listener_failures}}),
      open_durations_(BuildHistogram()
                          .Name("credlet_pod_listener_open_seconds")
                          .Help("Time from the first sign of a pod's sandbox to its listener.")
                          .Register(registry)
                          .Add({}, opening_bounds())) {}

void pod_listener_instruments::pods(std::string_view state, std::size_t count) {
    pods_.at(state).Set(static_cast<double>(count));
}

void pod_listener_instruments::opened(std::chrono::nanoseconds after) {
    open_durations_.Observe(seconds(after));
}

} // namespace credlet::metrics
