#pragma once
// The service the pods see, put together: the serving half (listeners, identity against the view, ECS and
// IMDS replies) on one event loop, the upstream half (directory of pods and roles, waiting callers) on the
// other. Two messages cross between them: upstream publishes a new view; serving asks for what its view lacks
// and is answered.

#include "metadata/cluster.hpp"
#include "metrics/metrics.hpp"
#include "runtime/http_server.hpp"
#include "runtime/log.hpp"
#include "runtime/random.hpp"
#include "runtime/task_group.hpp"
#include "sts/credential_service.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace credlet::metadata {

enum class identity_mode { any, token, address, both };
enum class session_scope { service_account, pod };

struct role_rule {              // of the role policy file: a namespace glob and the role ARN globs it may use
    std::string namespace_glob; // anchored; '*' is any run of characters, '?' any one
    std::vector<std::string> role_globs;
};

struct service_settings {
    identity_mode identity = identity_mode::any;
    session_scope scope = session_scope::service_account;
    std::string node_name;
    std::vector<std::string> annotation_prefixes{"credlet.io/", "eks.amazonaws.com/"};
    std::string audience = "sts.amazonaws.com"; // default of the annotation
    std::vector<std::string> caller_audiences;  // accepted from callers besides the STS audience
    std::string role_arn_base; // completes a bare role name: "arn:aws:iam::123456789012:role/"
    std::optional<std::vector<role_rule>> role_policy; // none: every role is allowed here, IAM decides
    std::string region, availability_zone;             // empty: the IMDS paths for them are 404
    bool imds_v1 = false;
    bool listens_on_node = true;          // besides the listeners in pods' networks; for explain
    std::vector<std::string> extra_hosts; // Host values accepted besides the listeners' addresses
    std::chrono::milliseconds ecs_hold{5000}, imds_hold{900};
    double pod_requests_per_second = 200, pod_request_burst = 400;
    double bad_tokens_per_second = 20; // per source, before they are answered 429 unverified
    std::size_t max_waiting = 8192, max_waiting_per_pod = 256;
    std::size_t max_remembered_tokens = 8192;
    std::chrono::milliseconds initial_prefetch_spread{10000}; // pods found by the first list
    http_server_limits http;
};

// One step of an explanation, in the order of a request's way.
struct explain_step {
    // "pod", "address", "listener" (only where there are listeners in pods), "service account", "role",
    // "token", "sts", "credentials"
    std::string name;
    bool ok = false;
    bool reached = true; // false: an earlier step failed
    std::string detail;  // what was found
    std::string advice;  // when not ok: what to do about it
};

// A pod that is to have a listener in its network namespace: live, not on the host network, not a static one.
struct listened_pod {
    std::string uid;
    std::string namespace_name, name;
    std::vector<asio::ip::address> addresses; // published so far
    friend bool operator==(const listened_pod&, const listened_pod&) = default;
};

// Where a pod's listener stands, for explain: see metadata/pod_network/pod_listeners.hpp.
struct pod_listener_state {
    bool open = false;
    std::string
        detail; // where it listens, and how its namespace was found; or what it waits for, or what failed
    std::string advice; // when something failed: what to do about it
};

class service {
public:
    virtual ~service() = default;

    // Upstream loop. Feeds.
    virtual object_sink<pod>& pods() = 0;
    virtual object_sink<service_account>& service_accounts() = 0;
    virtual const pod_chooser& chooser() const = 0;
    // Connects the rest, before anything is fed. All outlive the service.
    virtual void connect(cluster& c, presented_tokens* presented, sts::credential_service& credentials) = 0;
    // Whether both watches have listed: until then unknown callers wait, then get 503.
    virtual void set_synced(bool synced) = 0;
    // Tries what a request of that pod would need, up to a real STS call where nothing is cached.
    virtual awaitable<std::vector<explain_step>> explain(std::string namespace_name,
                                                         std::string pod_name) = 0;

    // Calls back with all pods that are to have a listener, now and whenever they change, behind the view
    // that has them. only_with_role: those whose service account has a role.
    virtual void watch_listened_pods(bool only_with_role,
                                     std::function<void(std::vector<listened_pod>)> changed) = 0;
    // What explain says of a pod's listener, asked for on the upstream loop. None: it is not known. To be
    // called only where there are listeners in pods: from then on an explanation has a step for them.
    virtual void
    explain_listeners(std::function<std::optional<pod_listener_state>(const std::string& pod_uid)> state) = 0;

    // Serving loop. A socket that listens in the network namespace of that pod: who comes through it is that
    // pod. key: to close it by.
    virtual result<void> listen_for_pod(std::uint64_t key, std::string pod_uid, descriptor socket) = 0;
    virtual void close_listener(std::uint64_t key) = 0;

    // Serving loop. The addresses are shared with a process that does the same: see
    // runtime/shared_address.hpp.
    virtual result<std::size_t> listen(const asio::ip::tcp::endpoint& where) = 0;
    virtual std::vector<asio::ip::tcp::endpoint> endpoints() const = 0;
    virtual awaitable<std::size_t> drain(std::chrono::milliseconds grace) = 0;
};

std::unique_ptr<service> make_service(asio::io_context& serving_loop, asio::io_context& upstream_loop,
                                      task_group& upstream_tasks, const clock& time, random_source& random,
                                      metrics::serving_metrics& serving_metrics,
                                      metrics::kubernetes_metrics& kubernetes_metrics, logger& log,
                                      service_settings settings);

} // namespace credlet::metadata
