#include "metadata/pod_network/listener_book.hpp"

#include <algorithm>

namespace credlet::metadata {

namespace {

using namespace std::chrono_literals;

// From a process in a container's control group to its own network namespace it is some milliseconds.
constexpr auto first_look = 1ms, rarest_look = 4000ms;
// Where nothing of a pod is there and no event tells of it.
constexpr auto first_scan = 50ms, rarest_scan = 4000ms;
constexpr auto first_retry = 1000ms, rarest_retry = 30000ms;
// With a new sandbox the pod has a new address before Kubernetes says so.
constexpr auto pins_asked_for_again = 60s;
constexpr auto patience_with_addresses = 10s;
constexpr auto patience_with_beginning = 5s;

using addresses = std::vector<asio::ip::address>;

bool has(const addresses& all, const asio::ip::address& one) {
    return std::find(all.begin(), all.end(), one) != all.end();
}
bool has_all(const addresses& all, const addresses& wanted) {
    return std::all_of(wanted.begin(), wanted.end(), [&](const auto& a) { return has(all, a); });
}
bool has_any(const addresses& all, const addresses& wanted) {
    return std::any_of(wanted.begin(), wanted.end(), [&](const auto& a) { return has(all, a); });
}

std::string joined(const addresses& all) {
    std::string text;
    for (const auto& a : all)
        text += (text.empty() ? "" : ", ") + a.to_string();
    return text.empty() ? "no address" : text;
}

listener_failure failure_of(const error& e) {
    switch (e.kind) {
    case errc::in_use:
        return listener_failure::port_taken;
    case errc::denied:
        return listener_failure::denied;
    default:
        return listener_failure::io;
    }
}

std::string advice_for(listener_failure f) {
    switch (f) {
    case listener_failure::port_taken:
        return "A process of the pod listens there itself: change its port, or that of --pod-listen.";
    case listener_failure::wrong_addresses:
        return "Does the pod run in a sandbox with a network of its own (gVisor, Kata)? Then it needs a "
               "listener on "
               "the node (--listen).";
    case listener_failure::shared_namespace:
        return "Two pods seem to run in one network namespace; delete the one whose processes went into the "
               "other's.";
    case listener_failure::limit:
        return "Raise --max-pod-namespaces.";
    case listener_failure::denied:
        return "credlet needs hostPID, CAP_SYS_PTRACE and CAP_SYS_ADMIN to listen in pods.";
    case listener_failure::io:
        return "See the log; it is tried again.";
    }
    return {};
}

} // namespace

std::string_view to_string(listener_failure f) {
    switch (f) {
    case listener_failure::port_taken:
        return "port_taken";
    case listener_failure::wrong_addresses:
        return "wrong_addresses";
    case listener_failure::shared_namespace:
        return "shared_namespace";
    case listener_failure::limit:
        return "limit";
    case listener_failure::denied:
        return "denied";
    case listener_failure::io:
        break;
    }
    return "io";
}

// ---- who is to have listeners, and when to look for them

listener_book::roll listener_book::pods(std::vector<listened_pod> all, boot_time now) {
    roll r;
    const bool beginning = !begun_;
    if (beginning)
        begun_ = now;
    std::set<std::string, std::less<>> here;
    for (auto& pod : all) {
        here.insert(pod.uid);
        const auto [at, is_new] = entries_.try_emplace(pod.uid);
        entry& e = at->second;
        if (is_new) {
            e.of_the_beginning = beginning;
            r.come.push_back(pod.uid);
        }
        if (is_new || e.pod.addresses != pod.addresses) {
            look_at_once(e, now);
            e.pins_from = now;
        }
        e.pod = std::move(pod);
    }
    for (auto& [uid, e] : entries_)
        if (!here.contains(uid)) {
            release(e);
            r.gone.push_back(uid);
        }
    for (const auto& uid : r.gone)
        entries_.erase(uid);
    return r;
}

void listener_book::changed(const std::string& uid, boot_time now) {
    if (const auto found = entries_.find(uid); found != entries_.end())
        look_at_once(found->second, now);
}

void listener_book::pins_changed(boot_time now) {
    for (auto& [uid, e] : entries_) {
        e.pins_from = now;
        if (may_be_pinned(uid, now)) {
            e.due = now;
            e.scheduled = true;
        }
    }
}

std::vector<std::string> listener_book::due(boot_time now) const {
    std::vector<std::pair<boot_time, std::string_view>> those;
    for (const auto& [uid, e] : entries_)
        if (e.scheduled && e.due <= now)
            those.emplace_back(e.due, uid);
    std::ranges::sort(those);
    std::vector<std::string> uids;
    uids.reserve(those.size());
    for (const auto& [due, uid] : those)
        uids.emplace_back(uid);
    return uids;
}

std::optional<boot_time> listener_book::next() const {
    std::optional<boot_time> first;
    for (const auto& [uid, e] : entries_)
        if (e.scheduled && (!first || e.due < *first))
            first = e.due;
    return first;
}

// The intervals begin anew.
void listener_book::look_at_once(entry& e, boot_time now) {
    e.due = now;
    e.pause = 0ms;
    e.scheduled = true;
}

void listener_book::look_again(entry& e, std::chrono::nanoseconds first, std::chrono::nanoseconds most,
                               boot_time now) {
    e.pause = std::clamp(e.pause * 2, first, most);
    e.due = now + e.pause;
    e.scheduled = true;
}

// ---- whose a namespace is

const pinned_facts* listener_book::pin_of(const std::string& uid,
                                          const std::vector<pinned_facts>& pins) const {
    const auto found = entries_.find(uid);
    if (found == entries_.end() || found->second.pod.addresses.empty())
        return nullptr;
    const auto& wanted = found->second.pod.addresses;
    for (const auto& [other, e] : entries_)
        if (other != uid && has_any(e.pod.addresses, wanted))
            return nullptr;
    const pinned_facts* only = nullptr;
    for (const auto& pin : pins) {
        if (!has_any(pin.addresses, wanted))
            continue;
        const auto tenant = tenant_of(pin.net);
        const bool others = std::any_of(pin.tenants.begin(), pin.tenants.end(),
                                        [&](const std::string& t) { return t != uid; });
        if (only != nullptr || !has_all(pin.addresses, wanted) || others ||
            (!tenant.empty() && tenant != uid))
            return nullptr;
        only = &pin;
    }
    return only;
}

bool listener_book::may_be_pinned(const std::string& uid, boot_time now) const {
    const auto found = entries_.find(uid);
    return found != entries_.end() && !found->second.net && !found->second.pod.addresses.empty() &&
           found->second.pins_from <= now;
}

void listener_book::not_pinned(const std::string& uid, boot_time now) {
    if (const auto found = entries_.find(uid); found != entries_.end())
        found->second.pins_from = now + pins_asked_for_again;
}

std::string listener_book::tenant_of(const namespace_id& net) const {
    const auto found = tenants_.find(net);
    return found == tenants_.end() ? std::string() : found->second;
}

listener_book::verdict listener_book::decide(const std::string& uid, const sighting& s, boot_time now) {
    const auto at = entries_.find(uid);
    if (at == entries_.end())
        return verdict::wait;
    entry& e = at->second;
    const bool found = s.by != sighting::proof::nothing;
    e.tried |= found || !s.imminent;
    if (!e.first_sign && (found || s.imminent))
        e.first_sign = now;

    if (!found) {
        if (e.net && s.group_gone && e.by == sighting::proof::process) {
            release(e); // the kubelet removes the group when all of the pod has ended
            e.first_sign.reset();
            e.problem = s.missing;
            look_again(e, first_scan, rarest_scan, now);
            return verdict::vacate;
        }
        // Between two containers, or two sandboxes: the namespace is the pod's until another one is seen.
        if (e.net && !s.imminent) {
            e.scheduled = !complete(e);
            return e.scheduled ? verdict::open : verdict::wait;
        }
        if (!e.net) {
            e.problem = s.missing;
            e.failure.reset();
        }
        s.imminent ? look_again(e, first_look, rarest_look, now)
                   : look_again(e, first_scan, rarest_scan, now);
        return verdict::wait;
    }

    if (const auto tenant = tenant_of(s.net); !tenant.empty() && tenant != uid) {
        const auto& other = entries_.find(tenant)->second.pod;
        if (!e.net)
            fail_with(e, listener_failure::shared_namespace,
                      "its processes run in the network namespace (" + s.how + ") of pod " +
                          other.namespace_name + "/" + other.name,
                      now);
        else if (complete(e))
            e.scheduled = false;
        else
            look_again(e, first_retry, rarest_retry, now);
        return verdict::wait;
    }
    if (e.net && *e.net != s.net)
        e.first_sign = now; // of a new sandbox
    if (!has_all(s.addresses, e.pod.addresses)) {
        const bool was_open = e.net.has_value();
        release(e);
        if (!e.mismatched_since)
            e.mismatched_since = now;
        std::string problem = "its network namespace (" + s.how + ") has " + joined(s.addresses) + ", not " +
                              joined(e.pod.addresses) + " as Kubernetes says";
        if (now - *e.mismatched_since >= patience_with_addresses) {
            fail_with(e, listener_failure::wrong_addresses, std::move(problem), now);
        } else {
            e.problem = std::move(problem);
            look_again(e, first_scan, rarest_scan, now);
        }
        return was_open ? verdict::vacate : verdict::wait;
    }
    e.mismatched_since.reset();
    if (e.net != s.net) {
        if (!e.net && tenants_.size() >= max_namespaces_) {
            fail_with(e, listener_failure::limit,
                      "the network namespaces of " + std::to_string(tenants_.size()) +
                          " pods are open already",
                      now);
            return verdict::wait;
        }
        release(e);
        e.net = s.net;
        tenants_.emplace(s.net, uid);
    }
    e.by = s.by;
    e.how = s.how;
    e.scheduled = false; // opened() says what becomes of what is missing
    return complete(e) ? verdict::wait : verdict::open;
}

void listener_book::release(entry& e) {
    if (e.net)
        tenants_.erase(*e.net);
    e.net.reset();
    e.by = sighting::proof::nothing;
    e.open.clear();
    e.absent.clear();
    e.failure.reset();
    e.problem.clear();
}

// ---- what became of it

std::vector<std::size_t> listener_book::missing_endpoints(const std::string& uid) const {
    std::vector<std::size_t> missing;
    const auto found = entries_.find(uid);
    if (found == entries_.end() || !found->second.net)
        return missing;
    for (std::size_t i = 0; i < endpoints_; ++i)
        if (!found->second.open.contains(i) && !found->second.absent.contains(i))
            missing.push_back(i);
    return missing;
}

void listener_book::opened(const std::string& uid, const std::vector<outcome>& outcomes, boot_time now) {
    const auto at = entries_.find(uid);
    if (at == entries_.end())
        return;
    entry& e = at->second;
    const error* worst = nullptr;
    for (const auto& o : outcomes) {
        if (!o.problem)
            e.open.insert(o.endpoint);
        else if (o.problem->kind == errc::unavailable && endpoints_ > 1)
            e.absent.insert(o.endpoint); // a node without IPv6 is none with a fault
        else if (worst == nullptr)
            worst = &*o.problem;
    }
    if (worst != nullptr) {
        fail_with(e, failure_of(*worst), worst->message, now);
    } else if (e.open.empty() && e.absent.size() == endpoints_) {
        e.absent.clear();
        fail_with(e, listener_failure::io, "it has none of the addresses of --pod-listen", now);
    } else {
        e.failure.reset();
        e.problem.clear();
        e.scheduled = false;
    }
}

void listener_book::failed(const std::string& uid, const error& why, boot_time now) {
    const auto at = entries_.find(uid);
    if (at == entries_.end())
        return;
    at->second.tried = true;
    if (at->second.net)
        look_again(at->second, first_retry, rarest_retry, now);
    else
        fail_with(at->second, failure_of(why), why.message, now);
}

void listener_book::fail_with(entry& e, listener_failure kind, std::string problem, boot_time now) {
    e.failure = kind;
    e.problem = std::move(problem);
    look_again(e, first_retry, rarest_retry, now);
}

bool listener_book::at_rest(const std::string& uid) const {
    const auto found = entries_.find(uid);
    return found != entries_.end() && found->second.net && !found->second.scheduled;
}

listener_book::standing listener_book::state_of(const std::string& uid,
                                                const std::vector<std::string>& endpoints) const {
    standing s;
    const auto found = entries_.find(uid);
    if (found == entries_.end())
        return s;
    const entry& e = found->second;
    s.open = !e.open.empty();
    s.failure = e.failure;
    s.first_sign = e.first_sign;
    for (const auto i : e.open)
        s.detail += (s.detail.empty() ? "" : ", ") + endpoints[i];
    if (s.open)
        s.detail += " in its network namespace (" + e.how + ")";
    if (!e.problem.empty())
        s.detail += (s.detail.empty() ? "" : "; ") + e.problem;
    if (e.failure)
        s.advice = advice_for(*e.failure);
    return s;
}

listener_book::counts listener_book::count() const {
    counts n;
    for (const auto& [uid, e] : entries_) {
        auto& state = !e.open.empty() ? n.listening : e.failure ? n.failed : n.waiting;
        ++state;
    }
    return n;
}

bool listener_book::settled(boot_time now) const {
    if (!begun_)
        return false;
    if (now - *begun_ >= patience_with_beginning)
        return true;
    return std::none_of(entries_.begin(), entries_.end(),
                        [](const auto& one) { return one.second.of_the_beginning && !one.second.tried; });
}

} // namespace credlet::metadata
