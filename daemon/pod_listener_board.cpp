#include "daemon/pod_listener_board.hpp"

namespace credlet::app {

void pod_listener_board::told(const metadata::pod_listener_update& u) {
    metrics_.pods("listening", u.now.listening);
    metrics_.pods("waiting", u.now.waiting);
    metrics_.pods("failed", u.now.failed);
    if (u.failed)
        metrics_.failed(to_string(*u.failed));
    if (u.opened_after)
        metrics_.opened(*u.opened_after);

    const auto before = states_.find(u.pod_uid);
    log_change(u, before != states_.end() && before->second.open);
    if (u.state)
        states_.insert_or_assign(u.pod_uid, *u.state);
    else
        states_.erase(u.pod_uid);
}

// Pods come and go: that is for who looks closely. What fails is for all.
void pod_listener_board::log_change(const metadata::pod_listener_update& u, bool was_open) {
    const bool open = u.state && u.state->open;
    if (open && !was_open)
        log_.debug("pod listener open",
                   {{"namespace", u.namespace_name}, {"pod", u.pod_name}, {"detail", u.state->detail}});
    if (was_open && !open)
        log_.debug("pod listener closed", {{"namespace", u.namespace_name}, {"pod", u.pod_name}});
    if (!u.failed)
        return;
    const auto admitted = sampler_.admit(u.pod_uid, time_.now().time_since_epoch());
    if (admitted.write)
        log_.warn("cannot listen in pod", {{"namespace", u.namespace_name},
                                           {"pod", u.pod_name},
                                           {"reason", to_string(*u.failed)},
                                           {"error", u.state ? std::string_view(u.state->detail) : ""},
                                           {"suppressed", admitted.suppressed}});
}

std::optional<metadata::pod_listener_state> pod_listener_board::state_of(const std::string& pod_uid) const {
    const auto found = states_.find(pod_uid);
    return found == states_.end() ? std::nullopt : std::optional(found->second);
}

} // namespace credlet::app
