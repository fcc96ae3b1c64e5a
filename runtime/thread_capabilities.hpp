#pragma once
// What this very thread may do (capabilities(7)). Threads that it makes inherit that.

#include "runtime/error.hpp"

#include <initializer_list>

namespace credlet {

// CAP_SYS_ADMIN and so on, of linux/capability.h.
[[nodiscard]] bool has_capability(int capability);
// For good. Those that it does not have are no error.
result<void> give_up_capabilities(std::initializer_list<int> capabilities);

} // namespace credlet
