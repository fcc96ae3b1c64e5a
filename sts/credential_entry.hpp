#pragma once
// What the store knows about one key, and the rules that look at one key alone: what a result means, when to
// ask again, what to answer. No I/O, no other keys; the store (sts/credential_store.hpp) decides whose turn
// it is.

#include "sts/credential_store.hpp"

#include <array>

namespace credlet::sts {

class credential_entry {
public:
    // The first call is not wanted before first_attempt.
    credential_entry(std::shared_ptr<const credential_spec> spec, boot_time first_attempt)
        : spec_(std::move(spec)),
          attempt_at_(first_attempt) {}

    // A caller waits until then. Nothing comes of it while a definitive answer is remembered or credentials
    // can be served: nobody has to wait then.
    void demand(boot_time now, boot_time until);

    // A call starts now; succeed or fail follows.
    void start(boot_time now);
    void succeed(credentials issued, boot_time now, const store_settings& s, random_source& random);
    void fail(failure f, boot_time now, const store_settings& s, random_source& random);

    // Lets go of credentials in their last minute and forgets what is remembered only so long.
    void elapse(boot_time now);
    // When elapse() next has something to do, or standing() changes by itself.
    [[nodiscard]] std::optional<boot_time> next_change(boot_time now, const store_settings& s) const;

    // When the next call is wanted; always some time, as long as somebody is entitled.
    [[nodiscard]] boot_time attempt_at() const { return attempt_at_; }
    // What the next call is for.
    [[nodiscard]] call_reason reason(boot_time now) const;
    // With whom it waits for its turn: as the reason has it, but a renewal that is urgent stands with the
    // callers.
    [[nodiscard]] call_reason standing(boot_time now, const store_settings& s) const;
    [[nodiscard]] bool wants_fresh_token() const { return token_rejection_.has_value(); }
    [[nodiscard]] const std::shared_ptr<const credential_spec>& spec() const { return spec_; }

    // What the last call came to, if it failed.
    [[nodiscard]] const std::optional<failure>& problem() const { return problem_; }

    [[nodiscard]] entry_state state(boot_time now, bool in_flight) const;
    [[nodiscard]] lookup_result answer(boot_time now, bool in_flight) const;

private:
    [[nodiscard]] bool usable(boot_time now) const;
    [[nodiscard]] boot_time urgent_from(const store_settings& s) const; // only where there is current_
    void fail_definitively(bool denied, boot_time now, const store_settings& s, random_source& random);
    void back_off(std::optional<std::chrono::milliseconds> retry_after, boot_time now,
                  const store_settings& s, random_source& random);

    std::shared_ptr<const credential_spec> spec_;
    credentials_ptr current_;
    bool issued_before_ = false;

    // Since the last success.
    std::optional<failure> problem_;
    unsigned failures_ = 0;
    bool asked_ = false;                     // by a caller
    std::optional<failure> token_rejection_; // STS's last: only another token will do
    std::optional<boot_time> first_denial_;
    std::optional<boot_time> definitive_until_;

    std::array<boot_time, 3> tries_{}; // the last ones, oldest first
    boot_time attempt_at_;
    boot_time demand_not_before_{}; // a caller that comes may bring the attempt forward to this
    boot_time demand_until_{};
};

} // namespace credlet::sts
