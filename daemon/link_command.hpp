#pragma once
// `credlet link`: puts the addresses that pods ask on a link of this node, before the daemon starts. A dummy
// link of its own, so that nobody else's configuration is touched and the operator sees whose addresses they
// are; where the kernel has none, the loopback serves as well. What is as wanted stays; nothing is ever
// removed.

#include "daemon/links.hpp"
#include "daemon/options.hpp"

#include <iosfwd>

namespace credlet::app {

// Returns the exit code: 0 when every address is there, or all but those of IPv6 where the node has IPv6
// switched off; 1 otherwise. A line for each thing done or found goes to out; what is wrong, and what to do
// about it, to err.
int run_link(const link_options& o, std::ostream& out, std::ostream& err);
int put_addresses(links& node, const link_options& o, std::ostream& out, std::ostream& err);

} // namespace credlet::app
