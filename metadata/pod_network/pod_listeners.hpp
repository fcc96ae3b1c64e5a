#pragma once
// A listener in the network namespace of each pod of this node: found, verified, opened, closed, and opened
// anew with a new sandbox. Works on a loop and a thread of its own, the only one that needs CAP_SYS_ADMIN (to
// enter namespaces) and CAP_SYS_PTRACE (to see which one a process is in). What it opens it hands out as
// sockets; they end with this process, and nothing is left in pods.

#include "metadata/pod_network/listener_book.hpp"
#include "metadata/pod_network/namespace_finder.hpp"
#include "runtime/clock.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace credlet::metadata {

struct pod_listener_settings {
    std::vector<asio::ip::tcp::endpoint> where; // loopback addresses, in every pod the same
    std::size_t max_namespaces = 1024;          // open at once: a descriptor each, and one per address
    namespace_finder_settings finder;
};

// What became of one pod's listener.
struct pod_listener_update {
    std::string pod_uid, namespace_name, pod_name;
    std::optional<pod_listener_state> state;              // none: the pod is not here any more
    std::optional<listener_failure> failed;               // it has just begun to fail, or to fail otherwise
    std::optional<std::chrono::nanoseconds> opened_after; // the first sign of its sandbox: it has just opened
    listener_book::counts now;
};

// Called on the discovery loop.
struct pod_listener_events {
    std::function<void(std::uint64_t key, std::string pod_uid, descriptor socket)> opened;
    std::function<void(std::uint64_t key)> closed;
    std::function<void(pod_listener_update)> told;
    // Why pods are found later than they could be, once for each reason; for a log line.
    std::function<void(const std::string& why)> hampered;
    std::function<void()> settled; // once: whoever was here at the beginning has been tried
};

class pod_listeners {
public:
    virtual ~pod_listeners() = default;
    // The pods that are to have listeners, all of them.
    virtual void pods(std::vector<listened_pod> all) = 0;
    // Opens nothing any more. What is open is its new owner's.
    virtual void stop() = 0;
};

// To be called on the thread of the loop; so are the methods. The error says which right or mount is missing.
result<std::unique_ptr<pod_listeners>> make_pod_listeners(asio::io_context& discovery, const clock& time,
                                                          pod_listener_settings settings,
                                                          pod_listener_events events);
// With finder and openers of others, for tests. `addresses`: of a namespace; `listen`: in a namespace.
struct pod_network_access {
    std::function<result<std::vector<asio::ip::address>>(const network_namespace&)> addresses;
    std::function<result<descriptor>(const network_namespace&, const asio::ip::tcp::endpoint&)> listen;
};
std::unique_ptr<pod_listeners> make_pod_listeners(asio::io_context& discovery, const clock& time,
                                                  pod_listener_settings settings, pod_listener_events events,
                                                  std::unique_ptr<namespace_finder> finder,
                                                  pod_network_access access);

} // namespace credlet::metadata
