#include "sts/credential_entry.hpp"

#include "sts/backoff.hpp"

#include <algorithm>
#include <utility>

namespace credlet::sts {

namespace {

using std::chrono::nanoseconds;
using namespace std::chrono_literals;

// STS issues for at least 15 minutes. Its dates are whole seconds and its answer took its time, so what is
// meant as 15 minutes can arrive as a little less; what is below this is a fault.
constexpr nanoseconds short_lived = 14min;

// However many callers come: no more tries of one key than there is room for in tries_, within any such time.
constexpr nanoseconds tries_count_for = 1s;

// STS cannot ask for more patience than this.
constexpr nanoseconds max_retry_after = 30s;

nanoseconds share_of(nanoseconds whole, double share) {
    return nanoseconds(static_cast<nanoseconds::rep>(static_cast<double>(whole.count()) * share));
}

} // namespace

bool credential_entry::usable(boot_time now) const {
    return current_ && now < current_->expires - serve_until_before_expiry;
}

void credential_entry::demand(boot_time now, boot_time until) {
    if (usable(now) || (definitive_until_ && now < *definitive_until_))
        return;
    asked_ = true;
    demand_until_ = std::max(demand_until_, until);
    attempt_at_ = std::min(attempt_at_, std::max(now, demand_not_before_));
}

call_reason credential_entry::reason(boot_time now) const {
    if (now < demand_until_)
        return call_reason::demand;
    return issued_before_ ? call_reason::renewal : call_reason::prefetch;
}

call_reason credential_entry::standing(boot_time now, const store_settings& s) const {
    return current_ && now >= urgent_from(s) ? call_reason::demand : reason(now);
}

boot_time credential_entry::urgent_from(const store_settings& s) const {
    return current_->fetched + share_of(current_->expires - current_->fetched, s.urgent_at);
}

void credential_entry::start(boot_time now) {
    std::shift_left(tries_.begin(), tries_.end(), 1);
    tries_.back() = now;
}

void credential_entry::succeed(credentials issued, boot_time now, const store_settings& s,
                               random_source& random) {
    if (issued.expires - now <= serve_until_before_expiry) {
        failure f;
        f.code = "ExpiredCredentials";
        f.message = "STS answered with credentials that have expired or are about to; check STS's clock and "
                    "this node's";
        return fail(std::move(f), now, s, random);
    }
    problem_.reset();
    failures_ = 0;
    asked_ = false;
    token_rejection_.reset();
    first_denial_.reset();
    definitive_until_.reset();
    demand_until_ = {};
    issued_before_ = true;

    // Never sooner than this, whatever STS says about the life of what it sends.
    const auto earliest = now + s.min_refetch_of_short_lived;
    const auto life = issued.expires - issued.fetched;
    const auto refresh =
        issued.fetched + share_of(life, s.refresh_at + s.refresh_jitter * (2 * random.unit() - 1));
    attempt_at_ = life < short_lived ? earliest : std::max(refresh, earliest);
    // A caller who finds nothing left of a life this short waits no longer than a failure would make him
    // wait.
    const auto line = issued.expires - serve_until_before_expiry;
    demand_not_before_ = std::min<boot_time>(earliest, std::max<boot_time>(line, now + s.demand_backoff_max));

    // An answer of an STS gone wrong must not replace what lasts longer.
    if (!usable(now) || issued.expires >= current_->expires)
        current_ = std::make_shared<const credentials>(std::move(issued));
}

void credential_entry::fail(failure f, boot_time now, const store_settings& s, random_source& random) {
    ++failures_;
    if (f.kind == failure_kind::no_token && token_rejection_) {
        // There is no other token, so what STS said of the one there is stands. That one is tried again then:
        // the cure may be at the identity provider's end.
        problem_ = std::exchange(token_rejection_, std::nullopt);
        return fail_definitively(false, now, s, random);
    }
    problem_ = std::move(f);
    switch (problem_->kind) {
    case failure_kind::token_rejected:
        if (std::exchange(token_rejection_, problem_))
            return fail_definitively(false, now, s, random);
        // Perhaps the token was just too old: at once, with a new one.
        attempt_at_ = demand_not_before_ = std::max<boot_time>(now, tries_.front() + tries_count_for);
        return;
    case failure_kind::denied:
        token_rejection_.reset();
        return fail_definitively(true, now, s, random);
    case failure_kind::misconfigured:
    case failure_kind::unusable:
        token_rejection_.reset();
        return fail_definitively(false, now, s, random);
    case failure_kind::no_token:
        if (problem_->definitive)
            return fail_definitively(false, now, s, random);
        break;
    case failure_kind::transient:
    case failure_kind::throttled:
    case failure_kind::cancelled:
        break;
    }
    back_off(problem_->retry_after, now, s, random);
}

void credential_entry::back_off(std::optional<std::chrono::milliseconds> retry_after, boot_time now,
                                const store_settings& s, random_source& random) {
    const auto not_before =
        std::max<boot_time>(now + std::clamp<nanoseconds>(retry_after.value_or(0ms), 0ns, max_retry_after),
                            tries_.front() + tries_count_for);
    // The first caller does not pay for what failed while nobody asked.
    const auto soon =
        asked_ ? full_jitter(s.demand_backoff_base, s.demand_backoff_max, failures_, random) : 0ns;
    const auto later = full_jitter(s.background_backoff_base, s.background_backoff_max, failures_, random);
    demand_not_before_ = std::max(now + soon, not_before);
    attempt_at_ = now < demand_until_ ? demand_not_before_ : std::max(now + later, not_before);
}

void credential_entry::fail_definitively(bool denied, boot_time now, const store_settings& s,
                                         random_source& random) {
    definitive_until_ = now + s.denial_memory;
    demand_until_ = {};
    demand_not_before_ = *definitive_until_;
    // Unasked, only as often as it takes for a corrected policy to be noticed some time.
    attempt_at_ = now + share_of(s.background_backoff_max, 0.75 + 0.25 * random.unit());

    // Only a denial says that the role is not ours any more; the other kinds say that we cannot ask properly,
    // which is no reason to take away what works.
    if (!denied || !usable(now))
        return;
    if (first_denial_ && now - *first_denial_ >= s.second_denial_after) {
        current_.reset();
        return;
    }
    if (!first_denial_)
        first_denial_ = now;
    attempt_at_ = now + share_of(s.second_denial_after, 1 + 0.5 * random.unit());
}

void credential_entry::elapse(boot_time now) {
    if (!usable(now))
        current_.reset();
    if (definitive_until_ && now >= *definitive_until_)
        definitive_until_.reset();
}

std::optional<boot_time> credential_entry::next_change(boot_time now, const store_settings& s) const {
    std::optional<boot_time> at = definitive_until_;
    if (current_) {
        const auto line = current_->expires - serve_until_before_expiry;
        const auto next = now < urgent_from(s) ? std::min(urgent_from(s), line) : line;
        at = at ? std::min(*at, next) : next;
    }
    return at;
}

entry_state credential_entry::state(boot_time now, bool in_flight) const {
    const bool served = usable(now);
    if (problem_)
        return served ? entry_state::stale : entry_state::failed;
    if (!served)
        return entry_state::pending;
    return in_flight || now >= attempt_at_ ? entry_state::renewing : entry_state::fresh;
}

lookup_result credential_entry::answer(boot_time now, bool in_flight) const {
    lookup_result r;
    r.state = state(now, in_flight);
    if (usable(now))
        r.usable = current_;
    r.problem = problem_;
    r.problem_is_definitive = definitive_until_ && now < *definitive_until_;
    r.problem_until = definitive_until_.value_or(boot_time{});
    return r;
}

} // namespace credlet::sts
