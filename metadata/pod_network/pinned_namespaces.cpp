#include "metadata/pod_network/pinned_namespaces.hpp"

#include "metadata/pod_network/kernel_files.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/inotify.h>
#include <sys/statfs.h>

namespace credlet::metadata {

namespace {

constexpr std::size_t most_pins = 4096, most_awaited = 1024;
// A runtime mounts what it has made a file for at once; one that nothing is mounted on by then is forgotten.
constexpr std::chrono::seconds patience{10};

bool is_namespace_file(const descriptor& file) {
    struct statfs about{};
    return ::fstatfs(file.get(), &about) == 0 && about.f_type == NSFS_MAGIC;
}

} // namespace

pinned_namespaces::pinned_namespaces(asio::io_context& loop, directory_events& events, std::string dir)
    : loop_(loop),
      events_(events),
      dir_(std::move(dir)) {
    watch();
}

pinned_namespaces::~pinned_namespaces() {
    if (watch_ >= 0)
        events_.remove(watch_);
}

std::vector<pinned_namespaces::pin> pinned_namespaces::list() {
    watch();
    std::vector<pin> pins;
    const auto names = entries_in(dir_, most_pins);
    if (!names)
        return pins;
    for (const auto& name : *names) {
        auto path = dir_ + "/" + name;
        // What is no namespace may be anything, and is not opened for reading.
        const auto seen = open_at(AT_FDCWD, path, O_PATH | O_NOFOLLOW);
        if (!seen || !is_namespace_file(*seen))
            continue;
        auto file = open_at(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
        if (!file)
            continue;
        if (auto net = network_namespace::from(std::move(*file)))
            pins.push_back({std::move(path), std::move(*net)});
    }
    return pins;
}

void pinned_namespaces::watch() {
    if (watch_ < 0)
        watch_ = events_.add(dir_, IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | IN_ONLYDIR,
                             [this](std::uint32_t what, std::string_view name) { on_entry(what, name); });
}

void pinned_namespaces::on_entry(std::uint32_t what, std::string_view name) {
    if ((what & IN_IGNORED) != 0) { // the directory itself has gone
        watch_ = -1;
        awaited_.clear();
        stop_awaiting();
        return;
    }
    if ((what & (IN_DELETE | IN_MOVED_FROM)) != 0) {
        if (const auto at = awaited_.find(name); at != awaited_.end())
            awaited_.erase(at); // it never was a pin
        else
            changed();
        return;
    }
    if (awaited_.size() < most_awaited)
        awaited_.insert_or_assign(std::string(name), std::chrono::steady_clock::now() + patience);
    // Awaited first and looked at then: a mount in between is not missed.
    await_mounts();
    on_mounts();
}

void pinned_namespaces::await_mounts() {
    if (waiting_)
        return;
    if (!mounts_) {
        auto file = open_at(AT_FDCWD, "/proc/thread-self/mountinfo", O_RDONLY | O_NONBLOCK);
        if (!file)
            return;
        mounts_.emplace(loop_);
        boost::system::error_code problem;
        mounts_->assign(file->get(), problem);
        if (problem) {
            mounts_.reset();
            return;
        }
        static_cast<void>(file->release());
    }
    waiting_ = std::make_shared<int>();
    mounts_->async_wait(asio::posix::stream_descriptor::wait_error,
                        [this, waiting = std::weak_ptr(waiting_)](const boost::system::error_code& problem) {
                            if (problem || waiting.expired())
                                return;
                            waiting_.reset();
                            await_mounts();
                            on_mounts();
                        });
}

void pinned_namespaces::stop_awaiting() {
    waiting_.reset();
    mounts_.reset();
}

void pinned_namespaces::on_mounts() {
    bool pinned = false;
    const auto now = std::chrono::steady_clock::now();
    for (auto at = awaited_.begin(); at != awaited_.end();) {
        const bool here = is_pin(at->first);
        pinned = pinned || here;
        at = here || at->second < now ? awaited_.erase(at) : std::next(at);
    }
    if (awaited_.empty())
        stop_awaiting(); // this machine may mount much that is of no interest here
    if (pinned)
        changed();
}

bool pinned_namespaces::is_pin(const std::string& name) const {
    const auto file = open_at(AT_FDCWD, dir_ + "/" + name, O_PATH | O_NOFOLLOW);
    return file && is_namespace_file(*file);
}

} // namespace credlet::metadata
