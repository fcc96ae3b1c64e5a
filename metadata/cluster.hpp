#pragma once
// What the identity of callers needs from the cluster beyond the watches: direct questions and token
// verification. Implemented for the Kubernetes API in metadata/kubernetes, and for the static pods file.
// Upstream loop only.

#include "metadata/objects.hpp"
#include "runtime/async.hpp"
#include "runtime/clock.hpp"
#include "runtime/secret.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace credlet::metadata {

// The claims of a service-account token whose signature, issuer, audience, times and subject hold.
struct verified_token {
    std::string namespace_name;
    std::string service_account;
    std::string service_account_uid;
    std::string pod_name;
    std::string pod_uid;   // never empty: a token that is not bound to a pod is refused
    std::string node_name; // empty on clusters before 1.30
    std::vector<std::string> audiences;
    std::string issuer;
    wall_time expires;
};

class cluster {
public:
    virtual ~cluster() = default;
    // This node's pods that have the address now, by one direct request.
    virtual awaitable<result<std::vector<pod>>> pods_by_address(boost::asio::ip::address address) = 0;
    // One pod by uid is not a thing Kubernetes can ask for; by name it is. None: there is no such pod.
    virtual awaitable<result<std::optional<pod>>> pod_by_name(std::string namespace_name,
                                                              std::string name) = 0;
    // None: there is no such service account.
    virtual awaitable<result<std::optional<service_account>>>
    service_account_by_name(std::string namespace_name, std::string name) = 0;
    // Checks everything that can be checked without knowing the pods. errc::malformed: not a token;
    // untrusted: a check failed (the message says which); unavailable: no keys to check with, now.
    virtual awaitable<result<verified_token>> verify(secret_string jwt,
                                                     std::vector<std::string> audiences) = 0;
    // The issuer of this cluster's tokens as trust policies must name it; empty while unknown.
    [[nodiscard]] virtual std::string issuer() const = 0;
};

// Tokens that callers presented and that verified, kept for the `caller` token source: the newest per service
// account (and pod) and audience, wiped when it expires or the pod is gone.
class presented_tokens {
public:
    virtual ~presented_tokens() = default;
    virtual void remember(const verified_token& claims, secret_string jwt) = 0;
    virtual void forget_pod(const std::string& pod_uid) = 0;
};

// Which pods may stand for a service account when a token bound to a pod is wanted.
class pod_chooser {
public:
    virtual ~pod_chooser() = default;
    // The live pods of this node that run as the service account (that very one, by uid), those that are
    // terminating last; with pod_uid, that pod alone. Empty: nobody is left.
    [[nodiscard]] virtual std::vector<pod> live_pods(const std::string& service_account_uid,
                                                     const std::string& pod_uid) const = 0;
    // The first of them.
    [[nodiscard]] std::optional<pod> choose_pod(const std::string& service_account_uid,
                                                const std::string& pod_uid) const {
        auto all = live_pods(service_account_uid, pod_uid);
        return all.empty() ? std::nullopt : std::optional(std::move(all.front()));
    }
};

} // namespace credlet::metadata
