#include "metadata/serving_handler.hpp"

#include "metadata/rejection_reasons.hpp"

#include <array>

namespace credlet::metadata {

namespace {

// Upstream answers by the deadline; this is for an upstream loop that is stuck.
constexpr std::chrono::milliseconds answer_grace{100};
// A request gets through in three or four rounds (token, pod, account, credentials). More is a bug, not a
// reason to let two threads play ball for ever.
constexpr int max_rounds = 16;

bool about_identity(std::string_view why) {
    constexpr std::array reasons{reason::bad_token,        reason::pod_not_here,    reason::identity_mismatch,
                                 reason::identity_changed, reason::unknown_address, reason::host_network,
                                 reason::address_conflict, reason::missing_token,   reason::bad_token_form,
                                 reason::bad_token_limit,  reason::foreign_role,    reason::role_policy,
                                 reason::forwarded,        reason::browser,         reason::wrong_host};
    return std::find(reasons.begin(), reasons.end(), why) != reasons.end();
}

caller caller_of(const connection_info& connection) {
    return {address_key(connection.peer), connection.local.address(), connection.owner.get()};
}

} // namespace

// Counts a waiting request in, and out again whatever becomes of it.
struct serving_handler::waiting_place {
    waiting_place(serving_handler& h, std::uint64_t id_, std::uint64_t peer_, waiter& w)
        : handler(h),
          id(id_),
          peer(peer_) {
        handler.waiters_.emplace(id, &w);
        ++handler.waiting_of_peer_[peer];
    }
    waiting_place(const waiting_place&) = delete;
    waiting_place& operator=(const waiting_place&) = delete;
    ~waiting_place() {
        handler.waiters_.erase(id);
        const auto of_peer = handler.waiting_of_peer_.find(peer);
        if (--of_peer->second == 0)
            handler.waiting_of_peer_.erase(of_peer);
    }

    serving_handler& handler;
    std::uint64_t id, peer;
};

serving_handler::serving_handler(const service_settings& settings, const imds_sessions::key& session_key,
                                 const clock& time, metrics::serving_metrics& metrics, logger& log,
                                 std::function<void(ask)> send)
    : settings_(settings),
      time_(time),
      metrics_(metrics),
      log_(log),
      send_(std::move(send)),
      core_(settings, session_key) {}

reply_ptr serving_handler::answer_now(const request_head& head, const connection_info& connection) {
    const auto started = time_.now();
    const auto facts = read_facts(head);
    const caller from = caller_of(connection);
    // The date stands in one reply alone; asking for it each time would cost more than looking the caller up.
    const auto wall = facts.what.where == route::imds_info || facts.what.where == route::imds_document
                          ? time_.wall()
                          : wall_time();
    auto s = core_.begin(facts, from, started, wall);
    if (s.reply)
        finished(facts, s, connection, metrics::outcome::hit, started);
    return std::move(s.reply);
}

awaitable<reply_ptr> serving_handler::answer_later(std::unique_ptr<owned_request> request,
                                                   connection_info connection) {
    const auto started = time_.now();
    const auto facts = read_facts(request->head);
    const caller from = caller_of(connection);
    const auto deadline = started + hold(facts.what.where);
    progress so_far;
    step s;
    for (int round = 0; round < max_rounds; ++round) {
        const auto now = time_.now();
        s = core_.resume(facts, from, now, time_.wall(), so_far);
        if (s.reply)
            break;
        if (now >= deadline)
            break;
        if (waiters_.size() >= settings_.max_waiting) {
            s = {core_.replies().too_many_waiting, std::nullopt, reason::too_many_waiting, nullptr};
            break;
        }
        const auto of_peer = waiting_of_peer_.find(from.limit_key());
        if (of_peer != waiting_of_peer_.end() && of_peer->second >= settings_.max_waiting_per_pod) {
            s = {core_.replies().too_many_waiting_of_peer, std::nullopt, reason::too_many_waiting, nullptr};
            break;
        }

        ask question;
        question.id = next_id_++;
        question.lacking = *s.lacking;
        question.deadline = deadline;
        if (s.lacking->what == need::token)
            question.token = secret_string(facts.token);
        asio::steady_timer wake(co_await asio::this_coro::executor);
        wake.expires_after(deadline - now + answer_grace);
        waiter w{&wake, std::nullopt};
        const waiting_place place(*this, question.id, from.limit_key(), w);
        send_(std::move(question));
        co_await wake.async_wait(as_result);
        const auto state = co_await asio::this_coro::cancellation_state;
        if (state.cancelled() != asio::cancellation_type::none || !w.came) {
            core_.give_up(*s.lacking);
            break;
        }
        core_.learn(*s.lacking, std::move(*w.came), so_far);
    }
    if (!s.reply) {
        s.reply = core_.current().synced ? core_.replies().unavailable : core_.replies().uninitialized;
        s.reason = core_.current().synced ? reason::unavailable : reason::not_synced;
        s.pod = nullptr; // a view may have come since it was set
    }
    finished(facts, s, connection, metrics::outcome::wait, started);
    co_return std::move(s.reply);
}

reply_ptr serving_handler::answer_fault(request_fault fault, const connection_info&) {
    auto reply =
        render_error(status_of(fault), "BadRequest",
                     "The request is not well-formed HTTP, or has a body: " + std::string(to_string(fault)));
    metrics_.rejected(to_string(fault));
    metrics_.request(metrics::protocol::other, reply->status(), metrics::outcome::error,
                     std::chrono::nanoseconds(0));
    return reply;
}

void serving_handler::deliver(delivery d, const std::function<void(const asio::ip::address&)>& close_peer) {
    if (d.new_view)
        for (const auto& address : core_.apply(std::move(d.new_view)))
            close_peer(address);
    for (auto& a : d.answers) {
        const auto found = waiters_.find(a.id);
        if (found == waiters_.end())
            continue; // too late, or the caller is gone
        found->second->came = std::move(a);
        found->second->wake->cancel();
    }
}

void serving_handler::finished(const request_facts& facts, const step& s, const connection_info& connection,
                               metrics::outcome served_as, boot_time started) {
    const auto now = time_.now();
    const unsigned status = s.reply->status();
    metrics_.request(protocol_of(facts.what.where), status,
                     status >= 400 ? metrics::outcome::error : served_as, now - started);
    if (s.reason.empty())
        return;
    metrics_.rejected(s.reason);
    if (!about_identity(s.reason) || !log_.enabled(log_level::warn))
        return;
    const auto peer = shown_peer(connection);
    const auto verdict = sampler_.admit(std::string(s.reason) + " " + peer, now.time_since_epoch());
    if (!verdict.write)
        return;
    const std::string_view nobody;
    log_.write(log_level::warn, "request refused",
               {{"event", std::string_view("refused")},
                {"reason", s.reason},
                {"status", status},
                {"peer", peer},
                {"namespace", s.pod != nullptr ? std::string_view(s.pod->facts->namespace_name) : nobody},
                {"pod", s.pod != nullptr ? std::string_view(s.pod->facts->name) : nobody},
                {"suppressed", verdict.suppressed}});
}

// Who asked, as far as the connection tells. A pod can come to its own listener from any loopback address.
std::string serving_handler::shown_peer(const connection_info& connection) const {
    if (!connection.owner)
        return connection.peer.to_string();
    const auto& pods = core_.current().identity->by_uid;
    const auto found = pods.find(*connection.owner);
    if (found == pods.end())
        return "pod of uid " + *connection.owner;
    return "pod " + found->second->facts->namespace_name + "/" + found->second->facts->name;
}

std::chrono::milliseconds serving_handler::hold(route r) const {
    return is_imds(r) ? settings_.imds_hold : settings_.ecs_hold;
}

} // namespace credlet::metadata
