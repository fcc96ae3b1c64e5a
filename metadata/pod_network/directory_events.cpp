#include "metadata/pod_network/directory_events.hpp"

#include "metadata/pod_network/kernel_files.hpp"
#include "runtime/descriptor.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <sys/inotify.h>
#include <system_error>
#include <unistd.h>

namespace credlet::metadata {

namespace {
std::string reason(int number) { return std::generic_category().message(number); }
} // namespace

directory_events::directory_events(asio::io_context& loop) : file_(loop) {
    descriptor file(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    if (!file) {
        trouble_ = "no inotify instance: " + reason(errno) + ": see fs.inotify.max_user_instances";
        return;
    }
    boost::system::error_code problem;
    file_.assign(file.get(), problem);
    if (problem) {
        trouble_ = "inotify cannot be awaited: " + problem.message();
        return;
    }
    static_cast<void>(file.release());
    await_more();
}

int directory_events::add(const std::string& path, std::uint32_t what, handler h) {
    if (!file_.is_open())
        return -1;
    const int watch = ::inotify_add_watch(file_.native_handle(), path.c_str(), what);
    if (watch >= 0)
        handlers_[watch] = std::make_shared<handler>(std::move(h));
    else if (errno == ENOSPC)
        trouble_ = "too many inotify watches: raise fs.inotify.max_user_watches";
    else if (errno == ENOMEM || errno == EACCES)
        trouble_ = "cannot watch '" + printable(path) + "': " + reason(errno);
    return watch;
}

void directory_events::remove(int watch) {
    if (handlers_.erase(watch) > 0)
        ::inotify_rm_watch(file_.native_handle(), watch);
}

void directory_events::await_more() {
    file_.async_wait(asio::posix::stream_descriptor::wait_read,
                     [this, alive = std::weak_ptr(alive_)](const boost::system::error_code& problem) {
                         if (problem || alive.expired())
                             return;
                         read_some();
                         if (!alive.expired())
                             await_more();
                     });
}

void directory_events::read_some() {
    // One buffer at a time: others of this loop want to go on as well.
    alignas(inotify_event) std::array<char, std::size_t{64} * 1024> buffer; // NOLINT: read(2) fills it
    const auto n = ::read(file_.native_handle(), buffer.data(), buffer.size());
    const std::weak_ptr alive(alive_);
    for (ssize_t at = 0; at < n && !alive.expired();) {
        inotify_event event{};
        std::memcpy(&event, buffer.data() + at, sizeof event);
        const char* const name = buffer.data() + at + sizeof event;
        at += static_cast<ssize_t>(sizeof event + event.len);
        if ((event.mask & IN_Q_OVERFLOW) != 0) {
            if (lost)
                lost();
            continue;
        }
        const auto known = handlers_.find(event.wd);
        if (known == handlers_.end())
            continue;
        const auto h = known->second; // it may remove its own watch
        if ((event.mask & IN_IGNORED) != 0)
            handlers_.erase(known);
        (*h)(event.mask, std::string_view(name, event.len == 0 ? 0 : ::strnlen(name, event.len)));
    }
}

} // namespace credlet::metadata
