#include "daemon/read_file.hpp"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace credlet::app {

namespace {

std::string reason(int number) { return std::error_code(number, std::generic_category()).message(); }

struct open_file {
    explicit open_file(const std::string& path)
        : descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
    open_file(const open_file&) = delete;
    open_file& operator=(const open_file&) = delete;
    ~open_file() {
        if (descriptor >= 0)
            ::close(descriptor);
    }
    const int descriptor;
};

// Text: std::string or secret_string.
template <class Text>
result<Text> read_into(Text all, const std::string& path, std::size_t max_bytes) {
    const open_file file(path);
    if (file.descriptor < 0)
        return fail(errno == ENOENT ? errc::not_found : errc::io_failed,
                    "cannot open '" + path + "': " + reason(errno));
    struct stat about{};
    if (::fstat(file.descriptor, &about) != 0 || !S_ISREG(about.st_mode))
        return fail(errc::io_failed, "cannot read '" + path + "': not a regular file");

    std::array<char, 16384> chunk{};
    for (;;) {
        const ssize_t n = ::read(file.descriptor, chunk.data(), chunk.size());
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(errc::io_failed, "cannot read '" + path + "': " + reason(errno));
        if (n == 0)
            break;
        all.append(std::string_view(chunk.data(), static_cast<std::size_t>(n)));
        if (all.size() > max_bytes)
            return fail(errc::too_large, "'" + path + "' is longer than the " + std::to_string(max_bytes) +
                                             " bytes that are taken");
    }
    OPENSSL_cleanse(chunk.data(), chunk.size());
    return all;
}

} // namespace

result<std::string> read_file(const std::string& path, std::size_t max_bytes) {
    return read_into(std::string(), path, max_bytes);
}

result<secret_string> read_secret_file(const std::string& path, std::size_t max_bytes) {
    return read_into(secret_string(), path, max_bytes);
}

} // namespace credlet::app
