#include "metadata/kubernetes/assembly.hpp"
#include "metadata/kubernetes/reflector.hpp"
#include "metadata/kubernetes/token_request.hpp"
#include "metadata/kubernetes/token_sources.hpp"
#include "metadata/kubernetes/token_verifier.hpp"
#include "runtime/canonical_address.hpp"
#include "runtime/event_log.hpp"

#include <algorithm>

namespace credlet::metadata::kubernetes {

namespace {

constexpr std::size_t max_connections = 12; // two watches, and requests
constexpr std::chrono::seconds sweep_interval{30};
// What a server may take to begin with a page of a list; all other requests have shorter limits as a whole.
constexpr std::chrono::seconds answer_timeout{15};
constexpr std::size_t max_object = std::size_t{4} * 1024 * 1024;
constexpr auto partial_object = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

// Metadata alone are small; so much the fewer pages of a cluster's service accounts.
constexpr std::size_t metadata_page_factor = 10;
// Twice as long as bookmarks may keep one waiting.
constexpr int silences_without_bookmark = 4;

error plain(std::string_view doing, const api_error& e) {
    return in_context(doing, fail(e.kind, e.status == 0 ? e.message
                                                        : "the API server answered " +
                                                              std::to_string(e.status) + ": " + e.message));
}

reflector_settings pods_settings(const settings& s) {
    reflector_settings r;
    r.what = "pods on node " + s.node_name;
    r.metric = metrics::watched::pods;
    r.collection = "/api/v1/pods";
    r.field_selector = "spec.nodeName=" + s.node_name;
    r.as_own_node = s.source == token_source::impersonate;
    r.page = s.list_page;
    r.request_timeout = s.request_timeout;
    r.timeout_min = s.watch_timeout_min;
    r.timeout_max = s.watch_timeout_max;
    r.probe = true;
    r.silence = s.watch_silence;
    r.grace = std::min<std::chrono::milliseconds>(r.grace, s.watch_silence);
    r.permission_hint =
        r.as_own_node
            ? "grant impersonate:associated-node on nodes (authentication.k8s.io) and "
              "impersonate-on:associated-node:get, :list and :watch on pods to the daemon's service account "
              "(Kubernetes 1.36 and later)"
            : "grant get, list and watch on pods to the daemon's service account";
    return r;
}

reflector_settings accounts_settings(const settings& s) {
    reflector_settings r;
    r.what = "service accounts";
    r.metric = metrics::watched::service_accounts;
    r.collection = "/api/v1/serviceaccounts";
    r.metadata_only = true;
    r.page = s.list_page * metadata_page_factor;
    r.request_timeout = s.request_timeout;
    r.timeout_min = s.watch_timeout_min;
    r.timeout_max = s.watch_timeout_max;
    r.longest_silence = s.watch_silence * silences_without_bookmark;
    // Also with source impersonate: a node may see the service accounts of its pods one by one only.
    r.permission_hint = "grant get, list and watch on serviceaccounts to the daemon's service account";
    return r;
}

class kubernetes_api final : public kubernetes {
public:
    kubernetes_api(asio::io_context& loop, task_group& tasks, const clock& time, random_source& random,
                   std::unique_ptr<https_client> http, const pod_chooser& chooser,
                   metrics::kubernetes_metrics& metrics, logger& log, settings s)
        : settings_(std::move(s)),
          tasks_(tasks),
          time_(time),
          random_(random),
          metrics_(metrics),
          log_(log),
          http_(std::move(http)),
          token_(settings_.token_file, time, [this](bool ok) { token_reloaded(ok); }),
          api_(*http_, token_, time, settings_.node_name),
          presented_(time),
          sources_(api_, chooser, presented_, time, metrics, log,
                   {settings_.source, settings_.node_name, settings_.requested_token_lifetime,
                    settings_.kubelet_pods_dir, settings_.request_timeout,
                    [this](std::string_view issuer) {
                        return verifier_.issuer().empty() || verifier_.trusts_issuer(issuer);
                    }}),
          verifier_(loop.get_executor(), tasks, api_, time, random, metrics, log,
                    {settings_.issuer,
                     {settings_.jwks_min_interval, settings_.jwks_refresh, settings_.jwks_keep_stale},
                     settings_.request_timeout}) {}

    result<void> load_token() { return token_.load(); }

    void start(object_sink<pod>& pods, object_sink<service_account>& accounts) override {
        pod_feed_ = std::make_unique<typed_feed<pod>>(
            pods, [](auto object) { return parse_pod(object); }, [](const pod&) { return true; }, log_);
        account_feed_ = std::make_unique<typed_feed<service_account>>(
            accounts,
            [this](auto object) { return parse_service_account(object, settings_.annotation_prefixes); },
            [](const service_account& a) { return !a.annotations.empty(); }, log_);
        pods_ = std::make_unique<reflector>(pods_settings(settings_), api_, *pod_feed_, time_, random_,
                                            metrics_, log_);
        accounts_ = std::make_unique<reflector>(accounts_settings(settings_), api_, *account_feed_, time_,
                                                random_, metrics_, log_);
        tasks_.spawn(accounts_->run());
        tasks_.spawn(pods_->run());
        tasks_.spawn(verifier_.run());
        tasks_.spawn(sweep());
    }

    void stop() override { http_->stop(); }

    awaitable<result<std::vector<pod>>> pods_by_address(boost::asio::ip::address address) override {
        address = canonical(address);
        api_request request;
        request.target = "/api/v1/pods?fieldSelector=" + query_escape("spec.nodeName=" + settings_.node_name +
                                                                      ",status.podIP=" + address.to_string());
        request.as_own_node = settings_.source == token_source::impersonate;
        request.max_response_body = max_object;
        const auto answer = co_await api_.exchange(std::move(request), settings_.request_timeout);
        if (answer.has_error())
            co_return plain("asking for the pod with address " + address.to_string(), answer.error());
        const auto document = json_document::parse(answer->body.reveal(), max_object);
        if (document.has_error())
            co_return document.error();
        std::vector<pod> found;
        if (const auto items = list_items(document->root())) {
            for (const auto item : *items) {
                auto p = parse_pod(item);
                if (p.has_error())
                    co_return p.error();
                // The selector knows the first address only, and what was asked for is what must be true.
                if (p->node_name == settings_.node_name &&
                    std::find(p->addresses.begin(), p->addresses.end(), address) != p->addresses.end())
                    found.push_back(std::move(*p));
            }
        }
        co_return found;
    }

    awaitable<result<std::optional<pod>>> pod_by_name(std::string namespace_name, std::string name) override {
        api_request request;
        request.target = "/api/v1/namespaces/" + query_escape(namespace_name) + "/pods/" + query_escape(name);
        request.as_own_node = settings_.source == token_source::impersonate;
        request.max_response_body = max_object;
        const bool as_own_node = request.as_own_node;
        const auto answer = co_await api_.exchange(std::move(request), settings_.request_timeout);
        if (answer.has_error() &&
            (answer.error().status == 404 || (as_own_node && is_unrelated_to_node(answer.error()))))
            co_return std::optional<pod>();
        if (answer.has_error())
            co_return plain("asking for pod " + one_line(namespace_name + "/" + name), answer.error());
        const auto document = json_document::parse(answer->body.reveal(), max_object);
        if (document.has_error())
            co_return document.error();
        auto p = parse_pod(document->root());
        if (p.has_error())
            co_return p.error();
        co_return std::optional(std::move(*p));
    }

    awaitable<result<std::optional<service_account>>> service_account_by_name(std::string namespace_name,
                                                                              std::string name) override {
        api_request request;
        request.target =
            "/api/v1/namespaces/" + query_escape(namespace_name) + "/serviceaccounts/" + query_escape(name);
        request.accept = partial_object;
        request.max_response_body = max_object;
        const auto answer = co_await api_.exchange(std::move(request), settings_.request_timeout);
        if (answer.has_error() && answer.error().status == 404)
            co_return std::optional<service_account>();
        if (answer.has_error())
            co_return plain("asking for service account " + one_line(namespace_name + "/" + name),
                            answer.error());
        const auto document = json_document::parse(answer->body.reveal(), max_object);
        if (document.has_error())
            co_return document.error();
        auto account = parse_service_account(document->root(), settings_.annotation_prefixes);
        if (account.has_error())
            co_return account.error();
        co_return std::optional(std::move(*account));
    }

    awaitable<result<verified_token>> verify(secret_string jwt, std::vector<std::string> audiences) override {
        return verifier_.verify(std::move(jwt), std::move(audiences));
    }
    [[nodiscard]] std::string issuer() const override { return verifier_.issuer(); }

    awaitable<sts::outcome<sts::web_identity_token>> obtain(std::shared_ptr<const sts::credential_spec> spec,
                                                            bool fresh) override {
        return sources_.obtain(std::move(spec), fresh);
    }

    void remember(const verified_token& claims, secret_string jwt) override {
        presented_.remember(claims, std::move(jwt));
    }
    void forget_pod(const std::string& pod_uid) override {
        presented_.forget_pod(pod_uid);
        sources_.forget_pod(pod_uid);
    }

private:
    void token_reloaded(bool ok) {
        metrics_.token_reloaded("token", ok);
        if (ok)
            log_.info("the daemon's own token was renewed");
        else if (sampler_.admit("token", time_.now().time_since_epoch()).write)
            log_.warn("the daemon's own token cannot be read again; the last one stays in use",
                      {{"file", settings_.token_file}});
    }

    // Wipes tokens that have expired although nobody asks for them any more.
    awaitable<void> sweep() {
        while ((co_await sleep_for(sweep_interval)).has_value()) {
            presented_.drop_expired();
            sources_.drop_expired();
        }
    }

    settings settings_;
    task_group& tasks_;
    const clock& time_;
    random_source& random_;
    metrics::kubernetes_metrics& metrics_;
    logger& log_;
    log_sampler sampler_{std::chrono::minutes(1)};
    std::unique_ptr<https_client> http_;
    daemon_token token_;
    api_client api_;
    presented_store presented_;
    token_sources sources_;
    token_verifier verifier_;
    std::unique_ptr<typed_feed<pod>> pod_feed_;
    std::unique_ptr<typed_feed<service_account>> account_feed_;
    std::unique_ptr<reflector> pods_, accounts_;
};

} // namespace

result<std::unique_ptr<kubernetes>> assemble(asio::io_context& loop, task_group& tasks, const clock& time,
                                             random_source& random, std::unique_ptr<https_client> http,
                                             const pod_chooser& chooser, metrics::kubernetes_metrics& metrics,
                                             logger& log, settings s) {
    if (s.node_name.empty())
        return fail(errc::malformed, "the node's name is not known; see --node-name");
    if (s.watch_timeout_min <= std::chrono::seconds(0) || s.watch_timeout_max < s.watch_timeout_min)
        return fail(errc::malformed,
                    "a watch's timeout must be positive, and its minimum not above its maximum");
    if (s.requested_token_lifetime < min_token_lifetime)
        return fail(errc::malformed, "a requested token must live for at least " +
                                         std::to_string(min_token_lifetime.count()) + " seconds");
    auto made = std::make_unique<kubernetes_api>(loop, tasks, time, random, std::move(http), chooser, metrics,
                                                 log, std::move(s));
    if (const auto loaded = made->load_token(); loaded.has_error())
        return in_context("see --kube-token-file", loaded.error());
    return std::unique_ptr<kubernetes>(std::move(made));
}

result<std::unique_ptr<kubernetes>>
make_kubernetes(asio::io_context& loop, task_group& tasks, const clock& time, random_source& random,
                std::shared_ptr<name_resolver> names, const pod_chooser& chooser,
                metrics::kubernetes_metrics& metrics, logger& log, settings s) {
    https_client_settings client;
    client.server = s.api;
    client.ca_file = s.ca_file;
    client.user_agent = "credlet/" CREDLET_VERSION;
    client.max_connections = max_connections;
    client.read_timeout = answer_timeout;
    const auto ca_read = [&metrics](bool ok) { metrics.token_reloaded("ca", ok); };
    auto http = make_https_client(loop, time, std::move(names), std::move(client),
                                  log_client_events(log, time, "Kubernetes API", ca_read));
    if (http.has_error())
        return in_context("the API server's CA (--kube-ca-file)", http.error());
    return assemble(loop, tasks, time, random, std::move(*http), chooser, metrics, log, std::move(s));
}

} // namespace credlet::metadata::kubernetes
