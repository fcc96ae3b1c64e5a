#include "runtime/file.hpp"

#include "runtime/descriptor.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace credlet {

namespace {

constexpr std::size_t read_size = std::size_t{16} * 1024;

std::string reason(int number) { return std::generic_category().message(number); }

// Text: std::string or secret_string. Read into its own memory, so that a secret has no other copy.
template <class Text>
result<Text> read_whole(const std::string& path, std::size_t max_bytes) {
    const descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file)
        return fail(errno == ENOENT ? errc::not_found : errc::io_failed,
                    "cannot open '" + path + "': " + reason(errno));
    struct stat about{};
    if (::fstat(file.get(), &about) != 0 || !S_ISREG(about.st_mode))
        return fail(errc::io_failed, "cannot read '" + path + "': not a regular file");

    Text text;
    std::size_t size = 0;
    for (;;) {
        text.resize(std::min(size + read_size, max_bytes + 1));
        const ssize_t n = ::read(file.get(), text.data() + size, text.size() - size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(errc::io_failed, "cannot read '" + path + "': " + reason(errno));
        if (n == 0)
            break;
        size += static_cast<std::size_t>(n);
        if (size > max_bytes)
            return fail(errc::too_large, "'" + path + "' is longer than the " + std::to_string(max_bytes) +
                                             " bytes that are taken");
    }
    text.resize(size);
    return text;
}

} // namespace

result<std::string> read_file(const std::string& path, std::size_t max_bytes) {
    return read_whole<std::string>(path, max_bytes);
}

result<secret_string> read_secret_file(const std::string& path, std::size_t max_bytes) {
    return read_whole<secret_string>(path, max_bytes);
}

std::optional<file_stamp> stamp_of(const std::string& path) {
    struct stat about{};
    if (::stat(path.c_str(), &about) != 0)
        return std::nullopt;
    return file_stamp{about.st_dev, about.st_ino, about.st_size, about.st_mtim.tv_sec, about.st_mtim.tv_nsec};
}

} // namespace credlet
