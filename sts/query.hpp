#pragma once
// The two requests as STS's query protocol wants them: a form, every value percent-encoded, every limit of
// the API reference checked before anything is sent. What does not hold comes back as a failure that names
// the parameter.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html#API_AssumeRoleWithWebIdentity_RequestParameters

#include "sts/credentials.hpp"

#include <optional>
#include <string_view>

namespace credlet::sts {

// STS's limit for WebIdentityToken.
inline constexpr std::size_t max_web_identity_token = 20000;
// Role chaining: STS refuses more.
inline constexpr std::chrono::seconds max_chained_duration{3600};

// What the two forms would refuse of the spec, whatever the token.
std::optional<failure> check_limits(const credential_spec& spec);

// Kind misconfigured, but token_rejected (InvalidToken) for a token that is not the bytes of a JWT.
outcome<secret_string> web_identity_form(const credential_spec& spec, std::chrono::seconds duration,
                                         std::string_view web_identity_token);
// For the target role. A duration over max_chained_duration is asked for as that.
outcome<secret_string> assume_role_form(const credential_spec& spec, std::chrono::seconds duration);

// RFC 3986: everything but unreserved characters, and those in keep, as %XX.
void append_percent_encoded(secret_string& out, std::string_view text, std::string_view keep = {});

} // namespace credlet::sts
