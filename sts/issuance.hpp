#pragma once
// One attempt to obtain credentials, start to end: a look at what is asked for, a web identity token,
// AssumeRoleWithWebIdentity and, for a target role, AssumeRole, all under one deadline. No retries but that
// of a duration the role does not allow.

#include "sts/client.hpp"
#include "sts/credential_service.hpp"

namespace credlet::sts {

struct issuance_request {
    std::shared_ptr<const credential_spec> spec;
    bool fresh_token;         // see web_identity_tokens
    bool short_duration_only; // the role was found to allow no more than default_duration
    std::chrono::milliseconds timeout;
};

struct issuance {
    outcome<credentials> result;
    std::string token_source = {}; // empty: there was no token
    unsigned sts_calls = 0;        // made, whatever came of them
    bool duration_refused = false; // the result is for default_duration instead of what was asked for
};

// Fails by value alone: kind transient and code "Timeout" when the time was up, "InternalError" for an
// exception, kind cancelled when the caller was cancelled.
awaitable<issuance> issue(client& sts, web_identity_tokens& tokens, issuance_request request);

} // namespace credlet::sts
