#pragma once
// Answers what the serving loop asks: decides which tokens to verify, which direct questions to put to the
// cluster and which credentials to press for, each once however many requests wait for it, and when a wait is
// over. Every ask is answered by its deadline. No I/O; upstream loop only: the service carries out the work
// and brings the results back.

#include "metadata/cluster.hpp"
#include "metadata/credential_board.hpp"
#include "metadata/directory.hpp"
#include "metadata/messages.hpp"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

namespace credlet::metadata {

// To be carried out; each item's result comes back through the method named.
struct broker_work {
    struct verification { // verified()
        token_digest digest;
        secret_string token;
        std::vector<std::string> audiences;
    };
    struct address_lookup { // address_looked_up()
        address_key address;
        directory::ticket ticket;
    };
    struct pod_lookup { // pod_looked_up()
        token_digest digest;
        std::string namespace_name, name;
        directory::ticket ticket;
    };
    struct account_lookup { // account_looked_up()
        std::string namespace_name, name;
        directory::ticket ticket;
    };
    struct demand { // credentials_changed(), in time
        sts::credential_key key;
        std::chrono::milliseconds patience;
    };
    struct presentation { // nothing comes back
        verified_token claims;
        secret_string token;
    };
    std::vector<verification> verifications;
    std::vector<address_lookup> addresses;
    std::vector<pod_lookup> pods;
    std::vector<account_lookup> accounts;
    std::vector<demand> demands;
    std::vector<presentation> presentations;
};

class broker {
public:
    static constexpr double lookups_per_second =
        5; // of pods; they are for the rare case of a watch that is behind
    static constexpr std::chrono::milliseconds retry_after{500};
    static constexpr std::chrono::milliseconds lookup_again_after{1000};
    static constexpr std::chrono::milliseconds remember_bad_token{2000};
    static constexpr std::chrono::milliseconds remember_unknown{1000};
    static constexpr std::chrono::milliseconds remember_no_role{5000};

    // All outlive the broker.
    broker(const service_settings& settings, directory& pods, const credential_board& board);

    void set_synced(bool synced) { synced_ = synced; }
    void submit(ask a, boot_time now);

    void verified(const token_digest& digest, result<verified_token> outcome, boot_time now, wall_time wall);
    // The lookups' finds go into the directory; call directory_changed() after.
    void address_looked_up(const broker_work::address_lookup& work, result<std::vector<pod>> found,
                           boot_time now);
    void pod_looked_up(const broker_work::pod_lookup& work, result<std::optional<pod>> found, boot_time now,
                       wall_time wall);
    void account_looked_up(const broker_work::account_lookup& work,
                           result<std::optional<service_account>> found, boot_time now);
    void directory_changed(boot_time now, wall_time wall);
    void credentials_changed(const std::vector<sts::credential_key>& keys, boot_time now);

    // Ends waits whose time is over, and starts what was to be tried again.
    void tick(boot_time now);
    // When to call tick() at the latest; none: nothing waits.
    [[nodiscard]] std::optional<boot_time> next_tick() const;

    [[nodiscard]] broker_work take_work() { return std::exchange(work_, {}); }
    [[nodiscard]] std::vector<answer> take_answers() { return std::exchange(answers_, {}); }
    [[nodiscard]] std::size_t waiting() const { return asks_.size(); }

private:
    using account_name = std::pair<std::string, std::string>;
    struct waiting_ask {
        lack lacking;
        boot_time since, deadline;
        account_name account; // of need::account
    };
    // Something that one or more asks wait for.
    struct attempt {
        std::set<std::uint64_t> asks;
        bool running = false;
        bool scheduled = false;        // stands in starts_
        std::optional<boot_time> done; // when it last succeeded
    };
    struct token_attempt : attempt {
        secret_string token;
        std::optional<verified_token> claims; // verified; its pod is looked for
        directory::ticket lookup = 0;         // of its pod, under way
        bool pod_looked_up = false;
    };

    void submit_token(ask a, boot_time now);
    void submit_address(const ask& a, boot_time now);
    void submit_account(const ask& a, boot_time now);
    void submit_credentials(const ask& a, boot_time now);
    void settle(const token_digest& digest, boot_time now, wall_time wall);
    using start_key = std::variant<token_digest, address_key, account_name>;
    void schedule(attempt& what, start_key key, boot_time when);
    // After an attempt that brought nothing: once more, if anybody still waits for it.
    template <class Attempts>
    void again_or_forget(Attempts& attempts, typename Attempts::iterator at, boot_time now);
    void start_due(boot_time now);
    void start(const token_digest& digest, boot_time now);
    void start(const address_key& address, boot_time now);
    void start(const account_name& name, boot_time now);
    bool take_lookup(boot_time now);
    [[nodiscard]] boot_time next_lookup() const;
    [[nodiscard]] bool has_roles(const std::string& pod_uid) const;
    void end(std::uint64_t id, answer a);
    void end_all(const std::set<std::uint64_t>& ids, const answer& a);
    [[nodiscard]] refusal overdue(const waiting_ask& w) const;

    const service_settings& settings_;
    directory& directory_;
    const credential_board& board_;
    bool synced_ = false;
    std::map<std::uint64_t, waiting_ask> asks_;
    std::set<std::pair<boot_time, std::uint64_t>> deadlines_;
    std::map<token_digest, token_attempt> tokens_;
    std::map<address_key, attempt> addresses_;
    std::map<account_name, attempt> accounts_;
    std::map<account_name, boot_time> checked_accounts_; // until when a lookup's "no role" holds
    std::map<sts::credential_key, std::set<std::uint64_t>> credentials_;
    std::multimap<boot_time, start_key> starts_; // what to try (again), and when
    double lookups_left_ = lookups_per_second;
    boot_time lookups_counted_{};
    broker_work work_;
    std::vector<answer> answers_;
};

} // namespace credlet::metadata
