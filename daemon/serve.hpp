#pragma once
// The daemon, put together: two event loops on two threads, with --pod-listen a third, everything that lives
// on them, signals, and the order in which it starts and stops. Nothing here knows a protocol.

#include "daemon/options.hpp"

namespace credlet::app {

// Runs until SIGTERM or SIGINT and returns the exit code: 0 after a clean drain, 1 when it could not start. A
// second signal ends it at once.
int serve(const options& o);

} // namespace credlet::app
