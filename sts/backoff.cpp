#include "sts/backoff.hpp"

#include <algorithm>

namespace credlet::sts {

std::chrono::nanoseconds full_jitter(std::chrono::nanoseconds base, std::chrono::nanoseconds max,
                                     unsigned failures_in_a_row, random_source& random) {
    auto bound = std::min(base, max);
    for (unsigned i = 1; i < failures_in_a_row && bound < max; ++i)
        bound = std::min(bound * 2, max);
    return std::chrono::nanoseconds(
        static_cast<std::chrono::nanoseconds::rep>(static_cast<double>(bound.count()) * random.unit()));
}

} // namespace credlet::sts
