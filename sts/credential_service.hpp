#pragma once
// Carries out what the credential store decides: obtains a web identity token, calls STS (and, for a target
// role, once more), hands the result back, counts, logs, and tells who asked to know. Upstream loop only.

#include "metrics/metrics.hpp"
#include "runtime/log.hpp"
#include "runtime/task_group.hpp"
#include "sts/client.hpp"
#include "sts/credential_store.hpp"

#include <functional>
#include <memory>

namespace credlet::sts {

struct web_identity_token {
    secret_string jwt;
    std::string source; // for logs: caller, impersonate, request, projected, file
};

// Where web identity tokens come from; implemented on the floor above.
class web_identity_tokens {
public:
    virtual ~web_identity_tokens() = default;
    // A token for the spec's service account and audience, with life enough for one call. fresh: not one that
    // was handed out before, because STS has rejected it; not fresh: that one may come again, for STS may
    // think otherwise by now. The failure is of kind no_token (or cancelled).
    virtual awaitable<outcome<web_identity_token>> obtain(std::shared_ptr<const credential_spec> spec,
                                                          bool fresh) = 0;
};

class credential_service {
public:
    struct settings {
        store_settings store;
        std::chrono::milliseconds call_timeout{10000}; // token and STS calls together
    };
    // All references outlive the service; stop it and drain `tasks` before it goes.
    credential_service(const asio::any_io_executor& executor, task_group& tasks, const clock& time,
                       random_source& random, client& sts, web_identity_tokens& tokens,
                       metrics::sts_metrics& metrics, logger& log, settings s);
    ~credential_service();

    // See credential_store.
    void retain(const credential_spec& spec, std::chrono::nanoseconds prefetch_delay);
    void release(const credential_key& key);
    void demand(const credential_key& key, std::chrono::milliseconds patience);
    [[nodiscard]] lookup_result lookup(const credential_key& key) const;
    [[nodiscard]] credential_store::counts count() const;
    // What the last call for the key did, for `explain`; none if there was no call yet.
    struct last_call {
        wall_time when;
        call_reason reason;
        std::optional<failure> problem;
        std::string token_source;
    };
    [[nodiscard]] std::optional<last_call> history(const credential_key& key) const;

    // Called on the upstream loop, with every key whose lookup may have changed. Set once, before the first
    // retain.
    std::function<void(const std::vector<credential_key>&)> on_change;
    // Called once per issuance, for the audit line: spec and what was issued.
    std::function<void(const credential_spec&, const credentials&, call_reason)> on_issued;

    void stop();

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

} // namespace credlet::sts
