#include "daemon/serve.hpp"

#include "daemon/admin.hpp"
#include "daemon/audit.hpp"
#include "daemon/descriptor_budget.hpp"
#include "daemon/hardening.hpp"
#include "daemon/option_values.hpp"
#include "daemon/other_loop.hpp"
#include "daemon/pod_listening.hpp"
#include "daemon/pods_file.hpp"
#include "daemon/readiness.hpp"
#include "daemon/role_policy_file.hpp"
#include "daemon/warm_up.hpp"
#include "metadata/kubernetes/kubernetes.hpp"
#include "metadata/pod_network/predecessor.hpp"
#include "metadata/service.hpp"
#include "metrics/metrics.hpp"
#include "runtime/event_log.hpp"
#include "runtime/http_server.hpp"
#include "runtime/https_client.hpp"
#include "runtime/log.hpp"
#include "runtime/shared_address.hpp"
#include "runtime/task_group.hpp"
#include "runtime/thread_capabilities.hpp"
#include "sts/credential_service.hpp"
#include "sts/https_sts_client.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>

#include <algorithm>
#include <linux/capability.h>
#include <signal.h>

namespace credlet::app {

namespace {

using namespace std::chrono_literals;

constexpr auto sts_answer_limit = 3s; // of one call to STS
constexpr auto listen_retry = 1s;
constexpr auto listen_patience = 60s;

// What is waited for without end: somebody else's address, until it is free; or whatever the reason.
enum class patience { bounded, while_in_use, endless };

// The end does not wait longer for a system call of the discovery loop.
constexpr auto discovery_end_limit = 2s;

// Instead of ten seconds: an update goes from node to node, and somebody waits for this process.
constexpr auto prefetch_spread_of_successor = 1s;

// Passes a sink through and tells when the first whole list has arrived.
template <class Object>
class first_list final : public metadata::object_sink<Object> {
public:
    first_list(metadata::object_sink<Object>& next, std::function<void()> arrived)
        : next_(next),
          arrived_(std::move(arrived)) {}
    void replaced(std::vector<Object> all) override {
        next_.replaced(std::move(all));
        if (auto arrived = std::exchange(arrived_, nullptr))
            arrived();
    }
    void changed(Object object) override { next_.changed(std::move(object)); }
    void removed(const Object& last_state) override { next_.removed(last_state); }

private:
    metadata::object_sink<Object>& next_;
    std::function<void()> arrived_;
};

// On the server's own loop. The address, as it is written, with the port that port 0 became.
template <class Server>
awaitable<result<std::string>> listen_on(Server& server, asio::ip::tcp::endpoint where) {
    const auto index = server.listen(where);
    if (!index)
        co_return index.error();
    co_return text_of(server.endpoints().at(*index));
}

awaitable<result<std::string>> listen_on(http_server& server, admin_address where) {
    if (const auto* e = std::get_if<asio::ip::tcp::endpoint>(&where))
        co_return co_await listen_on(server, *e);
    const auto index = server.listen(std::get<unix_path>(where));
    if (!index)
        co_return index.error();
    co_return text_of(where);
}

metadata::service_settings service_settings_of(const options& o,
                                               std::optional<std::vector<metadata::role_rule>> policy) {
    metadata::service_settings s;
    s.identity = o.identity;
    s.scope = o.session_scope;
    s.node_name = o.node_name;
    s.annotation_prefixes = o.annotation_prefixes;
    s.audience = o.audience;
    s.caller_audiences = o.caller_audiences;
    s.role_arn_base = o.role_arn_base;
    s.role_policy = std::move(policy);
    s.region = o.region;
    s.availability_zone = o.availability_zone;
    s.imds_v1 = o.imds_v1;
    s.listens_on_node = !o.listen.empty();
    s.extra_hosts = o.allowed_hosts;
    s.pod_requests_per_second = o.pod_request_rate;
    s.pod_request_burst = o.pod_request_burst;
    s.http.max_connections = o.max_connections;
    s.http.max_connections_per_peer = o.max_connections_per_pod;
    return s;
}

metadata::kubernetes::settings kubernetes_settings_of(const options& o) {
    metadata::kubernetes::settings s;
    s.api = *o.kube_api;
    s.ca_file = o.kube_ca_file;
    s.token_file = o.kube_token_file;
    s.node_name = o.node_name;
    s.annotation_prefixes = o.annotation_prefixes;
    s.source = o.token_source;
    s.requested_token_lifetime = o.token_lifetime;
    s.kubelet_pods_dir = o.kubelet_pods_dir;
    s.issuer = o.token_issuer;
    return s;
}

result<sts::endpoint> sts_endpoint_of(const options& o) {
    sts::endpoint_settings s;
    s.region = o.region;
    s.fips = o.sts_fips;
    s.dual_stack = o.sts_dualstack;
    s.legacy_global = o.sts_regional_endpoints == regional_endpoints::legacy;
    s.override_server = o.sts_endpoint;
    return sts::select_endpoint(s);
}

std::string text_of_all(const std::vector<asio::ip::tcp::endpoint>& addresses) {
    std::string text;
    for (const auto& a : addresses)
        text.append(text.empty() ? "" : ", ").append(text_of(a));
    return text;
}

// Everything that lives on the loops, in the order in which it depends on each other.
class process {
public:
    // discovery: where there is --pod-listen; else nullptr. Its thread ends before this goes.
    process(const options& o, output_log& log, discovery_thread* discovery)
        : options_(o),
          log_(log),
          discovery_(discovery) {}

    int run();

private:
    result<void> build();
    [[nodiscard]] bool another_serves() const;
    void build_admin();
    void say_what_starts();
    awaitable<void> live();
    // Opens one of our addresses, now or later, for as long as there is patience.
    using opener = std::function<awaitable<result<std::string>>()>;
    awaitable<bool> open_patiently(std::string_view listener, std::string where, patience how, opener open);
    awaitable<void> open_admin(admin_address where);
    awaitable<void> open_metrics(asio::ip::tcp::endpoint where);
    awaitable<void> open_pods_listener(asio::ip::tcp::endpoint where);
    void cannot_start(std::string_view flag, const std::string& where);
    awaitable<void> close_down();
    void start_feeding();
    void follow_pods();
    [[nodiscard]] readiness ready();

    const options& options_;
    output_log& log_;
    discovery_thread* discovery_;
    system_clock time_;
    system_random random_; // upstream loop
    std::unique_ptr<metrics::registry> metrics_ = metrics::make_registry(time_);

    asio::io_context upstream_{1}, serving_{1};
    asio::signal_set signals_{upstream_, SIGTERM, SIGINT}; // from the first moment: they wait until we live
    task_group tasks_{upstream_.get_executor()};

    std::unique_ptr<metadata::service> service_;
    std::unique_ptr<pod_listening> pod_listening_;                 // or nullptr
    std::unique_ptr<metadata::kubernetes::kubernetes> kubernetes_; // or else
    std::unique_ptr<pods_file> pods_file_;
    std::unique_ptr<https_client> sts_http_;
    std::unique_ptr<sts::client> sts_;
    std::unique_ptr<sts::credential_service> credentials_;
    std::unique_ptr<first_list<metadata::pod>> pods_;
    std::unique_ptr<first_list<metadata::service_account>> accounts_;
    std::unique_ptr<request_handler> admin_handler_, metrics_handler_;
    std::unique_ptr<http_server> admin_, metrics_server_;

    bool stands_by_ = false; // for another process, which serves our addresses
    warm_up warm_up_;
    bool pods_listed_ = false, accounts_listed_ = false;
    std::size_t listening_ = 0, opening_ = 0; // listeners for pods
    bool stopping_ = false, draining_ = false;
    asio::steady_timer stop_{upstream_, asio::steady_timer::time_point::max()};
    int exit_code_ = 0;
};

// Whose place this process takes, if anybody's.
bool process::another_serves() const {
    if (std::ranges::any_of(options_.listen, is_listened_on))
        return true;
    return discovery_ != nullptr && discovery_->ask([this] {
        return metadata::is_listened_on_in_pods(pod_listener_settings_of(options_));
    });
}

result<void> process::build() {
    std::optional<std::vector<metadata::role_rule>> policy;
    if (!options_.role_policy_file.empty()) {
        auto read = read_role_policy(options_.role_policy_file);
        if (!read)
            return read.error();
        policy = std::move(*read);
    }
    auto endpoint = sts_endpoint_of(options_);
    if (!endpoint)
        return endpoint.error();

    auto settings = service_settings_of(options_, std::move(policy));
    stands_by_ = another_serves();
    if (stands_by_) {
        log_.info("another process serves: standing by");
        settings.initial_prefetch_spread = prefetch_spread_of_successor;
    }
    service_ = metadata::make_service(serving_, upstream_, tasks_, time_, random_, metrics_->serving(),
                                      metrics_->kubernetes(), log_, std::move(settings));
    if (discovery_ != nullptr) {
        pod_listening_ = std::make_unique<pod_listening>(*discovery_, serving_, upstream_, time_, *service_,
                                                         metrics_->pod_listeners(), log_);
        if (auto started = pod_listening_->start(options_); !started)
            return started.error();
    }
    const auto names = make_system_resolver();

    metadata::cluster* cluster = nullptr;
    metadata::presented_tokens* presented = nullptr;
    sts::web_identity_tokens* tokens = nullptr;
    if (options_.pods_file.empty()) {
        auto made = metadata::kubernetes::make_kubernetes(upstream_, tasks_, time_, random_, names,
                                                          service_->chooser(), metrics_->kubernetes(), log_,
                                                          kubernetes_settings_of(options_));
        if (!made)
            return made.error();
        kubernetes_ = std::move(*made);
        cluster = kubernetes_.get();
        presented = kubernetes_.get();
        tokens = kubernetes_.get();
    } else {
        auto made = make_pods_file(tasks_, time_, log_, options_, &metrics_->kubernetes());
        if (!made)
            return made.error();
        pods_file_ = std::move(*made);
        cluster = pods_file_.get();
        presented = pods_file_.get();
        tokens = pods_file_.get();
    }

    https_client_settings http;
    http.server = endpoint->server;
    http.ca_file = options_.sts_ca_file;
    http.user_agent = "credlet/" CREDLET_VERSION;
    http.max_connections = options_.sts_max_in_flight;
    const auto ca_read = [this](bool ok) { metrics_->kubernetes().token_reloaded("ca", ok); };
    auto client = make_https_client(upstream_, time_, names, std::move(http),
                                    log_client_events(log_, time_, "STS", ca_read));
    if (!client)
        return in_context("the certificates for STS (--sts-ca-file)", client.error());
    sts_http_ = std::move(*client);
    sts_ = sts::make_client(*sts_http_, time_, *endpoint, metrics_->sts(), sts_answer_limit);

    sts::credential_service::settings store;
    store.store.calls_per_second = options_.sts_rate;
    store.store.burst = options_.sts_burst;
    store.store.max_in_flight = options_.sts_max_in_flight;
    credentials_ = std::make_unique<sts::credential_service>(upstream_.get_executor(), tasks_, time_, random_,
                                                             *sts_, *tokens, metrics_->sts(), log_, store);
    credentials_->on_issued = [this](const sts::credential_spec& spec, const sts::credentials& issued,
                                     sts::call_reason reason) {
        write_audit_line(log_, spec, issued, reason,
                         service_->chooser().choose_pod(spec.service_account_uid, spec.pod_uid));
    };
    service_->connect(*cluster, presented, *credentials_);

    const auto listed = [this](bool& which) {
        return [this, &which] {
            which = true;
            follow_pods();
            if (pods_listed_ && accounts_listed_) {
                service_->set_synced(true);
                log_.info("synced");
                // Behind what the lists have set off: what they ask for is known to the store by then.
                asio::post(upstream_, [this] { warm_up_.begin(time_.now()); });
            }
        };
    };
    pods_ = std::make_unique<first_list<metadata::pod>>(service_->pods(), listed(pods_listed_));
    accounts_ = std::make_unique<first_list<metadata::service_account>>(service_->service_accounts(),
                                                                        listed(accounts_listed_));
    return {};
}

// Those who were here first are all of the first list, and who of them has a role takes both lists to tell.
void process::follow_pods() {
    const bool known = pods_listed_ && (accounts_listed_ || options_.pod_listen_for == pod_choice::all);
    if (pod_listening_ && known)
        pod_listening_->follow_pods(options_.pod_listen_for);
}

readiness process::ready() {
    start_progress p;
    p.pods_listed = pods_listed_;
    p.accounts_listed = accounts_listed_;
    p.listens_on_node = !options_.listen.empty();
    p.listening = listening_;
    p.listens_in_pods = pod_listening_ != nullptr;
    p.pods_looked_for = pod_listening_ && pod_listening_->settled();
    if (stands_by_)
        p.cold = warm_up_.missing(credentials_->count(), time_.now());
    p.draining = draining_;
    return readiness_of(p);
}

void process::build_admin() {
    admin_sources sources;
    sources.metrics = [this] { return metrics_->expose(); };
    sources.ready = [this] { return ready(); };
    sources.explain = [this](std::string namespace_name, std::string pod) {
        return service_->explain(std::move(namespace_name), std::move(pod));
    };
    std::vector<watched_loop> others{{serving_, "serves pods"}};
    if (discovery_ != nullptr)
        others.push_back({discovery_->loop(), "makes listeners in pods"});
    admin_handler_ = make_admin_handler(upstream_, others, time_, std::move(sources));
    metrics_handler_ = make_metrics_handler(time_, [this] { return metrics_->expose(); });
    http_server_limits limits;
    limits.max_connections = 64;
    limits.max_connections_per_peer = 32;
    limits.request_timeout = 30s; // an explanation may wait for STS
    http_server_events events;
    events.handler_failed = log_handler_failures(log_, time_, "admin");
    admin_ = make_http_server(upstream_, time_, *admin_handler_, limits, events);
    limits.max_connections_per_peer = 8;
    limits.request_timeout = 10s;
    metrics_server_ = make_http_server(upstream_, time_, *metrics_handler_, limits, std::move(events));
}

// A link-local address may appear after we do, and somebody who does not share it may still hold it: both are
// waited for. A line when it begins, and when the reason changes.
awaitable<bool> process::open_patiently(std::string_view listener, std::string where, patience how,
                                        opener open) {
    auto give_up = time_.now() + listen_patience;
    std::string told;
    while (!draining_) {
        const auto opened = co_await open();
        if (opened) {
            log_.info("listening", {{"listener", listener}, {"address", *opened}});
            co_return true;
        }
        const auto& [kind, why] = opened.error();
        if (how == patience::endless || (how == patience::while_in_use && kind == errc::in_use))
            give_up = time_.now() + listen_patience;
        const bool last = time_.now() >= give_up;
        if (last || why != std::exchange(told, why))
            log_.warn("cannot listen", {{"listener", listener}, {"address", where}, {"error", why}});
        if (last)
            co_return false;
        co_await sleep_for(listen_retry);
    }
    co_return false;
}

// During an update the daemon before this one may hold the address for as long as it serves. An address that
// never comes is a mistake in the configuration: better no daemon, and an update that stops here, than one
// whose operator is blind.
awaitable<void> process::open_admin(admin_address where) {
    const opener open = [this, where] { return listen_on(*admin_, where); };
    if (!co_await open_patiently("admin", text_of(where), patience::while_in_use, open))
        cannot_start("--admin-listen", text_of(where));
}

// What nobody scrapes is seen where it is scraped, and no reason to keep credentials from pods.
awaitable<void> process::open_metrics(asio::ip::tcp::endpoint where) {
    const opener open = [this, where] { return listen_on(*metrics_server_, where); };
    co_await open_patiently("metrics", text_of(where), patience::endless, open);
}

awaitable<void> process::open_pods_listener(asio::ip::tcp::endpoint where) {
    const opener open = [this, where] { return run_on(serving_, listen_on(*service_, where)); };
    const bool opened = co_await open_patiently("pods", text_of(where), patience::bounded, open);
    --opening_;
    if (opened)
        ++listening_;
    // IPv6 is optional where there is another address: a node may have it disabled.
    else if (!where.address().is_v6() || (listening_ == 0 && opening_ == 0))
        cannot_start("--listen", text_of(where));
}

void process::cannot_start(std::string_view flag, const std::string& where) {
    if (draining_)
        return;
    log_.error("cannot start", {{"error", std::string(flag) + " " + where +
                                              " could not be opened: is the address on a link of this node, "
                                              "and free?"}});
    exit_code_ = 1;
    stop_.cancel();
}

void process::start_feeding() {
    if (kubernetes_)
        kubernetes_->start(*pods_, *accounts_);
    else
        pods_file_->start(*pods_, *accounts_);
}

awaitable<void> process::close_down() {
    draining_ = true;
    if (pod_listening_)
        pod_listening_->stop();
    const auto cut = co_await run_on(serving_, service_->drain(options_.drain_timeout));
    log_.info("drained", {{"connections_cut", cut}});
    if (kubernetes_)
        kubernetes_->stop();
    if (pods_file_)
        pods_file_->stop();
    credentials_->stop();
    tasks_.cancel();
    co_await tasks_.drained();
    using namespace asio::experimental::awaitable_operators;
    co_await (admin_->drain(1s) && metrics_server_->drain(1s));
    sts_http_->stop();
}

awaitable<void> process::live() {
    signals_.async_wait([this](const boost::system::error_code& ec, int number) {
        if (ec)
            return;
        log_.info("stopping", {{"signal", number}});
        stopping_ = true;
        stop_.cancel();
        signals_.async_wait([](const boost::system::error_code& again, int) {
            if (!again)
                ::_exit(1); // told twice: at once
        });
    });
    start_feeding();
    for (const auto& where : options_.admin_listen)
        tasks_.spawn(open_admin(where));
    for (const auto& where : options_.metrics_listen)
        tasks_.spawn(open_metrics(where));
    opening_ = options_.listen.size();
    for (const auto& where : options_.listen)
        tasks_.spawn(open_pods_listener(where));
    while (!stopping_ && exit_code_ == 0)
        co_await stop_.async_wait(as_result);
    co_await close_down();
}

void process::say_what_starts() {
    log_.info("starting", {{"version", CREDLET_VERSION},
                           {"node", options_.node_name},
                           {"listen", text_of_all(options_.listen)},
                           {"pod_listen", text_of_all(options_.pod_listen)}});
    const auto needed = descriptors_needed(options_);
    if (const auto limit = descriptor_limit(); limit && *limit < needed)
        log_.warn("the limit of open files (RLIMIT_NOFILE) is below what is needed for --max-connections and "
                  "--max-pod-namespaces: raise it, or lower those",
                  {{"limit", *limit}, {"needed", needed}});
}

int process::run() {
    tasks_.on_exception = [this](const std::string& what) {
        log_.error("a task failed: this is a bug", {{"error", what}});
    };
    metrics_->log_dropped([this] { return log_.dropped(); });
    metrics_->ready([this] { return ready().ready; });
    if (const auto built = build(); !built) {
        log_.error("cannot start", {{"error", built.error().message}});
        return 1;
    }
    build_admin();
    say_what_starts();

    loop_thread serving(serving_);
    asio::co_spawn(upstream_, live(), [this](const std::exception_ptr& failure) {
        upstream_.stop();
        if (failure)
            std::rethrow_exception(failure);
    });
    upstream_.run();
    serving.join();
    log_.info("stopped", {{"exit_code", exit_code_}});
    return exit_code_;
}

} // namespace

// Threads inherit what the one that makes them may do: the discovery thread is made before this one gives up
// what that needs, and all others after it.
int serve(const options& o) {
    const auto hardened = harden_process();
    std::optional<discovery_thread> discovery;
    if (hardened && !o.pod_listen.empty())
        discovery.emplace();
    const auto confined = give_up_capabilities({CAP_SYS_ADMIN, CAP_SYS_PTRACE});
    auto log = make_output_log(1, o.lowest_log_level, o.logs, 1s);
    for (const auto* done : {&hardened, &confined})
        if (!*done) {
            log->error("cannot start", {{"error", done->error().message}});
            return 1;
        }
    process p(o, *log, discovery ? &*discovery : nullptr);
    const int exit_code = p.run();
    if (discovery && !discovery->join(discovery_end_limit)) {
        log->warn("the loop that makes listeners in pods does not end: ending without it");
        log.reset(); // writes what is left
        ::_exit(exit_code);
    }
    return exit_code;
}

} // namespace credlet::app
