#pragma once
// How many file descriptors the daemon may come to need at its limits. Where it may open fewer, it fails
// callers long before those.

#include "daemon/options.hpp"

#include <cstddef>
#include <optional>

namespace credlet::app {

[[nodiscard]] std::size_t descriptors_needed(const options& o);

// RLIMIT_NOFILE. None: it cannot be told, or there is no limit.
[[nodiscard]] std::optional<std::size_t> descriptor_limit();

} // namespace credlet::app
