#pragma once
// Families of prometheus-cpp over closed label sets: every series exists from the start and is found by its
// values, never by building a map of labels.

#include "metrics/label_sets.hpp"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <string>
#include <vector>

namespace credlet::metrics {

struct closed_label {
    std::string name;
    label_set values;
};

// For counters and gauges: builder is BuildCounter or BuildGauge, Metric what it builds. Histograms take
// their bounds.
template <class Metric>
class closed_family {
public:
    template <class Builder, class... Arguments>
    closed_family(Builder builder, prometheus::Registry& registry, const std::string& name,
                  const std::string& help, const std::vector<closed_label>& labels,
                  const Arguments&... arguments) {
        auto& family = builder.Name(name).Help(help).Register(registry);
        sets_.reserve(labels.size());
        std::size_t combinations = 1;
        for (const auto& label : labels) {
            sets_.push_back(label.values);
            combinations *= label.values.size();
        }
        series_.reserve(combinations);
        for (std::size_t i = 0; i < combinations; ++i) {
            prometheus::Labels values;
            std::size_t rest = i;
            for (std::size_t l = labels.size(); l-- > 0; rest /= sets_[l].size())
                values.emplace(labels[l].name, std::string(sets_[l][rest % sets_[l].size()]));
            series_.push_back(&family.Add(values, arguments...));
        }
    }

    // One value per label, in the order of the labels.
    template <class... Values>
    Metric& at(const Values&... values) const {
        std::size_t index = 0, label = 0;
        ((index = index * sets_[label].size() + position_in(sets_[label], values), ++label), ...);
        return *series_[index];
    }

private:
    std::vector<label_set> sets_;
    std::vector<Metric*> series_;
};

} // namespace credlet::metrics
