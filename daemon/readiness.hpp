#pragma once
// When the daemon says that it is ready, which is what an update goes by: pods that ask from then on must
// find all that this process can do for them.

#include "daemon/admin.hpp"

#include <cstddef>
#include <string>

namespace credlet::app {

// How far the start has come.
struct start_progress {
    bool pods_listed = false, accounts_listed = false;
    bool listens_on_node = false; // is to listen there
    std::size_t listening = 0;    // how many of the node's addresses it does listen on
    bool listens_in_pods = false; // is to listen there
    bool pods_looked_for = false; // those that were here at the beginning
    std::string cold{};           // what a process that serves has and this one has not; empty: nothing
    bool draining = false;
};

[[nodiscard]] readiness readiness_of(const start_progress& so_far);

} // namespace credlet::app
