#pragma once
// Tells whether a token is one of this cluster's, bound to a pod and meant for an audience, without asking
// the API server about it: keys and issuer are fetched now and then. Upstream loop only; references outlive
// it, and its tasks are drained before it goes.

#include "metadata/kubernetes/api_client.hpp"
#include "metadata/kubernetes/key_cache.hpp"
#include "metrics/metrics.hpp"
#include "runtime/log.hpp"
#include "runtime/task_group.hpp"

#include <string>
#include <vector>

namespace credlet::metadata::kubernetes {

class token_verifier {
public:
    struct settings {
        std::string issuer; // empty: from the API server's discovery document
        key_cache::settings keys;
        std::chrono::milliseconds request_timeout{5000};
        std::size_t max_waiting = 1024; // verifications that wait for a fetch
    };
    token_verifier(asio::any_io_executor executor, task_group& tasks, api_client& api, const clock& time,
                   random_source& random, metrics::kubernetes_metrics& metrics, logger& log, settings s);

    // Fetches keys (and issuer) at once and then regularly, until cancelled.
    awaitable<void> run();

    // As cluster::verify(). A kid that is not known causes at most one fetch, shared by all who wait for it.
    awaitable<result<verified_token>> verify(secret_string jwt, std::vector<std::string> audiences);

    [[nodiscard]] const std::string& issuer() const { return issuer_; }

private:
    // Both documents; to be awaited or spawned after begin_fetch(), which takes the slot.
    void begin_fetch();
    awaitable<void> fetch();
    awaitable<result<void>> fetch_keys();
    awaitable<void> fetch_issuer();
    awaitable<result<void>> wait_for_fetch();

    task_group& tasks_;
    api_client& api_;
    const clock& time_;
    metrics::kubernetes_metrics& metrics_;
    logger& log_;
    settings settings_;
    key_cache keys_;
    std::string issuer_;
    log_sampler sampler_{std::chrono::minutes(1)};
    bool fetching_ = false;
    asio::steady_timer fetched_; // at time_point::max(): a condition variable for !fetching_
    std::size_t waiting_ = 0;
};

} // namespace credlet::metadata::kubernetes
