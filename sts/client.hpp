#pragma once
// Calls STS: one call, one answer, no retries (the store decides those). Upstream loop only.

#include "runtime/async.hpp"
#include "sts/credentials.hpp"

#include <functional>

namespace credlet::sts {

class client {
public:
    virtual ~client() = default;
    // What is wrong with the spec whatever STS thinks of it: its partition, or what STS's limits do not
    // allow. Ask before obtaining a token for it; nothing is sent.
    [[nodiscard]] virtual std::optional<failure> refuses(const credential_spec&) const {
        return std::nullopt;
    }
    // https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html, unsigned.
    // web_identity_token is used for this call alone. duration as given: the fallback to 3600 s is the
    // service's.
    virtual awaitable<outcome<credentials>>
    assume_role_with_web_identity(const credential_spec& spec, std::chrono::seconds duration,
                                  secret_string web_identity_token) = 0;
    // .../API_AssumeRole.html for spec.target_role_arn, signed (SigV4) with the first role's credentials; at
    // most 3600 s.
    virtual awaitable<outcome<credentials>>
    assume_role(const credential_spec& spec, std::chrono::seconds duration, const credentials& with) = 0;
};

} // namespace credlet::sts
