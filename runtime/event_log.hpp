#pragma once
// What clients and servers report of themselves beside their answers, as log lines: without them nobody would
// learn that old addresses or old CA certificates are in use, or that a handler throws. What may happen at
// every request is told once a minute, with how often it happened.

#include "runtime/http_server.hpp"
#include "runtime/https_client.hpp"
#include "runtime/log.hpp"

namespace credlet {

// server: what the lines call the other side. ca_read: the CA file has been read again (true) or could not be
// (false), for a metric. log and time outlive the client.
https_client_events log_client_events(logger& log, const clock& time, std::string server,
                                      const std::function<void(bool ok)>& ca_read);

// For http_server_events::handler_failed. listener: what the lines call the server. log and time outlive it.
std::function<void(const std::string& what)> log_handler_failures(logger& log, const clock& time,
                                                                  std::string listener);

} // namespace credlet
