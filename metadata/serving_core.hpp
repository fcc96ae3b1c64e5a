#pragma once
// Decides, from memory alone, how each request is answered: is it well-behaved, who asks, may it have what it
// asks for, and is that ready. What is not in memory is named, for the caller to ask upstream; when the
// answer is in, the very same decision is made again from the start, so that nothing is ever served on the
// strength of an identity that held before a wait. No I/O; serving loop only.

#include "metadata/bad_token_budget.hpp"
#include "metadata/caller_memory.hpp"
#include "metadata/host_check.hpp"
#include "metadata/imds_session.hpp"
#include "metadata/messages.hpp"
#include "metadata/replies.hpp"
#include "metadata/request_facts.hpp"
#include "metadata/request_limits.hpp"
#include "metadata/service.hpp"

#include <optional>
#include <string_view>
#include <vector>

namespace credlet::metadata {

// Where a request came from and in on.
struct caller {
    address_key peer;
    asio::ip::address local;
    // The uid of the pod in whose network namespace it came in: then that says who it is, and the address
    // says nothing. Or nullptr.
    const std::string* listener_pod = nullptr;

    // Whose budgets are spent before anybody knows who asks: those of the pod whose listener it is (they are
    // its known_pod::limit_key), or the address's.
    [[nodiscard]] std::uint64_t limit_key() const {
        return listener_pod != nullptr ? string_hash()(*listener_pod) : address_key_hash()(peer);
    }
};

struct step {
    reply_ptr reply;                // or else
    std::optional<lack> lacking;    // what to ask for
    std::string_view reason;        // a rejection reason when the reply is a refusal
    const known_pod* pod = nullptr; // who asked, as far as that is established; valid until the next view
};

// What a waiting request has been through. Starts empty.
struct progress {
    std::string pod_uid; // whose request it is, once that was established: it stays his, or is refused
    struct verdict {
        lack about;
        refusal why;
    };
    std::optional<verdict> last; // the refusal that ended the last wait, if one did
};

class serving_core {
public:
    // settings outlive the core.
    serving_core(const service_settings& settings, const imds_sessions::key& session_key);

    // From now on this is what is known. Returns the addresses whose owner is another one now: connections
    // from there belong to nobody (any more).
    std::vector<asio::ip::address> apply(view_ptr v);

    // A request's first step: counts against the caller's budgets. wall: for the stamps of IMDS documents.
    [[nodiscard]] step begin(const request_facts& facts, const caller& from, boot_time now, wall_time wall);
    // A later one, before or after a wait.
    [[nodiscard]] step resume(const request_facts& facts, const caller& from, boot_time now, wall_time wall,
                              progress& so_far);
    // Takes in the answer to an ask about `lacking`.
    void learn(const lack& lacking, answer a, progress& so_far);
    // The request that lacked it has been given up, unanswered.
    void give_up(const lack& lacking);

    [[nodiscard]] const standard_replies& replies() const { return replies_; }
    [[nodiscard]] const view& current() const { return *view_; }
    [[nodiscard]] std::size_t remembered_tokens() const { return memory_.tokens(); }

private:
    struct context { // of one decision
        const request_facts& facts;
        const caller& from;
        boot_time now;
        wall_time wall;
        const progress* so_far; // nullptr on the first step
    };
    struct identity {
        const known_pod* pod = nullptr; // or else
        step otherwise;
        std::optional<boot_time> token_expires{}; // it was the pod's token that proved it
    };
    [[nodiscard]] step decide(const context& c);
    [[nodiscard]] std::optional<step> check_form(const context& c) const;
    struct claim { // of the caller's address; a listener's is that of its pod to an address of its own
        claim_kind kind = claim_kind::none;
        const known_pod* owner = nullptr; // when owned
    };
    [[nodiscard]] identity identify(const context& c);
    [[nodiscard]] identity identify_session(const context& c, const claim& by);
    [[nodiscard]] identity identify_token(const context& c, const claim& by);
    [[nodiscard]] identity identify_address(const context& c, const claim& by) const;
    [[nodiscard]] step answer_pod(const context& c, const identity& who);
    [[nodiscard]] step answer_roles(const context& c, const known_pod& pod) const;
    [[nodiscard]] step answer_credentials(const context& c, const known_pod& pod,
                                          const granted_role& role) const;
    [[nodiscard]] claim claim_of(const address_key& address) const;
    [[nodiscard]] std::optional<claim> claim_through(const std::string& listener_pod) const;
    [[nodiscard]] std::optional<refusal> refused(const context& c, const lack& lacking) const;
    [[nodiscard]] step refuse(const context& c, refusal why) const;

    const service_settings& settings_;
    standard_replies replies_;
    host_check hosts_;
    imds_sessions sessions_;
    token_hasher hash_;
    caller_memory memory_;
    request_limits requests_;
    bad_token_budget bad_tokens_;
    view_ptr view_ = std::make_shared<const view>();
    reply_ptr region_, zone_; // nullptr: 404
};

} // namespace credlet::metadata
