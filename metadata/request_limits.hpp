#pragma once
// A token bucket for each caller, in a bounded table: one caller's flood is its own. Serving loop only.

#include "runtime/clock.hpp"

#include <boost/unordered/unordered_flat_map.hpp>

#include <cstdint>

namespace credlet::metadata {

class request_limits {
public:
    // per_second > 0, burst >= 1. max_callers: buckets kept; when it is reached, those that have filled up
    // again are forgotten (they would start full anyway), and if there are none, all are: better a moment of
    // leniency than a table that grows.
    request_limits(double per_second, double burst, std::size_t max_callers = 16384);

    // Whether the caller may do one more thing now. Callers are told apart by a hash: two that collide share
    // a bucket.
    [[nodiscard]] bool take(std::uint64_t caller, boot_time now);
    // Gives one back.
    void refund(std::uint64_t caller);

    [[nodiscard]] std::size_t callers() const { return buckets_.size(); }

private:
    struct bucket {
        double left;
        boot_time when;
    };
    void make_room(boot_time now);

    double per_nanosecond_;
    double burst_;
    std::size_t max_callers_;
    boost::unordered_flat_map<std::uint64_t, bucket> buckets_;
};

} // namespace credlet::metadata
