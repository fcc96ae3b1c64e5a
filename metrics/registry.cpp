#include "metrics/process.hpp"
#include "metrics/serving.hpp"
#include "metrics/upstream.hpp"

#include <prometheus/text_serializer.h>

#include <mutex>

namespace credlet::metrics {

namespace {

class prometheus_registry final : public registry {
public:
    explicit prometheus_registry(const clock& time)
        : sts_(families_),
          kubernetes_(families_, time),
          pod_listeners_(families_) {
        prometheus::BuildGauge()
            .Name("credlet_build_info")
            .Help("Always 1; the version is in the label.")
            .Register(families_)
            .Add({{"version", CREDLET_VERSION}})
            .Set(1);
    }

    serving_metrics& serving() override { return serving_; }
    sts_metrics& sts() override { return sts_; }
    kubernetes_metrics& kubernetes() override { return kubernetes_; }
    pod_listener_metrics& pod_listeners() override { return pod_listeners_; }

    void log_dropped(std::function<std::uint64_t()> read) override {
        const std::lock_guard lock(mutex_);
        read_dropped_ = std::move(read);
    }

    void ready(std::function<bool()> read) override {
        const std::lock_guard lock(mutex_);
        read_ready_ = std::move(read);
    }

    [[nodiscard]] std::string expose() override {
        auto all = families_.Collect();
        const auto append = [&all](std::vector<prometheus::MetricFamily> more) {
            std::move(more.begin(), more.end(), std::back_inserter(all));
        };
        append(serving_.Collect());
        append(kubernetes_.Collect());
        append(process_.Collect());
        append({dropped_lines(), readiness()});
        std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
        return prometheus::TextSerializer{}.Serialize(all);
    }

private:
    // What somebody else counts, as a family of one series.
    static prometheus::MetricFamily alone(std::string name, std::string help, prometheus::MetricType type,
                                          const prometheus::ClientMetric& m) {
        prometheus::MetricFamily f;
        f.name = std::move(name);
        f.help = std::move(help);
        f.type = type;
        f.metric.push_back(m);
        return f;
    }

    prometheus::MetricFamily dropped_lines() {
        prometheus::ClientMetric m;
        {
            const std::lock_guard lock(mutex_);
            m.counter.value = read_dropped_ ? static_cast<double>(read_dropped_()) : 0;
        }
        return alone("credlet_log_lines_dropped_total",
                     "Log lines lost because the output did not take them.", prometheus::MetricType::Counter,
                     m);
    }

    prometheus::MetricFamily readiness() {
        prometheus::ClientMetric m;
        {
            const std::lock_guard lock(mutex_);
            m.gauge.value = read_ready_ && read_ready_() ? 1 : 0;
        }
        return alone("credlet_ready", "1 when pods can be served, as /readyz says.",
                     prometheus::MetricType::Gauge, m);
    }

    prometheus::Registry families_;
    serving_instruments serving_;
    sts_instruments sts_;
    kubernetes_instruments kubernetes_;
    pod_listener_instruments pod_listeners_;
    process_metrics process_;
    std::mutex mutex_;
    std::function<std::uint64_t()> read_dropped_;
    std::function<bool()> read_ready_;
};

} // namespace

std::unique_ptr<registry> make_registry(const clock& time) {
    return std::make_unique<prometheus_registry>(time);
}

} // namespace credlet::metrics
