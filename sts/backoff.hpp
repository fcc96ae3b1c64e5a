#pragma once
// How long to wait after failures in a row, so that neither one caller nor a thousand nodes hammer what is
// down.

#include "runtime/random.hpp"

#include <chrono>

namespace credlet::sts {

// Full jitter: drawn uniformly between zero and a bound that is `base` after the first failure and doubles
// with each further one, up to `max`.
// https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
std::chrono::nanoseconds full_jitter(std::chrono::nanoseconds base, std::chrono::nanoseconds max,
                                     unsigned failures_in_a_row, random_source& random);

} // namespace credlet::sts
