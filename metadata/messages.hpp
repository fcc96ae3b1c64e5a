#pragma once
// What crosses between the two loops: serving asks for what its view lacks, upstream answers, and brings new
// views along. Nothing else is shared.

#include "metadata/address_key.hpp"
#include "metadata/token_digest.hpp"
#include "metadata/view.hpp"
#include "runtime/secret.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace credlet::metadata {

enum class need {
    token,       // a token that is not remembered
    address,     // no pod is known to have the caller's address
    account,     // the pod's service account is not known, or has no role
    credentials, // no usable credentials for the key
};

// What a request lacks. Only the member that `what` calls for has a meaning.
struct lack {
    need what = need::address;
    token_digest digest{};
    address_key address;
    std::string pod_uid;
    sts::credential_key key{};

    friend bool operator==(const lack& a, const lack& b) {
        if (a.what != b.what)
            return false;
        switch (a.what) {
        case need::token:
            return a.digest == b.digest;
        case need::address:
            return a.address == b.address;
        case need::account:
            return a.pod_uid == b.pod_uid;
        case need::credentials:
            return a.key == b.key;
        }
        return false;
    }
};

struct ask {
    std::uint64_t id = 0;
    lack lacking;
    secret_string token; // of need::token
    boot_time deadline;  // the answer comes by then
};

// A token that verified, as far as later requests with it need to know.
struct remembered_token {
    std::string pod_uid;
    std::string namespace_name, service_account, service_account_uid;
    // Accepted for every pod; else only while `audiences` has the one that its service account's annotation
    // names.
    bool general_audience = true;
    std::vector<std::string> audiences; // empty when general
    boot_time expires;
};

enum class refusal {
    bad_token_form,
    bad_token,
    pod_not_here,    // the token's pod is not a live pod of this node
    unknown_address, // no pod of this node has it
    no_role,
    not_synced,  // the pods of this node are not known yet
    throttled,   // nothing in time, because STS throttles
    unavailable, // nothing in time
};

// Nothing but an id: look again, the view has changed in what the ask was about.
struct answer {
    std::uint64_t id = 0;
    std::optional<remembered_token> token;
    std::optional<refusal> refused;
    boot_time refused_until{}; // the same need may be refused without asking again, until then
};

// From upstream, once per turn of its loop at most. The view takes effect before the answers do.
struct delivery {
    view_ptr new_view; // nullptr: as before
    std::vector<answer> answers;
};

} // namespace credlet::metadata
