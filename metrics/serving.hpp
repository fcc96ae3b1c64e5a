#pragma once
// The instruments of the serving loop: plain atomics with one writer, so that a request never waits for a
// scrape. (prometheus-cpp's own Histogram takes a mutex.) Collect() may run on any thread at any time.

#include "metrics/label_sets.hpp"
#include "metrics/metrics.hpp"

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <vector>

namespace credlet::metrics {

class serving_instruments final : public serving_metrics, public prometheus::Collectable {
public:
    void request(protocol p, unsigned status, outcome o, std::chrono::nanoseconds took) override;
    void connection_opened() override { add(connections_, std::int64_t{1}); }
    void connection_closed() override { add(connections_, std::int64_t{-1}); }
    void rejected(std::string_view reason) override;

    [[nodiscard]] std::vector<prometheus::MetricFamily> Collect() const override;

private:
    // 50 us to 5 s: the warm path is at the bottom, a caller held as long as protocols allow at the top.
    static constexpr std::array<std::chrono::nanoseconds::rep, 16> bounds_ns{
        50'000,      100'000,       250'000,       500'000,      1'000'000,   2'500'000,
        5'000'000,   10'000'000,    25'000'000,    50'000'000,   100'000'000, 250'000'000,
        500'000'000, 1'000'000'000, 2'500'000'000, 5'000'000'000};

    struct histogram {
        std::array<std::atomic<std::uint64_t>, bounds_ns.size() + 1> counts{};
        std::atomic<std::uint64_t> sum_ns{0};
    };

    // One writer: no read-modify-write instruction is needed.
    template <class T>
    static void add(std::atomic<T>& a, T n) {
        a.store(a.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
    }

    std::array<std::array<std::atomic<std::uint64_t>, status_codes.size()>, protocols.size()> requests_{};
    std::array<std::array<histogram, outcomes.size()>, protocols.size()> durations_{};
    std::array<std::atomic<std::uint64_t>, rejection_reasons.size()> rejections_{};
    std::atomic<std::int64_t> connections_{0};
};

} // namespace credlet::metrics
