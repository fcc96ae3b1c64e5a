#include "daemon/read_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>

namespace credlet::app {

namespace {

std::string reason(int number) { return std::error_code(number, std::generic_category()).message(); }

struct open_file {
    explicit open_file(const std::string& path) : descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
    open_file(const open_file&) = delete;
    open_file& operator=(const open_file&) = delete;
    ~open_file() {
        if (descriptor >= 0)
            ::close(descriptor);
    }
    const int descriptor;
};

} // namespace

result<std::string> read_file(const std::string& path, std::size_t max_bytes) {
    const open_file file(path);
    if (file.descriptor < 0)
        return fail(errno == ENOENT ? errc::not_found : errc::io_failed,
                    "cannot open '" + path + "': " + reason(errno));
    struct stat about{};
    if (::fstat(file.descriptor, &about) != 0 || !S_ISREG(about.st_mode))
        return fail(errc::io_failed, "cannot read '" + path + "': not a regular file");

    std::string all;
    std::array<char, 16384> chunk{};
    for (;;) {
        const ssize_t n = ::read(file.descriptor, chunk.data(), chunk.size());
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(errc::io_failed, "cannot read '" + path + "': " + reason(errno));
        if (n == 0)
            return all;
        all.append(chunk.data(), static_cast<std::size_t>(n));
        if (all.size() > max_bytes)
            return fail(errc::too_large,
                        "'" + path + "' is longer than the " + std::to_string(max_bytes) + " bytes that are taken");
    }
}

} // namespace credlet::app
