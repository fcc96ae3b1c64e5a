#pragma once
// What a process that holds credentials asks of the kernel before it starts.

#include "runtime/error.hpp"

namespace credlet::app {

// No core dumps and no ptrace or /proc reading by others of the same user (PR_SET_DUMPABLE 0, RLIMIT_CORE 0),
// no privileges gained by executing anything (PR_SET_NO_NEW_PRIVS), files for the owner alone, writes to
// closed connections are errors and not signals, a terminal that hangs up (SIGHUP) ends nothing, as many file
// descriptors as the hard limit allows, and no memory arena per thread. Call it before the first thread is
// started. Fails only where secrets would be less protected.
result<void> harden_process();

} // namespace credlet::app
