#pragma once
// The client of the admin endpoints, for the commands that ask a running daemon.

#include "daemon/admin_address.hpp"

#include <chrono>
#include <string>
#include <string_view>

namespace credlet::app {

constexpr std::size_t max_admin_answer = 1024 * 1024;

struct admin_answer {
    unsigned status = 0;
    std::string body;
};

// GET target, in a loop of its own. Connecting may take three seconds, and the answer so long. The target
// needs no encoding.
result<admin_answer> ask_daemon(const admin_address& where, const std::string& target,
                                std::chrono::milliseconds answer_limit);

// Text that comes from elsewhere (STS, annotations) for a terminal: without control characters.
std::string harmless(std::string_view text);

} // namespace credlet::app
