#include "metadata/pod_network/process_namespace.hpp"

#include "metadata/pod_network/kernel_files.hpp"

#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <sys/stat.h>
#include <system_error>

namespace credlet::metadata {

namespace {
constexpr auto network_link = "ns/net";
} // namespace

result<process_directory> process_directory::open(const descriptor& proc, pid_t number) {
    auto file = open_at(proc.get(), std::to_string(number), O_PATH | O_DIRECTORY);
    if (!file)
        return file.error();
    return process_directory(std::move(*file));
}

result<std::uint64_t> process_directory::started() const {
    constexpr std::size_t longest = 4096;
    const auto stat = read_beginning(file_.get(), "stat", longest);
    if (!stat)
        return stat.error();
    const auto ticks = start_of_process(*stat);
    if (!ticks)
        return fail(errc::malformed, "/proc/PID/stat is not what proc_pid_stat(5) says");
    return *ticks;
}

result<std::string> process_directory::cgroups() const {
    // A path has at most 4095 bytes, and each hierarchy one.
    constexpr std::size_t longest = std::size_t{128} * 1024;
    auto text = read_beginning(file_.get(), "cgroup", longest);
    if (text && text->size() == longest) // what is cut off could say something else
        return fail(errc::too_large, "/proc/PID/cgroup is too long");
    return text;
}

result<network_namespace> process_directory::network() const {
    auto file = open_at(file_.get(), network_link, O_RDONLY);
    if (!file)
        return file.error();
    return network_namespace::from(std::move(*file));
}

result<namespace_id> process_directory::network_id() const {
    struct stat about{};
    if (::fstatat(file_.get(), network_link, &about, 0) != 0)
        return fail(kind_of(errno), std::string("cannot look at ") + network_link + ": " +
                                        std::generic_category().message(errno));
    return namespace_id{about.st_dev, about.st_ino};
}

std::optional<std::uint64_t> start_of_process(std::string_view stat) {
    const auto name_end = stat.rfind(')');
    if (name_end == std::string_view::npos)
        return std::nullopt;
    stat.remove_prefix(name_end + 1);
    constexpr int before = 19; // fields 3 to 21
    for (int field = 0; field <= before; ++field) {
        const auto blank = stat.find(' ');
        if (blank == std::string_view::npos)
            return std::nullopt;
        stat.remove_prefix(blank + 1);
    }
    std::uint64_t ticks = 0;
    const auto [end, problem] = std::from_chars(stat.data(), stat.data() + stat.size(), ticks);
    if (problem != std::errc() || end == stat.data() + stat.size() || *end != ' ')
        return std::nullopt;
    return ticks;
}

} // namespace credlet::metadata
