#pragma once
// A process, looked at through its open directory of /proc. What is opened below that is of this very
// process: once it has ended nothing can be opened there any more, also where its number has been given to
// another. Its environment and command line, which may hold secrets, are never read.

#include "runtime/descriptor.hpp"
#include "runtime/error.hpp"
#include "runtime/network_namespace.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>

namespace credlet::metadata {

class process_directory {
public:
    // proc: the open directory /proc. All errors are those of kernel_files.hpp; not_found: it has ended.
    static result<process_directory> open(const descriptor& proc, pid_t number);

    // In clock ticks since boot.
    [[nodiscard]] result<std::uint64_t> started() const;
    // Its /proc/PID/cgroup.
    [[nodiscard]] result<std::string> cgroups() const;
    // denied: to see that takes CAP_SYS_PTRACE.
    [[nodiscard]] result<network_namespace> network() const;
    // The same, without keeping it: for comparing with what is kept.
    [[nodiscard]] result<namespace_id> network_id() const;

private:
    explicit process_directory(descriptor file) : file_(std::move(file)) {}
    descriptor file_;
};

// When the process started, of the content of its /proc/PID/stat (proc_pid_stat(5)): its name, which it
// chooses itself, may have blanks and parentheses.
[[nodiscard]] std::optional<std::uint64_t> start_of_process(std::string_view stat);

} // namespace credlet::metadata
