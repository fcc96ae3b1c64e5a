#pragma once
// The Kubernetes side of credlet behind one door: watches of this node's pods and of annotated service
// accounts, direct questions, token verification and the token sources. Everything runs on the upstream loop.

#include "metadata/cluster.hpp"
#include "metrics/metrics.hpp"
#include "runtime/https_client.hpp"
#include "runtime/log.hpp"
#include "runtime/random.hpp"
#include "runtime/task_group.hpp"
#include "sts/credential_service.hpp"

#include <memory>
#include <string>
#include <vector>

namespace credlet::metadata::kubernetes {

enum class token_source { caller, impersonate, request, projected, automatic };

struct settings {
    origin api;             // --kube-api, or KUBERNETES_SERVICE_HOST and _PORT
    std::string ca_file;    // re-read when it changes
    std::string token_file; // the daemon's own token: re-read when it changes, every minute, and after a 401
    std::string node_name;
    std::vector<std::string> annotation_prefixes;
    token_source source = token_source::automatic;
    std::chrono::seconds requested_token_lifetime{3600};    // TokenRequest expirationSeconds: at least 600
    std::string kubelet_pods_dir = "/var/lib/kubelet/pods"; // `projected`
    std::string issuer;         // --token-issuer; empty: discovered from the API server
    std::size_t list_page = 50; // objects per page: bounds memory while listing
    std::chrono::seconds watch_timeout_min{300},
        watch_timeout_max{600}; // timeoutSeconds, drawn anew for each watch
    std::chrono::milliseconds watch_silence{
        35000}; // no byte for so long: the watch is doubted, see reflector.hpp
    std::chrono::milliseconds request_timeout{5000};
    std::chrono::milliseconds jwks_min_interval{30000}; // between forced fetches
    std::chrono::milliseconds jwks_refresh{3600000};    // regular
    std::chrono::milliseconds jwks_keep_stale{24 * 3600 * 1000};
};

class kubernetes : public cluster, public sts::web_identity_tokens, public presented_tokens {
public:
    // Starts the watches. The sinks get nothing before this.
    virtual void start(object_sink<pod>& pods, object_sink<service_account>& accounts) = 0;
    virtual void stop() = 0;
};

// All references outlive it; stop it and drain `tasks` before it goes. Fails when a file cannot be read or
// the API's address is not usable.
result<std::unique_ptr<kubernetes>>
make_kubernetes(asio::io_context& loop, task_group& tasks, const clock& time, random_source& random,
                std::shared_ptr<name_resolver> names, const pod_chooser& chooser,
                metrics::kubernetes_metrics& metrics, logger& log, settings s);

} // namespace credlet::metadata::kubernetes
