#pragma once
// `credlet probe`: asks the daemon whether it is healthy or ready, for exec probes. Through a unix socket it
// reaches no other process than the one it means, also where two share the network of a node.

#include "daemon/options.hpp"

#include <iosfwd>

namespace credlet::app {

// Returns the exit code: 0 when it is, 1 when it is not, 2 when the daemon could not be asked. The reason
// goes to out, on one line; what went wrong with asking to err. Takes at most eight seconds.
int run_probe(const probe_options& o, std::ostream& out, std::ostream& err);

} // namespace credlet::app
