#pragma once
// What the serving loop knows: an immutable picture of who owns which address, which roles each pod may have,
// and the replies that are ready. Made on the upstream loop, read on the serving loop, replaced as a whole;
// its two parts are shared between successive views, so that a refresh of credentials does not copy the pods.

#include "metadata/address_key.hpp"
#include "metadata/pod_index.hpp"
#include "runtime/clock.hpp"
#include "runtime/http_server.hpp"
#include "sts/credentials.hpp"

#include <boost/unordered/unordered_flat_map.hpp>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace credlet::metadata {

struct string_hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view s) const noexcept { return std::hash<std::string_view>()(s); }
};
template <class Value>
using string_map = boost::unordered_flat_map<std::string, Value, string_hash, std::equal_to<>>;

// A role that the pods of a service account may ask for.
struct granted_role {
    std::string name; // the last part of the ARN whose credentials come out: what a caller asks for it by
    std::shared_ptr<const sts::credential_spec> spec;
    sts::credential_key key;
    bool allowed = true; // by the role policy; never asked of STS otherwise
};

// What the annotations of one service account come to. Never empty of meaning: either roles, or why there are
// none.
struct entitlement {
    enum class kind { no_role, misannotated, granted };
    kind what = kind::no_role;
    std::string service_account_uid;
    std::string audience;            // of the tokens that STS is given
    std::vector<granted_role> roles; // when granted; the default role first
    reply_ptr imds_list;             // when granted
    std::string problem;             // when misannotated
    // When misannotated: for the container endpoint, for the role's credentials in IMDS, and for the rest of
    // IMDS.
    reply_ptr problem_reply, problem_in_200, problem_forbidden;
};
using entitlement_ptr = std::shared_ptr<const entitlement>;

// A live pod of this node.
struct known_pod {
    pod_ptr facts;
    entitlement_ptr grants;      // nullptr: its service account is not known (yet)
    std::uint64_t limit_key = 0; // of its request budget
};
using known_pod_ptr = std::shared_ptr<const known_pod>;
// Whether its service account is known to be annotated, rightly or wrongly.
[[nodiscard]] inline bool has_roles(const known_pod& p) {
    return p.grants && p.grants->what != entitlement::kind::no_role;
}

struct known_claim {
    claim_kind kind = claim_kind::none;
    known_pod_ptr owner; // when owned
};

struct identity_map {
    boost::unordered_flat_map<address_key, known_claim, address_key_hash> by_address;
    string_map<known_pod_ptr> by_uid; // live pods
};

// Where one key's credentials stand.
struct ready_credentials {
    sts::credentials_ptr source; // what `reply` was rendered from
    reply_ptr reply;             // usable while now < valid_until
    boot_time valid_until{};
    reply_ptr denial_ecs, denial_imds; // answered while now < denial_until, unless there is a usable reply
    boot_time denial_until{};
    bool throttled = false; // why there is nothing, as far as known

    [[nodiscard]] bool usable(boot_time now) const { return reply && now < valid_until; }
    [[nodiscard]] bool denied(boot_time now) const { return denial_ecs && now < denial_until; }
};
using ready_ptr = std::shared_ptr<const ready_credentials>;

struct key_hash { // the key is a SHA-256 already
    std::size_t operator()(const sts::credential_key& k) const noexcept {
        std::size_t h = 0;
        std::memcpy(&h, k.digest.data(), sizeof h);
        return h;
    }
};
using reply_map = boost::unordered_flat_map<sts::credential_key, ready_ptr, key_hash>;

struct view {
    std::shared_ptr<const identity_map> identity = std::make_shared<const identity_map>();
    std::shared_ptr<const reply_map> replies = std::make_shared<const reply_map>();
    bool synced = false; // pods and service accounts have been listed
};
using view_ptr = std::shared_ptr<const view>;

} // namespace credlet::metadata
