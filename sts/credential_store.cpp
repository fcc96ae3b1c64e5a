#include "sts/credential_store.hpp"

#include "sts/call_governor.hpp"
#include "sts/credential_entry.hpp"

#include <algorithm>
#include <set>
#include <stdexcept>

namespace credlet::sts {

namespace {

struct held {
    credential_entry entry;
    std::uint64_t order;    // of arrival: decides between equal times
    std::uint64_t call = 0; // in flight; 0: none
    // Where it stands in the agenda and in the queues, to find it again.
    std::optional<boot_time> woken_at;
    std::optional<call_reason> queued_as;
    boot_time queued_since{};
};
using node = std::map<credential_key, held>::value_type; // stays where it is while others come and go

struct place {
    boot_time at;
    std::uint64_t order;
    node* who;
    friend bool operator<(const place& a, const place& b) {
        return a.at != b.at ? a.at < b.at : a.order < b.order;
    }
};

struct flight {
    credential_key key;
    boot_time started;
    unsigned calls; // that leave was taken for
};

bool is_refusal(const failure& f) {
    switch (f.kind) {
    case failure_kind::token_rejected:
    case failure_kind::denied:
    case failure_kind::misconfigured:
    case failure_kind::unusable:
        return true;
    case failure_kind::no_token:
        return f.definitive;
    case failure_kind::transient:
    case failure_kind::throttled:
    case failure_kind::cancelled:
        break;
    }
    return false;
}

bool is_silence(const failure& f) {
    return f.kind == failure_kind::transient || f.kind == failure_kind::throttled;
}

governor_settings governing(const store_settings& s) {
    return {s.calls_per_second, s.burst, s.max_in_flight, s.min_calls_per_second, s.recovery_per_second};
}

} // namespace

struct credential_store::impl {
    impl(store_settings s, random_source& r) : settings(s), random(r), governor(governing(s)) {}

    const store_settings settings;
    random_source& random;
    call_governor governor;
    std::map<credential_key, held> entries;
    std::map<std::uint64_t, flight> flights; // also of keys dropped meanwhile
    std::set<place> agenda;                  // by the next time something changes by itself
    std::array<std::set<place>, 3> waiting;  // for their turn, by standing, longest first
    std::set<credential_key> changed;
    std::uint64_t last_order = 0, last_call = 0;

    void remove_from_schedule(node& n) {
        auto& h = n.second;
        if (h.queued_as)
            waiting[static_cast<std::size_t>(*h.queued_as)].erase({h.queued_since, h.order, &n});
        if (h.woken_at)
            agenda.erase({*h.woken_at, h.order, &n});
        h.queued_as.reset();
        h.woken_at.reset();
    }

    // To be called after each change of the entry, and when a demand has lapsed.
    void reschedule(node& n, boot_time now) {
        auto& h = n.second;
        const bool was_waiting = h.queued_as.has_value();
        remove_from_schedule(n);
        auto wake = h.entry.next_change(now, settings);
        if (h.call == 0) {
            const auto attempt = h.entry.attempt_at();
            if (attempt <= now) {
                h.queued_as = h.entry.standing(now, settings);
                h.queued_since = attempt;
                waiting[static_cast<std::size_t>(*h.queued_as)].insert({attempt, h.order, &n});
                if (!was_waiting)
                    changed.insert(n.first); // fresh credentials are to be renewed from now on
            } else {
                wake = wake ? std::min(*wake, attempt) : attempt;
            }
        }
        if (wake) {
            h.woken_at = wake;
            agenda.insert({*wake, h.order, &n});
        }
    }

    // Whose turn it is. A caller who has stopped waiting gives no priority any more.
    node* next_in_line(boot_time now) {
        for (std::size_t c = 0; c < waiting.size(); ++c) {
            while (!waiting[c].empty()) {
                node& n = *waiting[c].begin()->who;
                if (n.second.entry.standing(now, settings) == static_cast<call_reason>(c))
                    return &n;
                reschedule(n, now);
            }
        }
        return nullptr;
    }

    call start(node& n, boot_time now) {
        auto& [key, h] = n;
        h.call = ++last_call;
        h.entry.start(now);
        flights.emplace(h.call, flight{key, now, h.entry.spec()->calls_needed()});
        changed.insert(key);
        reschedule(n, now);
        return {key, h.entry.spec(), h.call, h.entry.reason(now), h.entry.wants_fresh_token()};
    }
};

credential_store::credential_store(store_settings settings, random_source& random)
    : impl_(std::make_unique<impl>(settings, random)) {}
credential_store::~credential_store() = default;

void credential_store::retain(const credential_spec& spec, boot_time now,
                              std::chrono::nanoseconds prefetch_delay) {
    const auto key = spec.key();
    if (impl_->entries.contains(key))
        return;
    held h{credential_entry(std::make_shared<const credential_spec>(spec), now + prefetch_delay),
           ++impl_->last_order,
           0,
           {},
           {},
           {}};
    // A call may still be under way from when the key was last retained: what it brings is exactly what is
    // wanted now, since the key says all about whose credentials they are and what for.
    for (const auto& [id, f] : impl_->flights)
        if (f.key == key)
            h.call = id;
    const auto added = impl_->entries.emplace(key, std::move(h)).first;
    impl_->changed.insert(key);
    impl_->reschedule(*added, now);
}

void credential_store::release(const credential_key& key, boot_time) {
    const auto found = impl_->entries.find(key);
    if (found == impl_->entries.end())
        return;
    impl_->remove_from_schedule(*found);
    impl_->entries.erase(found);
    impl_->changed.insert(key);
}

void credential_store::demand(const credential_key& key, boot_time now, boot_time until) {
    const auto found = impl_->entries.find(key);
    if (found == impl_->entries.end())
        return;
    found->second.entry.demand(now, until);
    impl_->reschedule(*found, now);
}

std::vector<call> credential_store::due(boot_time now) {
    auto& agenda = impl_->agenda;
    while (!agenda.empty() && agenda.begin()->at <= now) {
        node& n = *agenda.begin()->who;
        n.second.entry.elapse(now);
        impl_->changed.insert(n.first);
        impl_->reschedule(n, now);
    }
    std::vector<call> calls;
    while (node* n = impl_->next_in_line(now)) {
        if (!impl_->governor.try_start(now, n->second.entry.spec()->calls_needed()))
            break;
        calls.push_back(impl_->start(*n, now));
    }
    return calls;
}

std::optional<boot_time> credential_store::next_due(boot_time now) const {
    std::optional<boot_time> next;
    if (!impl_->agenda.empty())
        next = impl_->agenda.begin()->at;
    const auto& waiting = impl_->waiting;
    if (std::any_of(waiting.begin(), waiting.end(), [](const auto& w) { return !w.empty(); }))
        if (const auto start = impl_->governor.next_start(now))
            next = next ? std::min(*next, *start) : *start;
    return next ? std::max(*next, now) : next;
}

void credential_store::finish(std::uint64_t call_id, outcome<credentials> result, boot_time now,
                              unsigned sts_calls) {
    const auto flown = impl_->flights.find(call_id);
    if (flown == impl_->flights.end())
        return;
    const auto [key, started, calls] = flown->second;
    impl_->flights.erase(flown);
    impl_->governor.charge(static_cast<int>(sts_calls) - static_cast<int>(calls), now);
    impl_->governor.finished(started, result.has_error() && result.error().kind == failure_kind::throttled,
                             now);

    const auto found = impl_->entries.find(key);
    if (found == impl_->entries.end())
        return;
    auto& h = found->second;
    h.call = 0;
    if (result.has_value())
        h.entry.succeed(*std::move(result), now, impl_->settings, impl_->random);
    else
        h.entry.fail(std::move(result).error(), now, impl_->settings, impl_->random);
    impl_->changed.insert(key);
    impl_->reschedule(*found, now);
}

lookup_result credential_store::lookup(const credential_key& key, boot_time now) const {
    const auto found = impl_->entries.find(key);
    return found == impl_->entries.end() ? lookup_result{}
                                         : found->second.entry.answer(now, found->second.call != 0);
}

std::vector<credential_key> credential_store::take_changed() {
    std::vector<credential_key> keys(impl_->changed.begin(), impl_->changed.end());
    impl_->changed.clear();
    return keys;
}

credential_store::counts credential_store::count(boot_time now) const {
    counts c;
    for (const auto& [key, h] : impl_->entries) {
        switch (h.entry.state(now, h.call != 0)) {
        case entry_state::fresh:
            ++c.fresh;
            break;
        case entry_state::renewing:
            ++c.renewing;
            break;
        case entry_state::stale:
            ++c.stale;
            break;
        case entry_state::failed:
            ++c.failed;
            c.refused += is_refusal(*h.entry.problem()) ? 1 : 0;
            c.unanswered += is_silence(*h.entry.problem()) ? 1 : 0;
            break;
        case entry_state::pending:
            ++c.pending;
            break;
        case entry_state::absent:
            break;
        }
    }
    return c;
}

double credential_store::allowed_rate(boot_time now) const { return impl_->governor.allowed_rate(now); }

} // namespace credlet::sts
