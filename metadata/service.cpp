// The service, put together. Each half is an object that lives on its own loop; they know each other only by
// what they post.

#include "metadata/service.hpp"

#include "metadata/explain.hpp"
#include "metadata/serving_handler.hpp"
#include "metadata/upstream_core.hpp"
#include "runtime/event_log.hpp"
#include "runtime/waiters.hpp"

#include <boost/asio/post.hpp>

namespace credlet::metadata {

namespace {

constexpr std::chrono::milliseconds explain_patience{5000};

// An exception on the other side is a bug there. It must not leave those who wait here without an outcome,
// nor what they wait for marked as under way for ever.
template <class T>
awaitable<result<T>> outcome_of(awaitable<result<T>> question) {
    try {
        co_return co_await std::move(question);
    } catch (const std::exception& e) {
        co_return fail(errc::internal, e.what());
    }
}

// The credential service as the core sees it, once it is connected.
class connected_credentials final : public credential_source {
public:
    void connect(sts::credential_service& to) { to_ = &to; }
    [[nodiscard]] sts::credential_service& service() const { return *to_; }

    void retain(const sts::credential_spec& spec, std::chrono::nanoseconds prefetch_delay) override {
        to_->retain(spec, prefetch_delay);
    }
    void release(const sts::credential_key& key) override { to_->release(key); }
    void demand(const sts::credential_key& key, std::chrono::milliseconds patience) override {
        to_->demand(key, patience);
    }
    [[nodiscard]] sts::lookup_result lookup(const sts::credential_key& key) const override {
        return to_->lookup(key);
    }

private:
    sts::credential_service* to_ = nullptr;
};

// Carries out what the core wants, and publishes once per turn of the loop, however much has changed in it.
class upstream_half {
public:
    upstream_half(asio::io_context& loop, task_group& tasks, const clock& time, random_source& random,
                  metrics::kubernetes_metrics& metrics, const service_settings& settings,
                  std::function<void(delivery)> send)
        : loop_(loop),
          tasks_(tasks),
          time_(time),
          metrics_(metrics),
          settings_(settings),
          send_(std::move(send)),
          core_(settings, random, credentials_),
          timer_(loop) {}

    void connect(cluster& c, presented_tokens* presented, sts::credential_service& credentials) {
        cluster_ = &c;
        presented_ = presented;
        credentials_.connect(credentials);
        credentials.on_change = [this](const std::vector<sts::credential_key>& keys) {
            core_.credentials_changed(keys);
            credentials_changed_.wake_all();
            wake();
        };
    }

    directory& pods() {
        wake(); // whoever takes it changes it
        return core_.pods();
    }
    [[nodiscard]] const directory& directory_now() const { return core_.pods(); }

    void set_synced(bool synced) {
        core_.set_synced(synced);
        wake();
    }

    void submit(ask a) {
        core_.asks().submit(std::move(a), time_.now());
        wake();
    }

    void watch_listened_pods(bool only_with_role, std::function<void(std::vector<listened_pod>)> changed) {
        flush(); // of whom is told now, the view tells before
        listened_with_role_ = only_with_role;
        listened_ = core_.pods().listened(only_with_role);
        listened_changed_ = std::move(changed);
        listened_changed_(listened_);
    }

    void explain_listeners(std::function<std::optional<pod_listener_state>(const std::string&)> state) {
        listener_state_ = std::move(state);
    }

    awaitable<std::vector<explain_step>> explain(std::string namespace_name, std::string pod_name) {
        explained_pod p;
        p.synced = core_.synced();
        p.found = core_.pods().pods().by_name(namespace_name, pod_name);
        p.here = p.found != nullptr;
        if (!p.here) {
            auto found = co_await outcome_of(cluster_->pod_by_name(namespace_name, pod_name));
            if (!found)
                p.lookup_problem = found.error().message;
            else if (*found)
                p.found = std::make_shared<const pod>(std::move(**found));
        } else if (const auto known = core_.pods().known(p.found->uid); known && !has_roles(*known)) {
            p.account_problem = co_await ask_for_account(known->facts);
            p.found = core_.pods().pods().by_uid(known->facts->uid); // it may have gone meanwhile
            p.here = p.found != nullptr;
        }
        const bool with_listener = listener_state_ != nullptr;
        if (with_listener) {
            p.listening = explained_listening{listened_with_role_, {}};
            if (p.here)
                p.listening->state = listener_state_(p.found->uid);
        }
        auto steps = explain_entitlement(core_.pods(), settings_, p);
        if (!steps.back().ok)
            co_return completed(std::move(steps), with_listener);
        const auto spec = core_.pods().known(p.found->uid)->grants->roles.front().spec;
        const auto key = spec->key();
        flush(); // the store learns of what has been found just now
        // What is not there is tried for, as for a request of the pod.
        auto& credentials = credentials_.service();
        const auto settled = [&] {
            const auto now = credentials.lookup(key);
            return now.usable || now.problem_is_definitive || now.state == sts::entry_state::absent;
        };
        if (!settled()) {
            credentials.demand(key, explain_patience);
            const auto limit = step_limit::after(explain_patience);
            while (!settled())
                if (!co_await credentials_changed_.wait(limit))
                    break;
        }
        auto more = explain_credentials(*spec, credentials.lookup(key), credentials.history(key),
                                        cluster_->issuer(), time_.wall());
        steps.insert(steps.end(), more.begin(), more.end());
        co_return completed(std::move(steps), with_listener);
    }

private:
    // As for a request of the pod. Returns why it could not be asked for; empty: what was found is known now.
    awaitable<std::string> ask_for_account(pod_ptr of) {
        const auto ticket = core_.pods().begin_lookup();
        auto found =
            co_await outcome_of(cluster_->service_account_by_name(of->namespace_name, of->service_account));
        if (!found) {
            core_.pods().abandon(ticket);
            co_return found.error().message;
        }
        // If it is not used, the watch has told of the service account meanwhile.
        (void)pods().adopt_account(ticket, of->namespace_name, of->service_account, std::move(*found));
        co_return std::string();
    }

    // Has flush() run after what is going on now.
    void wake() {
        if (std::exchange(flush_posted_, true))
            return;
        asio::post(loop_, [this] {
            flush_posted_ = false;
            flush();
        });
    }

    void flush() {
        const auto now = time_.now();
        auto turn = core_.finish_turn(now, time_.wall());
        if (turn.out)
            send_(std::move(*turn.out));
        if (presented_ != nullptr)
            for (const auto& uid : turn.departed)
                presented_->forget_pod(uid);
        if (turn.pods_changed) {
            count_pods();
            tell_listened_pods();
        }
        start(std::move(turn.work));
        set_timer(now);
    }

    void count_pods() {
        const auto n = core_.pods().count();
        metrics_.pods("live", n.live);
        metrics_.pods("terminating", n.terminating);
        metrics_.pods("terminal", n.terminal);
        metrics_.pods("host_network", n.host_network);
    }

    void tell_listened_pods() {
        if (!listened_changed_)
            return;
        auto present = core_.pods().listened(listened_with_role_);
        if (present == listened_)
            return;
        listened_ = std::move(present);
        listened_changed_(listened_);
    }

    void start(broker_work work) {
        for (auto& w : work.verifications)
            tasks_.spawn(verify(std::move(w)));
        for (const auto& w : work.addresses)
            tasks_.spawn(look_up(w));
        for (auto& w : work.pods)
            tasks_.spawn(look_up(std::move(w)));
        for (auto& w : work.accounts)
            tasks_.spawn(look_up(std::move(w)));
        if (presented_ != nullptr)
            for (auto& w : work.presentations)
                presented_->remember(w.claims, std::move(w.token));
    }

    awaitable<void> verify(broker_work::verification w) {
        auto outcome = co_await outcome_of(cluster_->verify(std::move(w.token), std::move(w.audiences)));
        core_.asks().verified(w.digest, std::move(outcome), time_.now(), time_.wall());
        wake();
    }
    awaitable<void> look_up(broker_work::address_lookup w) {
        auto found = co_await outcome_of(cluster_->pods_by_address(w.address.address()));
        core_.asks().address_looked_up(w, std::move(found), time_.now());
        wake();
    }
    awaitable<void> look_up(broker_work::pod_lookup w) {
        auto found = co_await outcome_of(cluster_->pod_by_name(w.namespace_name, w.name));
        core_.asks().pod_looked_up(w, std::move(found), time_.now(), time_.wall());
        wake();
    }
    awaitable<void> look_up(broker_work::account_lookup w) {
        auto found = co_await outcome_of(cluster_->service_account_by_name(w.namespace_name, w.name));
        core_.asks().account_looked_up(w, std::move(found), time_.now());
        wake();
    }

    void set_timer(boot_time now) {
        const auto next = core_.asks().next_tick();
        if (next == timer_set_for_)
            return;
        timer_set_for_ = next;
        if (!next) {
            timer_.cancel();
            return;
        }
        timer_.expires_after(std::max(*next - now, boot_time::duration(0)));
        timer_.async_wait([this](const boost::system::error_code& problem) {
            if (problem)
                return; // set anew, or the service is gone
            timer_set_for_.reset();
            core_.asks().tick(time_.now());
            wake();
        });
    }

    asio::io_context& loop_;
    task_group& tasks_;
    const clock& time_;
    metrics::kubernetes_metrics& metrics_;
    const service_settings& settings_;
    std::function<void(delivery)> send_;
    connected_credentials credentials_;
    upstream_core core_;
    cluster* cluster_ = nullptr;
    presented_tokens* presented_ = nullptr;
    waiters credentials_changed_; // explanations that wait for an outcome
    std::function<void(std::vector<listened_pod>)> listened_changed_;
    bool listened_with_role_ = false;
    std::vector<listened_pod> listened_; // as told last
    std::function<std::optional<pod_listener_state>(const std::string&)> listener_state_;
    bool flush_posted_ = false;
    asio::steady_timer timer_;
    std::optional<boot_time> timer_set_for_;
};

class pod_feed final : public object_sink<pod> {
public:
    explicit pod_feed(upstream_half& to) : to_(to) {}
    void replaced(std::vector<pod> all) override { to_.pods().pods_replaced(std::move(all)); }
    void changed(pod p) override { to_.pods().pod_changed(std::move(p)); }
    void removed(const pod& p) override { to_.pods().pod_removed(p.uid); }

private:
    upstream_half& to_;
};

class account_feed final : public object_sink<service_account> {
public:
    explicit account_feed(upstream_half& to) : to_(to) {}
    void replaced(std::vector<service_account> all) override { to_.pods().accounts_replaced(std::move(all)); }
    void changed(service_account account) override { to_.pods().account_changed(std::move(account)); }
    void removed(const service_account& account) override { to_.pods().account_removed(account); }

private:
    upstream_half& to_;
};

imds_sessions::key random_key() {
    imds_sessions::key key{};
    fill_random_bytes(key);
    return key;
}

http_server_events count_connections(metrics::serving_metrics& metrics, logger& log, const clock& time) {
    http_server_events events;
    events.opened = [&metrics] { metrics.connection_opened(); };
    events.closed = [&metrics] { metrics.connection_closed(); };
    events.rejected = [&metrics](std::string_view reason) { metrics.rejected(reason); };
    events.handler_failed = log_handler_failures(log, time, "pods");
    return events;
}

class composed_service final : public service {
public:
    composed_service(asio::io_context& serving_loop, asio::io_context& upstream_loop,
                     task_group& upstream_tasks, const clock& time, random_source& random,
                     metrics::serving_metrics& serving_metrics,
                     metrics::kubernetes_metrics& kubernetes_metrics, logger& log, service_settings settings)
        : settings_(std::move(settings)),
          upstream_(upstream_loop, upstream_tasks, time, random, kubernetes_metrics, settings_,
                    [this, &serving_loop](delivery d) {
                        auto shared =
                            std::make_shared<delivery>(std::move(d)); // handlers are copied by the post
                        asio::post(serving_loop, [this, shared] { deliver(std::move(*shared)); });
                    }),
          handler_(settings_, random_key(), time, serving_metrics, log,
                   [this, &upstream_loop](ask a) {
                       auto shared = std::make_shared<ask>(std::move(a));
                       asio::post(upstream_loop, [this, shared] { upstream_.submit(std::move(*shared)); });
                   }),
          server_(make_http_server(serving_loop, time, handler_, settings_.http,
                                   count_connections(serving_metrics, log, time))) {}

    object_sink<pod>& pods() override { return pod_feed_; }
    object_sink<service_account>& service_accounts() override { return account_feed_; }
    const pod_chooser& chooser() const override { return upstream_.directory_now(); }
    void connect(cluster& c, presented_tokens* presented, sts::credential_service& credentials) override {
        upstream_.connect(c, presented, credentials);
    }
    void set_synced(bool synced) override { upstream_.set_synced(synced); }
    awaitable<std::vector<explain_step>> explain(std::string namespace_name, std::string pod_name) override {
        return upstream_.explain(std::move(namespace_name), std::move(pod_name));
    }

    void watch_listened_pods(bool only_with_role,
                             std::function<void(std::vector<listened_pod>)> changed) override {
        upstream_.watch_listened_pods(only_with_role, std::move(changed));
    }
    void
    explain_listeners(std::function<std::optional<pod_listener_state>(const std::string&)> state) override {
        upstream_.explain_listeners(std::move(state));
    }

    result<void> listen_for_pod(std::uint64_t key, std::string pod_uid, descriptor socket) override {
        return server_->listen(key,
                               {std::move(socket), std::make_shared<const std::string>(std::move(pod_uid))});
    }
    void close_listener(std::uint64_t key) override { server_->close_listener(key); }

    result<std::size_t> listen(const asio::ip::tcp::endpoint& where) override {
        return server_->listen_shared(where);
    }
    std::vector<asio::ip::tcp::endpoint> endpoints() const override { return server_->endpoints(); }
    awaitable<std::size_t> drain(std::chrono::milliseconds grace) override { return server_->drain(grace); }

private:
    void deliver(delivery d) {
        handler_.deliver(std::move(d), [this](const asio::ip::address& peer) { server_->close_peer(peer); });
    }

    const service_settings settings_;
    upstream_half upstream_;
    pod_feed pod_feed_{upstream_};
    account_feed account_feed_{upstream_};
    serving_handler handler_;
    std::unique_ptr<http_server> server_;
};

} // namespace

std::unique_ptr<service> make_service(asio::io_context& serving_loop, asio::io_context& upstream_loop,
                                      task_group& upstream_tasks, const clock& time, random_source& random,
                                      metrics::serving_metrics& serving_metrics,
                                      metrics::kubernetes_metrics& kubernetes_metrics, logger& log,
                                      service_settings settings) {
    return std::make_unique<composed_service>(serving_loop, upstream_loop, upstream_tasks, time, random,
                                              serving_metrics, kubernetes_metrics, log, std::move(settings));
}

} // namespace credlet::metadata
