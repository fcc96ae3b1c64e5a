#pragma once
// What goes wrong behind the answers of an HTTPS client, as log lines: without them nobody would learn that
// old addresses or old CA certificates are in use.

#include "runtime/https_client.hpp"
#include "runtime/log.hpp"

namespace credlet {

// server: what the lines call the other side. ca_read: the CA file has been read again (true) or could not be
// (false), for a metric. log and time outlive the client.
https_client_events logged_events(logger& log, const clock& time, std::string server,
                                  std::function<void(bool ok)> ca_read);

} // namespace credlet
