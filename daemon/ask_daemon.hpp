#pragma once
// The client of the commands that ask a running daemon: one GET, and its answer.

#include "daemon/admin_address.hpp"
#include "runtime/secret.hpp"

#include <chrono>
#include <string>
#include <string_view>

namespace credlet::app {

constexpr std::size_t max_admin_answer = 1024 * 1024;

struct answer {
    unsigned status = 0;
    std::string body;
};

struct question {
    asio::generic::stream_protocol::endpoint where;
    std::string host;              // for the header
    std::string target;            // which needs no encoding
    secret_string authorization{}; // empty: no such header
    std::chrono::milliseconds answer_limit{};
    std::size_t max_body = 0; // bytes
};

// In a loop of its own. To connect and to send may take three seconds each, the answer as long as is said.
result<answer> ask(const question& q);

// The same, of an admin endpoint.
result<answer> ask_daemon(const admin_address& where, const std::string& target,
                          std::chrono::milliseconds answer_limit);

// Text that comes from elsewhere (STS, annotations) for a terminal: without control characters.
std::string harmless(std::string_view text);

} // namespace credlet::app
