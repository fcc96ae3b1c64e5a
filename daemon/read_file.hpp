#pragma once
// Reads a small file whole.

#include "runtime/error.hpp"
#include "runtime/secret.hpp"

#include <cstddef>
#include <string>

namespace credlet::app {

// errc::not_found, errc::io_failed, or errc::too_large above max_bytes. The message names the file. Only a
// regular file is read: a pipe nobody writes to would hang the start.
result<std::string> read_file(const std::string& path, std::size_t max_bytes);
// The same for a token.
result<secret_string> read_secret_file(const std::string& path, std::size_t max_bytes);

} // namespace credlet::app
