#pragma once
// Network namespaces that the runtime has pinned: files in its directory that are bind mounts of one
// (network_namespaces(7)). Such a file is made first, empty, and mounted over a moment later; of the one
// inotify(7) tells, of the other /proc/thread-self/mountinfo (proc_pid_mountinfo(5)). Discovery loop only.

#include "metadata/pod_network/directory_events.hpp"
#include "runtime/network_namespace.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace credlet::metadata {

class pinned_namespaces {
public:
    // events outlives this.
    pinned_namespaces(asio::io_context& loop, directory_events& events, std::string dir);
    pinned_namespaces(const pinned_namespaces&) = delete;
    pinned_namespaces& operator=(const pinned_namespaces&) = delete;
    ~pinned_namespaces();

    struct pin {
        std::string path;
        network_namespace net;
    };
    // All there are now; a bounded number. A directory that was not there before is watched from now on.
    [[nodiscard]] std::vector<pin> list();

    // One has come or gone. Called on the loop.
    std::function<void()> changed;

private:
    using steady_time = std::chrono::steady_clock::time_point;
    void watch();
    void on_entry(std::uint32_t what, std::string_view name);
    void await_mounts();
    void on_mounts();
    void stop_awaiting();
    [[nodiscard]] bool is_pin(const std::string& name) const;

    asio::io_context& loop_;
    directory_events& events_;
    std::string dir_;
    int watch_ = -1;
    std::map<std::string, steady_time, std::less<>>
        awaited_;                                          // files that nothing is mounted on yet: until when
    std::optional<asio::posix::stream_descriptor> mounts_; // while something is awaited
    std::shared_ptr<const int> waiting_;                   // while a handler waits for mounts_
};

} // namespace credlet::metadata
