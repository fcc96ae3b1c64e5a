#pragma once
// Tells whether a token is one of this cluster's, bound to a pod and meant for an audience, without asking
// the API server about it: keys and issuer are fetched now and then. Upstream loop only; references outlive
// it, and its tasks are drained before it goes.

#include "metadata/kubernetes/api_client.hpp"
#include "metadata/kubernetes/key_cache.hpp"
#include "metrics/metrics.hpp"
#include "runtime/log.hpp"
#include "runtime/task_group.hpp"

#include <set>
#include <string>
#include <string_view>
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
    token_verifier(const asio::any_io_executor& executor, task_group& tasks, api_client& api,
                   const clock& time, random_source& random, metrics::kubernetes_metrics& metrics,
                   logger& log, settings s);

    // Fetches keys (and issuer) at once and then regularly, until cancelled.
    awaitable<void> run();

    // As cluster::verify(). A kid that is not known, or a token that this cluster signed in the name of an
    // issuer that is not, causes at most one fetch, shared by all who wait for it.
    awaitable<result<verified_token>> verify(secret_string jwt, std::vector<std::string> audiences);

    // Empty while it is not known.
    [[nodiscard]] const std::string& issuer() const { return issuer_; }
    // That one, or the discovered one before it as long as its tokens may be in use.
    [[nodiscard]] bool trusts_issuer(std::string_view issuer) const;
    // The kubelet renews tokens after 24 hours at the latest.
    static constexpr std::chrono::hours previous_issuer_for{25};

private:
    // Both documents; to be awaited or spawned after begin_fetch(), which takes the slot.
    void begin_fetch();
    awaitable<void> fetch();
    awaitable<result<void>> fetch_keys();
    awaitable<void> fetch_issuer();
    // Waits for the fetch that is under way; if there is none, makes one: true. The slot must be free then.
    awaitable<result<bool>> wait_for_fetch();

    task_group& tasks_;
    api_client& api_;
    const clock& time_;
    metrics::kubernetes_metrics& metrics_;
    logger& log_;
    settings settings_;
    key_cache keys_;
    std::string issuer_, previous_issuer_;
    boot_time previous_until_{};
    std::set<std::string> left_out_; // the last time
    log_sampler sampler_{std::chrono::minutes(1)};
    bool fetching_ = false;
    asio::steady_timer fetched_; // at time_point::max(): a condition variable for !fetching_
    std::size_t waiting_ = 0;
};

} // namespace credlet::metadata::kubernetes
