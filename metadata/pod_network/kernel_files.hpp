#pragma once
// Small files and directories of the kernel's own file systems (/proc, control groups), which may vanish at
// any moment. Error kinds: not_found: it is not there (any more); denied: this process may not; rejected: it
// has no such content, as cgroup.procs of a threaded group; io_failed: the rest.

#include "runtime/descriptor.hpp"
#include "runtime/error.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace credlet::metadata {

// directory: a descriptor, or AT_FDCWD. flags: those of open(2); O_CLOEXEC is added.
result<descriptor> open_at(int directory, const std::string& path, int flags);

// The file's beginning, at most this many bytes.
result<std::string> read_beginning(int directory, const std::string& path, std::size_t most);

// Directories in a directory, at most this many; no links to such. Without "." and "..".
result<std::vector<std::string>> directories_in(const std::string& path, std::size_t most);
// Whatever is in it.
result<std::vector<std::string>> entries_in(const std::string& path, std::size_t most);

// The kind for an errno.
[[nodiscard]] errc kind_of(int number);

// A name that strangers may have chosen, for an operator's eyes: printable ASCII, and not long.
[[nodiscard]] std::string printable(std::string_view name);

} // namespace credlet::metadata
