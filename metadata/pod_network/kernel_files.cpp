#include "metadata/pod_network/kernel_files.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace credlet::metadata {

namespace {

error failed(const std::string& doing, const std::string& path, int number) {
    return fail(kind_of(number),
                doing + " '" + printable(path) + "': " + std::generic_category().message(number));
}

struct closing {
    void operator()(DIR* d) const { ::closedir(d); }
};

enum class wanted { directories, everything };

result<std::vector<std::string>> list(const std::string& path, std::size_t most, wanted which) {
    auto file = open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
    if (!file)
        return file.error();
    const std::unique_ptr<DIR, closing> stream(::fdopendir(file->get()));
    if (!stream)
        return failed("cannot list", path, errno);
    const int number = file->release(); // the stream's now
    std::vector<std::string> names;
    while (names.size() < most) {
        errno = 0;
        const dirent* entry = ::readdir(stream.get()); // NOLINT(concurrency-mt-unsafe): its own stream
        if (entry == nullptr) {
            if (errno != 0)
                return failed("cannot list", path, errno);
            break;
        }
        const std::string_view name = entry->d_name;
        if (name == "." || name == "..")
            continue;
        if (which == wanted::directories && entry->d_type != DT_DIR) {
            struct stat about{};
            if (entry->d_type != DT_UNKNOWN ||
                ::fstatat(number, entry->d_name, &about, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(about.st_mode))
                continue;
        }
        names.emplace_back(name);
    }
    return names;
}

} // namespace

errc kind_of(int number) {
    switch (number) {
    case ENOENT:
    case ENOTDIR:
    case ESRCH:  // a process that has ended
    case ENODEV: // a group that has been removed
        return errc::not_found;
    case EACCES:
    case EPERM:
        return errc::denied;
    case EOPNOTSUPP:
        return errc::rejected;
    default:
        return errc::io_failed;
    }
}

result<descriptor> open_at(int directory, const std::string& path, int flags) {
    descriptor file(::openat(directory, path.c_str(), flags | O_CLOEXEC));
    if (!file)
        return failed("cannot open", path, errno);
    return file;
}

result<std::string> read_beginning(int directory, const std::string& path, std::size_t most) {
    const auto file = open_at(directory, path, O_RDONLY | O_NONBLOCK);
    if (!file)
        return file.error();
    std::string text;
    while (text.size() < most) {
        std::array<char, 4096> piece; // NOLINT(cppcoreguidelines-pro-type-member-init): read(2) fills it
        const auto n = ::read(file->get(), piece.data(), std::min(piece.size(), most - text.size()));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return failed("cannot read", path, errno);
        if (n == 0)
            break;
        text.append(piece.data(), static_cast<std::size_t>(n));
    }
    return text;
}

result<std::vector<std::string>> directories_in(const std::string& path, std::size_t most) {
    return list(path, most, wanted::directories);
}

result<std::vector<std::string>> entries_in(const std::string& path, std::size_t most) {
    return list(path, most, wanted::everything);
}

std::string printable(std::string_view name) {
    constexpr std::size_t longest = 300;
    std::string text(name.substr(0, longest));
    std::ranges::replace_if(text, [](char c) { return c < ' ' || c > '~'; }, '?');
    if (name.size() > longest)
        text += "...";
    return text;
}

} // namespace credlet::metadata
