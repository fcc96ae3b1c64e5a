#pragma once
// The name of a listening unix socket in the file system. It appears only once the socket listens, so that
// nobody who sees it is refused; it takes the place of what a process before this one left behind; and it
// goes with its owner, unless another process has taken the place meanwhile.

#include "runtime/error.hpp"

#include <memory>
#include <string>
#include <sys/types.h>

namespace credlet {

// Only the user of this process may connect.
constexpr mode_t owner_only = 0600;

class socket_file {
public:
    // sun_path of unix(7) has 108 bytes with the zero at the end; the name it has before it appears is one
    // byte longer.
    static constexpr std::size_t longest_path = 106;

    // Binds a socket of AF_UNIX, makes it listen and shows it under this path. Fails where the directory is
    // missing or not writable, and where something that is no socket has the name: that is not ours to
    // remove.
    static result<std::unique_ptr<socket_file>> show(int socket, const std::string& path, int backlog,
                                                     mode_t mode = owner_only);
    socket_file(const socket_file&) = delete;
    socket_file& operator=(const socket_file&) = delete;
    ~socket_file();

private:
    socket_file(std::string path, dev_t device, ino_t inode);
    std::string path_;
    dev_t device_;
    ino_t inode_;
};

} // namespace credlet
