#pragma once
// Pods, service accounts and settings brought together: who may have which credentials, and which credentials
// this node needs kept. No I/O; upstream loop only.
//
// Two sources feed it: the watches, and direct questions asked where a watch may be behind. An answer to a
// direct question is used for an object only if no relist and no event for that object came while the
// question was under way, or only one of an older state: then it is at least as new as what the watch has
// said. Otherwise it might bring back what is gone. And what a late watch tells of an object is used only if
// it is not older than what a direct answer brought.

#include "metadata/pod_index.hpp"
#include "metadata/service.hpp"
#include "metadata/versions_ahead.hpp"
#include "metadata/view.hpp"
#include "runtime/random.hpp"

#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace credlet::metadata {

// What changes for the credential store, in the order in which to do it.
struct retention {
    std::shared_ptr<const sts::credential_spec> retain; // nullptr: release
    std::chrono::nanoseconds prefetch_delay{0};
    sts::credential_key release{};
};

class directory final : public pod_chooser {
public:
    directory(const service_settings& settings, random_source& random);

    // What the watches say.
    void pods_replaced(std::vector<pod> all);
    void pod_changed(pod p);
    void pod_removed(const std::string& uid);
    void accounts_replaced(std::vector<service_account> all);
    void account_changed(service_account account);
    // Deleted, or without annotations now.
    void account_removed(const service_account& last_state);

    // Brackets a direct question; every begin has its end.
    using ticket = std::uint64_t;
    [[nodiscard]] ticket begin_lookup();
    void abandon(ticket t);
    // Whether the answer was used, all of it; if not, ask anew.
    [[nodiscard]] bool adopt_pods(ticket t, std::vector<pod> found);
    // none: there is no such service account.
    [[nodiscard]] bool adopt_account(ticket t, const std::string& namespace_name, const std::string& name,
                                     std::optional<service_account> found);

    [[nodiscard]] const pod_index& pods() const { return pods_; }
    [[nodiscard]] const service_account* account(std::string_view namespace_name,
                                                 std::string_view name) const;
    // A live pod, with what it is entitled to.
    [[nodiscard]] known_pod_ptr known(std::string_view pod_uid) const;
    // Whether a token for these audiences may identify a pod of that service account.
    [[nodiscard]] bool accepts_audience(const known_pod& p, const std::vector<std::string>& audiences) const;
    // Every audience that some pod here may present, or may come to.
    [[nodiscard]] const std::vector<std::string>& accepted_audiences();

    [[nodiscard]] std::vector<pod> live_pods(const std::string& service_account_uid,
                                             const std::string& pod_uid) const override;

    // The live pods with a network of their own, in no order that changes by itself; only_with_role: those
    // whose service account is annotated.
    [[nodiscard]] std::vector<listened_pod> listened(bool only_with_role) const;

    // Whether some pod here is entitled to them.
    [[nodiscard]] bool retains(const sts::credential_key& key) const { return retained_.contains(key); }

    // Whether anything that the identity map shows has changed since the last identities().
    [[nodiscard]] bool identities_changed() const { return identities_changed_; }
    [[nodiscard]] std::shared_ptr<const identity_map> identities();
    std::vector<retention> take_retentions();
    // Uids of pods that ended or went away: forget what they presented.
    std::vector<std::string> take_departed();

    struct counts {
        std::size_t live = 0, terminating = 0, terminal = 0, host_network = 0;
    };
    [[nodiscard]] counts count() const;

private:
    using account_name = std::pair<std::string, std::string>; // namespace, name
    struct account_entry {
        service_account account;
        std::string audience;    // that its pods' tokens may have
        bool first_list = false; // as the first list brought it
        entitlement_ptr grants;  // where sessions are per service account
    };
    struct pod_entry {
        known_pod_ptr known; // live pods only
        bool first_list = false;
        std::vector<std::shared_ptr<const sts::credential_spec>> retained;
    };
    struct lookup {
        // What has been told meanwhile, and in which version: uids of pods, "namespace/name" of accounts.
        std::map<std::string, std::uint64_t, std::less<>> touched;
        bool pods_relisted = false, accounts_relisted = false;
        [[nodiscard]] bool is_news(const std::string& what, std::uint64_t version) const;
    };
    // Of what is gone, or has no number.
    static constexpr std::uint64_t newer_than_any = std::numeric_limits<std::uint64_t>::max();

    void put_pod(pod p, bool first_list);
    void drop_pod(const std::string& uid);
    void put_account(service_account account, bool first_list);
    void drop_account(const account_name& name);
    void forget_unannotated(const account_name& name);
    void refresh_pods_of(const account_name& name);
    void refresh(const std::string& uid);
    void keep(pod_entry& entry, std::vector<std::shared_ptr<const sts::credential_spec>> wanted, bool spread);
    entitlement_ptr entitle(const service_account& account, const pod* only) const;
    void touch(const std::string& what, std::uint64_t version);

    const service_settings& settings_;
    random_source& random_;
    pod_index pods_;
    std::map<std::string, pod_entry, std::less<>> entries_;
    std::map<account_name, account_entry, std::less<>> accounts_;
    std::map<account_name, std::set<std::string>> pods_of_; // uids of known pods
    std::map<sts::credential_key, std::size_t> retained_;
    versions_ahead<std::string> pods_ahead_; // by uid
    versions_ahead<account_name> accounts_ahead_;
    std::map<ticket, lookup> lookups_;
    ticket next_ticket_ = 1;
    bool pods_listed_ = false, accounts_listed_ = false;
    bool identities_changed_ = true;
    std::optional<std::vector<std::string>> audiences_; // accepted_audiences, until something changes
    std::vector<retention> retentions_;
    std::vector<std::string> departed_;
};

} // namespace credlet::metadata
