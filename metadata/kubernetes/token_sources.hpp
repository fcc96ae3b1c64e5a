#pragma once
// Where web identity tokens come from: callers' own, TokenRequest as this node or as the daemon, the
// kubelet's files. Upstream loop only; all references outlive it.
//
// Requested tokens are kept per service account (and pod, where sessions are per pod) and audience, while
// both a fifth of their life and two minutes remain and their pod is still alive, so that a failing STS does
// not turn into a TokenRequest per retry.
//
// `automatic` takes the first of caller, impersonate and request that delivers. What Kubernetes refused (403)
// is not tried again for ten minutes while another way is open; when none is, it is, so that a permission
// that was granted meanwhile helps at once.
//
// What each needs. The daemon's own account must get, list and watch service accounts whatever the source (a
// node may only get those of its pods), and pods unless the source is `impersonate`. Besides that
// - caller: nothing.
// - impersonate: impersonate:associated-node on nodes (authentication.k8s.io),
//   impersonate-on:associated-node:create on serviceaccounts/token and, unless it is one of several
//   (`automatic`), impersonate-on:associated-node:get, :list and :watch on pods.
// - request: create on serviceaccounts/token, which the chart's admission policy confines to this node.
// - projected: the kubelet's pods directory, see projected_tokens.hpp.

#include "metadata/kubernetes/api_client.hpp"
#include "metadata/kubernetes/kubernetes.hpp"
#include "metadata/kubernetes/presented_store.hpp"
#include "metrics/metrics.hpp"

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

namespace credlet::metadata::kubernetes {

std::string_view to_string(token_source source);

class token_sources {
public:
    struct options {
        token_source source = token_source::automatic;
        std::string node_name;
        std::chrono::seconds lifetime{3600};
        std::string kubelet_pods_dir;
        std::chrono::milliseconds request_timeout{5000};
        // Of tokens in the kubelet's files.
        std::function<bool(std::string_view issuer)> issuer_may_be;
    };
    static constexpr std::chrono::minutes refused_for{10};
    static constexpr std::size_t max_refusals = 1024;
    static constexpr std::size_t max_kept = 4096;
    // Pods of one service account that are tried in turn where Kubernetes refuses because of the pod.
    static constexpr std::size_t max_pods_tried = 3;

    token_sources(api_client& api, const pod_chooser& chooser, const presented_store& presented,
                  const clock& time, metrics::kubernetes_metrics& metrics, logger& log, options o);

    // As sts::web_identity_tokens.
    awaitable<sts::outcome<sts::web_identity_token>> obtain(std::shared_ptr<const sts::credential_spec> spec,
                                                            bool fresh);
    void drop_expired();
    void forget_pod(const std::string& pod_uid);

private:
    using digest = std::array<std::uint8_t, 32>;
    using key =
        std::tuple<std::string, std::string, std::string>; // service account's uid, pod's uid, audience
    // What is known about one kind of token.
    struct slot {
        std::shared_ptr<const secret_string> jwt; // null: none is kept
        std::string pod_uid;                      // it is bound to
        token_source source{};
        boot_time use_until{};
        digest handed_out{}; // the last one of whatever source
        boot_time last_used{};
    };
    struct attempt {
        sts::failure failure;
        errc kind = errc::internal; // for the metric
        bool concerns_pod = false;  // another pod may do
    };
    template <class T>
    using attempted = boost::system::result<T, attempt>;
    using token_ptr = std::shared_ptr<const secret_string>;

    awaitable<attempted<token_ptr>> try_source(token_source source,
                                               std::shared_ptr<const sts::credential_spec> spec, bool fresh);
    awaitable<attempted<token_ptr>> request(token_source source,
                                            std::shared_ptr<const sts::credential_spec> spec);
    // `bound_to` stays where it is until this is done.
    awaitable<attempted<token_ptr>> request_for(const pod& bound_to, token_source source,
                                                std::shared_ptr<const sts::credential_spec> spec);
    attempted<token_ptr> presented(const sts::credential_spec& spec, bool fresh);
    attempted<token_ptr> projected(const sts::credential_spec& spec, bool fresh);
    token_ptr kept(const sts::credential_spec& spec, token_source source);
    slot& slot_of(const sts::credential_spec& spec);
    [[nodiscard]] bool handed_out(const sts::credential_spec& spec, const secret_string& jwt) const;
    [[nodiscard]] std::vector<token_source> order(const sts::credential_spec& spec) const;
    void refuse(token_source source, const sts::credential_spec& spec, const sts::failure& f);
    [[nodiscard]] bool refused(token_source source, const sts::credential_spec& spec) const;

    api_client& api_;
    const pod_chooser& chooser_;
    const presented_store& presented_;
    const clock& time_;
    metrics::kubernetes_metrics& metrics_;
    logger& log_;
    options options_;
    std::map<key, slot> slots_;
    std::map<std::pair<token_source, std::string>, boot_time>
        refusals_; // until when; "" or a service account's uid
};

} // namespace credlet::metadata::kubernetes
