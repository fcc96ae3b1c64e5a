#pragma once
// Reads small files whole, and tells when they have changed.

#include "runtime/error.hpp"
#include "runtime/secret.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace credlet {

// errc::not_found, errc::io_failed, or errc::too_large above max_bytes. The message names the file. Only a
// regular file is read: a pipe nobody writes to would hang the loop.
result<std::string> read_file(const std::string& path, std::size_t max_bytes);
// The same for a token.
result<secret_string> read_secret_file(const std::string& path, std::size_t max_bytes);

// Tells one content of a file from the next, also behind a swapped symlink. Take it before reading: a change
// in between is then seen the next time.
struct file_stamp {
    std::uint64_t device, inode;
    std::int64_t size, modified_seconds, modified_nanoseconds;
    friend bool operator==(const file_stamp&, const file_stamp&) = default;
};
// None: there is no such file, or nobody may look at it.
std::optional<file_stamp> stamp_of(const std::string& path);

} // namespace credlet
