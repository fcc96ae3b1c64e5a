#pragma once
// The instruments of the upstream loop, on prometheus-cpp: its counters are atomics and its histograms take a
// mutex of their own, both of which that loop can afford. Safe to scrape from any thread.

#include "metrics/families.hpp"
#include "metrics/metrics.hpp"

#include <map>
#include <tuple>

namespace credlet::metrics {

class sts_instruments final : public sts_metrics {
public:
    explicit sts_instruments(prometheus::Registry& registry);
    void credentials(credential_state s, std::size_t count) override;
    void expiry(std::string_view namespace_name, std::string_view service_account, std::string_view role,
                wall_time expires) override;
    void expiry_gone(std::string_view namespace_name, std::string_view service_account,
                     std::string_view role) override;
    void refresh(trigger t, std::string_view result, std::chrono::nanoseconds took) override;
    void request(std::string_view operation, std::string_view result, std::chrono::nanoseconds took) override;
    void allowed_rate(double calls_per_second) override { allowed_rate_.Set(calls_per_second); }
    void clock_skew(std::chrono::milliseconds skew) override;

private:
    using expiry_key = std::tuple<std::string, std::string, std::string>;

    closed_family<prometheus::Gauge> credentials_;
    closed_family<prometheus::Counter> refreshes_;
    closed_family<prometheus::Histogram> refresh_durations_;
    closed_family<prometheus::Counter> requests_;
    closed_family<prometheus::Histogram> request_durations_;
    prometheus::Gauge& allowed_rate_;
    prometheus::Gauge& clock_skew_;
    prometheus::Family<prometheus::Gauge>& expiries_;
    std::map<expiry_key, prometheus::Gauge*> expiry_series_; // at most max_expiry_series
};

class kubernetes_instruments final : public kubernetes_metrics, public prometheus::Collectable {
public:
    kubernetes_instruments(prometheus::Registry& registry, const clock& time);
    void token_request(std::string_view source, std::string_view result,
                       std::chrono::nanoseconds took) override;
    void watch_restarted(watched w, std::string_view reason) override;
    void watch_alive(watched w, boot_time when) override;
    void pods(std::string_view state, std::size_t count) override;
    void token_reloaded(std::string_view what, bool ok) override;
    void jwks_fetched(std::string_view result) override;

    // credlet_watch_age_seconds, which is a matter of now.
    [[nodiscard]] std::vector<prometheus::MetricFamily> Collect() const override;

private:
    const clock& time_;
    closed_family<prometheus::Counter> token_requests_;
    closed_family<prometheus::Histogram> token_request_durations_;
    closed_family<prometheus::Counter> watch_restarts_;
    closed_family<prometheus::Gauge> pods_;
    closed_family<prometheus::Counter> reloads_;
    closed_family<prometheus::Counter> jwks_fetches_;
    // Nanoseconds on the boot clock, by `watched`.
    std::array<std::atomic<std::int64_t>, 2> last_alive_;
};

class pod_listener_instruments final : public pod_listener_metrics {
public:
    explicit pod_listener_instruments(prometheus::Registry& registry);
    void pods(std::string_view state, std::size_t count) override;
    void failed(std::string_view reason) override { failures_.at(reason).Increment(); }
    void opened(std::chrono::nanoseconds after) override;

private:
    closed_family<prometheus::Gauge> pods_;
    closed_family<prometheus::Counter> failures_;
    prometheus::Histogram& open_durations_;
};

} // namespace credlet::metrics
