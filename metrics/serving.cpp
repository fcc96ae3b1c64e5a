#include "metrics/serving.hpp"

namespace credlet::metrics {

namespace {

std::size_t position_of_status(unsigned status) {
    const std::array<char, 3> digits{static_cast<char>('0' + status / 100 % 10),
                                     static_cast<char>('0' + status / 10 % 10),
                                     static_cast<char>('0' + status % 10)};
    return status < 1000 ? position_in(status_codes, {digits.data(), digits.size()})
                         : status_codes.size() - 1;
}

prometheus::MetricFamily family(std::string name, std::string help, prometheus::MetricType type) {
    prometheus::MetricFamily f;
    f.name = std::move(name);
    f.help = std::move(help);
    f.type = type;
    return f;
}

prometheus::ClientMetric labelled(std::vector<prometheus::ClientMetric::Label> labels) {
    prometheus::ClientMetric m;
    m.label = std::move(labels);
    return m;
}

double read(const std::atomic<std::uint64_t>& a) {
    return static_cast<double>(a.load(std::memory_order_relaxed));
}

} // namespace

void serving_instruments::request(protocol p, unsigned status, outcome o, std::chrono::nanoseconds took) {
    const auto row = static_cast<std::size_t>(p);
    add(requests_[row][position_of_status(status)], std::uint64_t{1});
    auto& durations = durations_[row][static_cast<std::size_t>(o)];
    const auto ns = std::max<std::chrono::nanoseconds::rep>(took.count(), 0);
    const auto bucket = std::lower_bound(bounds_ns.begin(), bounds_ns.end(), ns) - bounds_ns.begin();
    add(durations.counts[static_cast<std::size_t>(bucket)], std::uint64_t{1});
    add(durations.sum_ns, static_cast<std::uint64_t>(ns));
}

void serving_instruments::rejected(std::string_view reason) {
    add(rejections_[position_in(rejection_reasons, reason)], std::uint64_t{1});
}

std::vector<prometheus::MetricFamily> serving_instruments::Collect() const {
    using prometheus::MetricType;
    auto requests = family("credlet_requests_total", "Requests answered, by protocol and HTTP status.",
                           MetricType::Counter);
    auto durations =
        family("credlet_request_duration_seconds",
               "Time from the end of a request's head to its answer: hit (from memory), wait (held for "
               "an upstream answer), error (status 400 or more).",
               MetricType::Histogram);
    for (std::size_t p = 0; p < protocols.size(); ++p) {
        const std::string protocol_name(protocols[p]);
        for (std::size_t code = 0; code < status_codes.size(); ++code) {
            auto m = labelled({{"protocol", protocol_name}, {"code", std::string(status_codes[code])}});
            m.counter.value = read(requests_[p][code]);
            requests.metric.push_back(std::move(m));
        }
        for (std::size_t o = 0; o < outcomes.size(); ++o) {
            auto m = labelled({{"protocol", protocol_name}, {"outcome", std::string(outcomes[o])}});
            const auto& source = durations_[p][o];
            // The count is the sum of the buckets that were read, so that they agree whatever is written
            // meanwhile.
            std::uint64_t count = 0;
            for (std::size_t b = 0; b < bounds_ns.size(); ++b) {
                count += source.counts[b].load(std::memory_order_relaxed);
                m.histogram.bucket.push_back({count, static_cast<double>(bounds_ns[b]) / 1e9});
            }
            count += source.counts.back().load(std::memory_order_relaxed);
            m.histogram.sample_count = count;
            m.histogram.sample_sum = read(source.sum_ns) / 1e9;
            durations.metric.push_back(std::move(m));
        }
    }

    auto connections = family("credlet_connections", "Open connections of pods.", MetricType::Gauge);
    auto open = labelled({});
    open.gauge.value = static_cast<double>(connections_.load(std::memory_order_relaxed));
    connections.metric.push_back(std::move(open));

    auto rejections = family("credlet_rejections_total", "Connections and requests turned away, by reason.",
                             MetricType::Counter);
    for (std::size_t r = 0; r < rejection_reasons.size(); ++r) {
        auto m = labelled({{"reason", std::string(rejection_reasons[r])}});
        m.counter.value = read(rejections_[r]);
        rejections.metric.push_back(std::move(m));
    }
    return {std::move(requests), std::move(durations), std::move(connections), std::move(rejections)};
}

} // namespace credlet::metrics
