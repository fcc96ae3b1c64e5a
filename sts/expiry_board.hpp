#pragma once
// Keeps credlet_credential_expiry_timestamp_seconds true where several keys share its labels (sessions per
// pod, two audiences): the series shows the earliest expiry among them and goes with the last.

#include "metrics/metrics.hpp"
#include "sts/credentials.hpp"

#include <map>
#include <tuple>

namespace credlet::sts {

class expiry_board {
public:
    explicit expiry_board(metrics::sts_metrics& metrics) : metrics_(metrics) {}

    void set(const credential_key& key, const credential_spec& spec, wall_time expires);
    void remove(const credential_key& key); // nothing happens where the key is not on the board

private:
    using labels = std::tuple<std::string, std::string, std::string>; // namespace, service account, role
    using series = std::map<labels, std::map<credential_key, wall_time>>;
    void show(series::iterator which);

    metrics::sts_metrics& metrics_;
    series series_;
    std::map<credential_key, labels> labels_of_;
};

} // namespace credlet::sts
