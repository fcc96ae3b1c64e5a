#include "sts/credential_service.hpp"

#include "sts/expiry_board.hpp"
#include "sts/issuance.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

namespace credlet::sts {

namespace {

using std::chrono::nanoseconds;
using namespace std::chrono_literals;

// A failure that goes on is one line in this time per role; a denial, which somebody has to mend, is rarer
// still.
constexpr nanoseconds log_interval = 10s;
constexpr nanoseconds denial_log_interval = 60s;

// A maximum session duration may have been raised since it was found too low; one refused call tells.
constexpr nanoseconds short_duration_memory = 6h;

// Who failed to take in what has changed is told again after this.
constexpr nanoseconds tell_again = 1s;

// The timer runs on a clock that stands still while the machine sleeps; the store's does not.
constexpr nanoseconds longest_sleep = 1min;
// While the allowed rate recovers, its gauge follows at least this often.
constexpr nanoseconds gauge_interval = 1s;

bool is_denial(failure_kind kind) {
    return kind == failure_kind::denied || kind == failure_kind::misconfigured ||
           kind == failure_kind::unusable;
}

metrics::trigger trigger_of(call_reason r) {
    switch (r) {
    case call_reason::demand:
        return metrics::trigger::demand;
    case call_reason::renewal:
        return metrics::trigger::renewal;
    case call_reason::prefetch:
        break;
    }
    return metrics::trigger::prefetch;
}

} // namespace

struct credential_service::impl {
    impl(credential_service& o, const asio::any_io_executor& ex, task_group& t, const clock& c,
         random_source& random, client& cl, web_identity_tokens& tok, metrics::sts_metrics& m, logger& l,
         settings s)
        : owner(o),
          tasks(t),
          time(c),
          sts(cl),
          tokens(tok),
          metrics(m),
          log(l),
          config(s),
          store(s.store, random),
          wake(ex),
          board(m) {}

    credential_service& owner;
    task_group& tasks;
    const clock& time;
    client& sts;
    web_identity_tokens& tokens;
    metrics::sts_metrics& metrics;
    logger& log;
    const settings config;

    credential_store store;
    asio::steady_timer wake;
    bool woken = false;
    bool stopped = false;

    expiry_board board;
    log_sampler failures_logged{log_interval}, denials_logged{denial_log_interval};
    std::map<credential_key, last_call> last_calls;
    // Where the role's MaxSessionDuration is below what was asked for: until when to believe that.
    std::map<credential_key, boot_time> short_duration_until;
    std::set<credential_key> untold; // changed, and on_change has not returned with them yet

    awaitable<void> run();
    void pump();
    void announce(const std::vector<credential_key>& changed);
    [[nodiscard]] nanoseconds until_next() const;
    void kick() {
        woken = true;
        wake.cancel();
    }

    awaitable<void> carry_out(call c);
    void settle(const call& c, boot_time started, issuance done);
    void tell_of_issuance(const call& c, const credentials& issued);
    void remember_short_duration(const call& c);
    void log_failure(const call& c, const failure& f);
};

credential_service::credential_service(const asio::any_io_executor& executor, task_group& tasks,
                                       const clock& time, random_source& random, client& sts,
                                       web_identity_tokens& tokens, metrics::sts_metrics& metrics,
                                       logger& log, settings s)
    : impl_(std::make_unique<impl>(*this, executor, tasks, time, random, sts, tokens, metrics, log, s)) {
    tasks.spawn(impl_->run());
}

credential_service::~credential_service() = default;

void credential_service::retain(const credential_spec& spec, nanoseconds prefetch_delay) {
    impl_->store.retain(spec, impl_->time.now(), prefetch_delay);
    impl_->kick();
}

void credential_service::release(const credential_key& key) {
    impl_->store.release(key, impl_->time.now());
    impl_->kick();
}

void credential_service::demand(const credential_key& key, std::chrono::milliseconds patience) {
    const auto now = impl_->time.now();
    impl_->store.demand(key, now, now + patience);
    impl_->kick();
}

lookup_result credential_service::lookup(const credential_key& key) const {
    return impl_->store.lookup(key, impl_->time.now());
}

credential_store::counts credential_service::count() const { return impl_->store.count(impl_->time.now()); }

std::optional<credential_service::last_call> credential_service::history(const credential_key& key) const {
    const auto found = impl_->last_calls.find(key);
    return found == impl_->last_calls.end() ? std::nullopt : std::optional(found->second);
}

void credential_service::stop() {
    impl_->stopped = true;
    impl_->kick();
}

// The one place that acts on what the store decides: woken by the clock, by requests and by finished calls.
awaitable<void> credential_service::impl::run() {
    while (!stopped) {
        woken = false;
        try {
            pump();
        } catch (const std::exception& e) { // a bug in who is told of changes must not end all renewal
            log.error("an exception in the credential service", {{"error", std::string_view(e.what())}});
        }
        if (woken)
            continue; // somebody who was told of a change has asked for something already
        wake.expires_after(std::chrono::ceil<asio::steady_timer::duration>(until_next()));
        co_await wake.async_wait(as_result);
        const auto state = co_await asio::this_coro::cancellation_state;
        if (state.cancelled() != asio::cancellation_type::none)
            co_return;
    }
}

nanoseconds credential_service::impl::until_next() const {
    const auto now = time.now();
    const auto next = store.next_due(now);
    auto sleep = next ? std::min(*next - now, longest_sleep) : nanoseconds::max() / 2;
    if (!untold.empty())
        sleep = std::min(sleep, tell_again);
    if (store.allowed_rate(now) < config.store.calls_per_second)
        sleep = std::min(sleep, gauge_interval);
    return sleep;
}

void credential_service::impl::pump() {
    const auto now = time.now();
    for (auto& c : store.due(now))
        tasks.spawn(carry_out(std::move(c)));
    metrics.allowed_rate(store.allowed_rate(now));
    for (const auto& key : store.take_changed())
        untold.insert(key);
    if (untold.empty())
        return;
    announce({untold.begin(), untold.end()});
    untold.clear();
}

void credential_service::impl::announce(const std::vector<credential_key>& changed) {
    const auto now = time.now();
    for (const auto& key : changed) {
        const auto known = store.lookup(key, now);
        if (known.state == entry_state::absent) {
            last_calls.erase(key);
            short_duration_until.erase(key);
        }
        if (!known.usable)
            board.remove(key);
    }
    const auto counts = store.count(now);
    metrics.credentials(metrics::credential_state::fresh, counts.fresh);
    metrics.credentials(metrics::credential_state::renewing, counts.renewing);
    metrics.credentials(metrics::credential_state::stale, counts.stale);
    metrics.credentials(metrics::credential_state::failed, counts.failed);
    if (owner.on_change)
        owner.on_change(changed);
}

awaitable<void> credential_service::impl::carry_out(call c) {
    const auto started = time.now();
    const auto known = short_duration_until.find(c.key);
    const bool short_duration_only = known != short_duration_until.end() && started < known->second;
    issuance_request request{c.spec, c.fresh_token, short_duration_only, config.call_timeout};
    issuance done{.result = failure{}};
    // However this ends, the store hears of it: a call that is never finished would block its key for ever.
    try {
        done = co_await issue(sts, tokens, std::move(request));
    } catch (const std::exception& e) {
        failure f;
        f.kind = tasks.cancelled() ? failure_kind::cancelled : failure_kind::transient;
        f.code = tasks.cancelled() ? "Cancelled" : "InternalError";
        f.message = e.what();
        done.result = std::move(f);
    }
    settle(c, started, std::move(done));
}

void credential_service::impl::settle(const call& c, boot_time started, issuance done) {
    const auto now = time.now();
    auto problem = done.result.has_error() ? std::optional(done.result.error()) : std::nullopt;
    if (!problem)
        tell_of_issuance(c, *done.result);
    store.finish(c.id, std::move(done.result), now, done.sts_calls);

    const auto known = store.lookup(c.key, now);
    if (known.state != entry_state::absent) {
        if (!problem)
            problem = known.problem; // what STS issued may be no good
        last_calls.insert_or_assign(c.key, last_call{time.wall(), c.reason, problem, done.token_source});
        if (done.duration_refused)
            remember_short_duration(c);
    }
    if (known.usable)
        board.set(c.key, *c.spec, known.usable->expiration);
    metrics.refresh(trigger_of(c.reason), problem ? to_string(problem->kind) : "ok", now - started);
    if (problem)
        log_failure(c, *problem);
    kick();
}

// Also of what was dropped meanwhile: it was issued all the same.
void credential_service::impl::tell_of_issuance(const call& c, const credentials& issued) {
    try {
        if (owner.on_issued)
            owner.on_issued(*c.spec, issued, c.reason);
    } catch (const std::exception& e) {
        log.error("the audit of issued credentials failed", {{"error", std::string_view(e.what())}});
    }
}

void credential_service::impl::remember_short_duration(const call& c) {
    short_duration_until.insert_or_assign(c.key, time.now() + short_duration_memory);
    log.warn(
        "the role allows no session as long as asked for; using 3600 s. Raise the role's maximum session "
        "duration or lower the session-duration annotation",
        {{"namespace", c.spec->namespace_name},
         {"service_account", c.spec->service_account},
         {"role", c.spec->role_arn},
         {"duration_seconds", c.spec->duration.count()}});
}

void credential_service::impl::log_failure(const call& c, const failure& f) {
    if (f.kind == failure_kind::cancelled)
        return;
    const auto& spec = *c.spec;
    const auto kind = to_string(f.kind);
    std::string key = spec.namespace_name + '/' + spec.service_account + '/' + spec.final_role_arn() + '/';
    key += kind;
    auto& sampler = is_denial(f.kind) ? denials_logged : failures_logged;
    const auto verdict = sampler.admit(key, time.now().time_since_epoch());
    if (!verdict.write)
        return;
    log.warn("no credentials from STS", {{"namespace", spec.namespace_name},
                                         {"service_account", spec.service_account},
                                         {"role", spec.final_role_arn()},
                                         {"trigger", metrics::to_string(trigger_of(c.reason))},
                                         {"kind", kind},
                                         {"code", f.code},
                                         {"error", f.message},
                                         {"request_id", f.request_id},
                                         {"http_status", f.http_status},
                                         {"suppressed", verdict.suppressed}});
}

} // namespace credlet::sts
