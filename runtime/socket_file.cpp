#include "runtime/socket_file.hpp"

#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace credlet {

namespace {

error failed(const std::string& path, const std::string& what, int number) {
    return fail(errc::io_failed, "cannot listen on unix:" + path + ": " + what + ": " +
                                     std::system_category().message(number));
}

} // namespace

result<std::unique_ptr<socket_file>> socket_file::show(int socket, const std::string& path, int backlog,
                                                       mode_t mode) {
    if (path.empty() || path.size() > longest_path)
        return fail(errc::malformed,
                    "the path of a unix socket has 1 to " + std::to_string(longest_path) + " bytes: " + path);
    struct stat there{};
    if (::lstat(path.c_str(), &there) == 0 && !S_ISSOCK(there.st_mode))
        return fail(errc::io_failed, "cannot listen on unix:" + path + ": there is a file that is no socket");

    const std::string hidden = path + "~";
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, hidden.c_str(), hidden.size() + 1);
    ::unlink(hidden.c_str()); // of a process that died in the middle of this
    if (::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        return failed(path, "bind", errno);
    // Until it listens, who finds it is refused, whatever the mode that the umask has left it.
    struct stat ours{};
    if (::chmod(hidden.c_str(), mode) != 0 || ::listen(socket, backlog) != 0 ||
        ::lstat(hidden.c_str(), &ours) != 0 || ::rename(hidden.c_str(), path.c_str()) != 0) {
        const int number = errno;
        ::unlink(hidden.c_str());
        return failed(path, "listen", number);
    }
    return std::unique_ptr<socket_file>(new socket_file(path, ours.st_dev, ours.st_ino));
}

socket_file::socket_file(std::string path, dev_t device, ino_t inode)
    : path_(std::move(path)),
      device_(device),
      inode_(inode) {}

socket_file::~socket_file() {
    struct stat there{};
    if (::lstat(path_.c_str(), &there) == 0 && there.st_dev == device_ && there.st_ino == inode_)
        ::unlink(path_.c_str());
}

} // namespace credlet
