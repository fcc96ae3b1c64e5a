#include "metadata/broker.hpp"

#include <algorithm>

namespace credlet::metadata {

namespace {

constexpr std::size_t max_checked_accounts = 4096;

answer refused_with(refusal why, boot_time until) {
    answer a;
    a.refused = why;
    a.refused_until = until;
    return a;
}

} // namespace

broker::broker(const service_settings& settings, directory& pods, const credential_board& board)
    : settings_(settings),
      directory_(pods),
      board_(board) {}

// ---- asks

void broker::submit(ask a, boot_time now) {
    asks_.emplace(a.id, waiting_ask{a.lacking, now, a.deadline, {}});
    deadlines_.emplace(a.deadline, a.id);
    switch (a.lacking.what) {
    case need::token:
        submit_token(std::move(a), now);
        break;
    case need::address:
        submit_address(a, now);
        break;
    case need::account:
        submit_account(a, now);
        break;
    case need::credentials:
        submit_credentials(a, now);
        break;
    }
    start_due(now);
}

void broker::submit_token(ask a, boot_time now) {
    auto& attempt = tokens_[a.lacking.digest];
    attempt.asks.insert(a.id);
    if (!attempt.running && !attempt.scheduled && !attempt.claims) {
        attempt.token = std::move(a.token);
        schedule(attempt, a.lacking.digest, now);
    }
}

void broker::submit_address(const ask& a, boot_time now) {
    if (directory_.pods().claim(a.lacking.address).kind != claim_kind::none)
        return end(a.id, {});
    auto& attempt = addresses_[a.lacking.address];
    attempt.asks.insert(a.id);
    if (!attempt.running && !attempt.scheduled &&
        (!attempt.done || now - *attempt.done >= lookup_again_after))
        schedule(attempt, a.lacking.address, now);
}

void broker::submit_account(const ask& a, boot_time now) {
    const auto p = directory_.known(a.lacking.pod_uid);
    if (!p || has_roles(a.lacking.pod_uid))
        return end(a.id, {});
    const account_name name{p->facts->namespace_name, p->facts->service_account};
    if (const auto checked = checked_accounts_.find(name); checked != checked_accounts_.end()) {
        if (now < checked->second)
            return end(a.id, refused_with(refusal::no_role, checked->second));
        checked_accounts_.erase(checked);
    }
    asks_.at(a.id).account = name;
    auto& attempt = accounts_[name];
    attempt.asks.insert(a.id);
    if (!attempt.running && !attempt.scheduled)
        schedule(attempt, name, now);
}

void broker::submit_credentials(const ask& a, boot_time now) {
    const auto ready = board_.find(a.lacking.key);
    if (!directory_.retains(a.lacking.key) || (ready && (ready->usable(now) || ready->denied(now))))
        return end(a.id, {});
    credentials_[a.lacking.key].insert(a.id);
    work_.demands.push_back({a.lacking.key, std::chrono::ceil<std::chrono::milliseconds>(
                                                std::max(a.deadline - now, boot_time::duration(0)))});
}

// ---- results

void broker::verified(const token_digest& digest, result<verified_token> outcome, boot_time now,
                      wall_time wall) {
    const auto found = tokens_.find(digest);
    if (found == tokens_.end())
        return; // nobody waits any more
    auto& attempt = found->second;
    attempt.running = false;
    if (outcome) {
        attempt.claims = std::move(*outcome);
        settle(digest, now, wall);
        return start_due(now);
    }
    const auto why = outcome.error().kind;
    // Before everything is listed it may be for an audience that is not known yet.
    if (why == errc::malformed || (why == errc::untrusted && synced_)) {
        const auto asks = std::move(attempt.asks);
        tokens_.erase(found);
        end_all(asks, refused_with(why == errc::malformed ? refusal::bad_token_form : refusal::bad_token,
                                   now + remember_bad_token));
    } else {
        again_or_forget(tokens_, found, now);
    }
    start_due(now);
}

// Whether a verified token's pod lives here and is what the token says: answers if that can be told by now.
void broker::settle(const token_digest& digest, boot_time now, wall_time wall) {
    const auto found = tokens_.find(digest);
    auto& attempt = found->second;
    const auto& claims = *attempt.claims;
    const auto finish = [&](const answer& a) {
        const auto asks = std::move(attempt.asks);
        tokens_.erase(found);
        end_all(asks, a);
    };
    const auto p = directory_.pods().by_uid(claims.pod_uid);
    if (!p) {
        const bool elsewhere = !claims.node_name.empty() && claims.node_name != settings_.node_name;
        if (elsewhere || attempt.pod_looked_up)
            finish(refused_with(refusal::pod_not_here, now + remember_unknown));
        else if (!attempt.running && !attempt.scheduled)
            schedule(attempt, digest, now); // its pod's lookup
        return;
    }
    if (p->terminal)
        return finish(refused_with(refusal::pod_not_here, now + remember_bad_token));
    const auto known = directory_.known(claims.pod_uid);
    const auto expires = now + (claims.expires - wall);
    const bool same_pod = p->namespace_name == claims.namespace_name && p->name == claims.pod_name &&
                          p->service_account == claims.service_account;
    const bool same_account =
        !known->grants || known->grants->service_account_uid == claims.service_account_uid;
    const bool accepted = directory_.accepts_audience(*known, claims.audiences);
    // Its service account may name the audience, once it is listed.
    const bool may_come_to_be = !accepted && !known->grants && !synced_;
    if (!same_pod || !same_account || expires <= now || (!accepted && !may_come_to_be))
        return finish(refused_with(refusal::bad_token, now + remember_bad_token));
    if (may_come_to_be)
        return;

    answer a;
    a.token.emplace();
    a.token->pod_uid = claims.pod_uid;
    a.token->namespace_name = claims.namespace_name;
    a.token->service_account = claims.service_account;
    a.token->service_account_uid = claims.service_account_uid;
    a.token->general_audience = directory_.accepts_audience({}, claims.audiences);
    if (!a.token->general_audience)
        a.token->audiences = claims.audiences;
    a.token->expires = expires;
    // While the annotations are not known, it may be what the token source needs.
    if (!known->grants || std::find(claims.audiences.begin(), claims.audiences.end(),
                                    known->grants->audience) != claims.audiences.end())
        work_.presentations.push_back({claims, std::move(attempt.token)});
    finish(a);
}

void broker::address_looked_up(const broker_work::address_lookup& work, result<std::vector<pod>> found,
                               boot_time now) {
    bool used = false;
    if (found) {
        std::erase_if(*found, [&](const pod& p) {
            return !settings_.node_name.empty() && p.node_name != settings_.node_name;
        });
        used = directory_.adopt_pods(work.ticket, std::move(*found));
    } else {
        directory_.abandon(work.ticket);
    }
    const auto waiting = addresses_.find(work.address);
    if (waiting == addresses_.end())
        return;
    waiting->second.running = false;
    if (!used || waiting->second.asks.empty())
        return again_or_forget(addresses_, waiting, now);
    waiting->second.done = now;
}

void broker::pod_looked_up(const broker_work::pod_lookup& work, result<std::optional<pod>> found,
                           boot_time now, wall_time wall) {
    bool used = false;
    if (found) {
        std::vector<pod> pods;
        if (*found && (settings_.node_name.empty() || (*found)->node_name == settings_.node_name))
            pods.push_back(std::move(**found));
        used = directory_.adopt_pods(work.ticket, std::move(pods));
    } else {
        directory_.abandon(work.ticket);
    }
    // An attempt may have ended meanwhile, because the watch told of the pod, and another one begun.
    const auto waiting = tokens_.find(work.digest);
    if (waiting == tokens_.end() || waiting->second.lookup != work.ticket)
        return;
    waiting->second.running = false;
    if (used) {
        waiting->second.pod_looked_up = true;
        settle(work.digest, now, wall);
        start_due(now);
    } else {
        again_or_forget(tokens_, waiting, now);
    }
}

void broker::account_looked_up(const broker_work::account_lookup& work,
                               result<std::optional<service_account>> found, boot_time now) {
    const bool listed = directory_.account(work.namespace_name, work.name) != nullptr;
    bool used = false;
    if (found)
        used = directory_.adopt_account(work.ticket, work.namespace_name, work.name, std::move(*found));
    else
        directory_.abandon(work.ticket);
    const auto waiting = accounts_.find({work.namespace_name, work.name});
    if (waiting == accounts_.end())
        return;
    auto& attempt = waiting->second;
    attempt.running = false;
    // With the API server away, what the watch has said of the service account is as good as it gets.
    const bool watch_will_do = !found && listed && synced_;
    if (!used && !watch_will_do)
        return again_or_forget(accounts_, waiting, now);
    const auto until = now + (found ? remember_no_role : remember_unknown);
    const auto asks = std::move(attempt.asks);
    accounts_.erase(waiting);
    bool without_role = false;
    for (const auto id : asks) {
        const bool roles = has_roles(asks_.at(id).lacking.pod_uid);
        without_role |= !roles;
        end(id, roles ? answer{} : refused_with(refusal::no_role, until));
    }
    if (without_role) {
        if (checked_accounts_.size() >= max_checked_accounts)
            checked_accounts_.clear();
        checked_accounts_[{work.namespace_name, work.name}] = until;
    }
}

void broker::directory_changed(boot_time now, wall_time wall) {
    // What an ask leaves may go with its last ask, so the asks to end are collected first.
    std::vector<std::uint64_t> served;
    for (const auto& [address, attempt] : addresses_)
        if (directory_.pods().claim(address).kind != claim_kind::none)
            served.insert(served.end(), attempt.asks.begin(), attempt.asks.end());
    for (const auto& [name, attempt] : accounts_)
        for (const auto id : attempt.asks)
            if (const auto& uid = asks_.at(id).lacking.pod_uid; !directory_.known(uid) || has_roles(uid))
                served.push_back(id);
    for (const auto& [key, asks] : credentials_)
        if (!directory_.retains(key))
            served.insert(served.end(), asks.begin(), asks.end());
    for (const auto id : served)
        end(id, {});

    std::vector<token_digest> verified_ones;
    for (const auto& [digest, attempt] : tokens_)
        if (attempt.claims)
            verified_ones.push_back(digest);
    for (const auto& digest : verified_ones)
        settle(digest, now, wall);
    start_due(now);
}

void broker::credentials_changed(const std::vector<sts::credential_key>& keys, boot_time now) {
    for (const auto& key : keys) {
        const auto waiting = credentials_.find(key);
        const auto ready = board_.find(key);
        if (waiting == credentials_.end() || !ready || !(ready->usable(now) || ready->denied(now)))
            continue;
        end_all(credentials_.extract(waiting).mapped(), {});
    }
}

// ---- time

void broker::tick(boot_time now) {
    while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
        const auto id = deadlines_.begin()->second;
        const auto why = overdue(asks_.at(id));
        end(id, refused_with(why, why == refusal::unknown_address ? now + remember_unknown : now));
    }
    start_due(now);
}

// What to say when nothing came in time.
refusal broker::overdue(const waiting_ask& w) const {
    if (w.lacking.what == need::credentials) {
        const auto ready = board_.find(w.lacking.key);
        return ready && ready->throttled ? refusal::throttled : refusal::unavailable;
    }
    if (!synced_)
        return refusal::not_synced;
    // An address is condemned after a long wait only: a new pod's is often published later than an IMDS
    // caller can wait, and the verdict would end the waits of others, too.
    if (w.lacking.what == need::address && w.deadline - w.since >= settings_.ecs_hold / 2) {
        const auto found = addresses_.find(w.lacking.address);
        if (found != addresses_.end() && found->second.done)
            return refusal::unknown_address;
    }
    return refusal::unavailable;
}

void broker::schedule(attempt& what, start_key key, boot_time when) {
    what.scheduled = true;
    starts_.emplace(when, std::move(key));
}

template <class Attempts>
void broker::again_or_forget(Attempts& attempts, typename Attempts::iterator at, boot_time now) {
    if (at->second.asks.empty())
        attempts.erase(at);
    else if (!at->second.scheduled)
        schedule(at->second, at->first, now + retry_after);
}

void broker::start_due(boot_time now) {
    while (!starts_.empty() && starts_.begin()->first <= now) {
        const auto key = starts_.extract(starts_.begin()).mapped();
        std::visit([&](const auto& k) { start(k, now); }, key);
    }
}

void broker::start(const token_digest& digest, boot_time now) {
    const auto found = tokens_.find(digest);
    if (found == tokens_.end() || !found->second.scheduled)
        return; // nobody waits any more
    auto& attempt = found->second;
    attempt.scheduled = false;
    if (attempt.claims && !take_lookup(now))
        return schedule(attempt, digest, next_lookup());
    attempt.running = true;
    if (!attempt.claims) {
        work_.verifications.push_back({digest, attempt.token.copy(), directory_.accepted_audiences()});
        return;
    }
    attempt.lookup = directory_.begin_lookup();
    work_.pods.push_back({digest, attempt.claims->namespace_name, attempt.claims->pod_name, attempt.lookup});
}

void broker::start(const address_key& address, boot_time now) {
    const auto found = addresses_.find(address);
    if (found == addresses_.end() || !found->second.scheduled)
        return;
    found->second.scheduled = false;
    if (!take_lookup(now))
        return schedule(found->second, address, next_lookup());
    found->second.running = true;
    work_.addresses.push_back({address, directory_.begin_lookup()});
}

void broker::start(const account_name& name, boot_time) {
    const auto found = accounts_.find(name);
    if (found == accounts_.end() || !found->second.scheduled)
        return;
    found->second.scheduled = false;
    found->second.running = true;
    work_.accounts.push_back({name.first, name.second, directory_.begin_lookup()});
}

bool broker::take_lookup(boot_time now) {
    if (now > lookups_counted_)
        lookups_left_ =
            std::min(lookups_per_second,
                     lookups_left_ +
                         lookups_per_second * std::chrono::duration<double>(now - lookups_counted_).count());
    lookups_counted_ = now;
    if (lookups_left_ < 1)
        return false;
    lookups_left_ -= 1;
    return true;
}

boot_time broker::next_lookup() const {
    const std::chrono::duration<double> wait(std::max(0.0, 1 - lookups_left_) / lookups_per_second);
    // A millisecond more, so that rounding does not bring us back too early for ever.
    return lookups_counted_ + std::chrono::ceil<std::chrono::milliseconds>(wait) +
           std::chrono::milliseconds(1);
}

std::optional<boot_time> broker::next_tick() const {
    std::optional<boot_time> next;
    if (!deadlines_.empty())
        next = deadlines_.begin()->first;
    if (!starts_.empty() && (!next || starts_.begin()->first < *next))
        next = starts_.begin()->first;
    return next;
}

bool broker::has_roles(const std::string& pod_uid) const {
    const auto p = directory_.known(pod_uid);
    return p && metadata::has_roles(*p);
}

// Answers one ask and takes it out of what it waited for.
void broker::end(std::uint64_t id, answer a) {
    const auto found = asks_.find(id);
    if (found == asks_.end())
        return;
    const auto& w = found->second;
    const auto leave = [&](auto& attempts, const auto& key) {
        const auto at = attempts.find(key);
        if (at == attempts.end())
            return;
        at->second.asks.erase(id);
        if (at->second.asks.empty() && !at->second.running)
            attempts.erase(at);
    };
    switch (w.lacking.what) {
    case need::token:
        leave(tokens_, w.lacking.digest);
        break;
    case need::address:
        leave(addresses_, w.lacking.address);
        break;
    case need::account:
        leave(accounts_, w.account);
        break;
    case need::credentials:
        if (const auto at = credentials_.find(w.lacking.key); at != credentials_.end()) {
            at->second.erase(id);
            if (at->second.empty())
                credentials_.erase(at);
        }
        break;
    }
    deadlines_.erase({w.deadline, id});
    asks_.erase(found);
    a.id = id;
    answers_.push_back(std::move(a));
}

void broker::end_all(const std::set<std::uint64_t>& ids, const answer& a) {
    for (const auto id : ids)
        end(id, a);
}

} // namespace credlet::metadata
