#pragma once
// The process_* metrics of every Prometheus client library, read from /proc when scraped.
// https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <optional>
#include <vector>

namespace credlet::metrics {

class process_metrics final : public prometheus::Collectable {
public:
    process_metrics();
    // What cannot be read is left out.
    [[nodiscard]] std::vector<prometheus::MetricFamily> Collect() const override;

private:
    std::optional<double> started_;
};

} // namespace credlet::metrics
