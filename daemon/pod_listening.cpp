#include "daemon/pod_listening.hpp"

#include <boost/asio/post.hpp>

namespace credlet::app {

metadata::pod_listener_settings pod_listener_settings_of(const options& o) {
    metadata::pod_listener_settings s;
    s.where = o.pod_listen;
    s.max_namespaces = o.max_pod_namespaces;
    s.finder.proc_dir = o.proc_dir;
    s.finder.cgroup_dir = o.cgroup_dir;
    s.finder.pinned_dir = o.netns_dir;
    return s;
}

result<void> pod_listening::start(const options& o) {
    const auto started = discovery_.start([&](asio::io_context& loop) {
        return metadata::make_pod_listeners(loop, time_, pod_listener_settings_of(o), events());
    });
    if (!started)
        return in_context("listening in pods (--pod-listen)", started.error());
    service_.explain_listeners([this](const std::string& uid) { return board_.state_of(uid); });
    return {};
}

void pod_listening::follow_pods(pod_choice whose) {
    if (std::exchange(following_, true))
        return;
    service_.watch_listened_pods(
        whose == pod_choice::with_role,
        [this](std::vector<metadata::listened_pod> all) { discovery_.pods(std::move(all)); });
}

// All of them are called on the discovery loop.
metadata::pod_listener_events pod_listening::events() {
    metadata::pod_listener_events e;
    e.opened = [this](std::uint64_t key, std::string pod_uid, descriptor socket) {
        asio::post(serving_, [this, key, uid = std::move(pod_uid), socket = std::move(socket)]() mutable {
            const auto serves = service_.listen_for_pod(key, std::move(uid), std::move(socket));
            if (!serves && serves.error().kind != errc::cancelled) // which it is at the end
                log_.error("a listener that was opened in a pod is not served: this is a bug",
                           {{"error", serves.error().message}});
        });
    };
    e.closed = [this](std::uint64_t key) {
        asio::post(serving_, [this, key] { service_.close_listener(key); });
    };
    e.told = [this](metadata::pod_listener_update u) {
        asio::post(upstream_, [this, u = std::move(u)] { board_.told(u); });
    };
    e.hampered = [this](const std::string& why) {
        asio::post(upstream_,
                   [this, why] { log_.warn("pods are found later than they could be", {{"reason", why}}); });
    };
    e.settled = [this] { asio::post(upstream_, [this] { settled_ = true; }); };
    return e;
}

} // namespace credlet::app
