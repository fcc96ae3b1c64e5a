#pragma once
// Reads what STS answers: XML, or JSON where the body starts with '{' (STS sends that only when asked to,
// compatible servers also unasked). Nothing an answer holds can make reading it expensive: DTDs and entity
// declarations are refused before parsing, size and depth are bounded, and a document is read along one fixed
// path.

#include "runtime/clock.hpp"
#include "runtime/error.hpp"
#include "runtime/secret.hpp"
#include "sts/failures.hpp"

#include <string>
#include <string_view>

namespace credlet::sts {

inline constexpr std::size_t max_answer = std::size_t{64} * 1024; // bytes
inline constexpr int max_answer_depth = 16;                       // elements within elements

enum class operation { assume_role_with_web_identity, assume_role };
std::string_view to_string(operation op); // as STS spells it

// What a good answer brings. Every one of the first four is there, is printable ASCII and of a plausible
// size.
struct issued_credentials {
    std::string access_key_id;
    secret_string secret_access_key;
    secret_string session_token;
    wall_time expiration;
    std::string assumed_role_arn; // empty if the answer did not say, or not in printable ASCII
};

// The body of an answer with status 200. It is parsed in place: what is left of it is garbage, to be wiped by
// its owner. errc::malformed or errc::too_large; the message quotes nothing of the body.
result<issued_credentials> parse_credentials(operation op, secret_string& body);

// The body of any other answer, in the same way. The code is 1 to 64 of [A-Za-z0-9._:-]; the request id,
// where there is one, too; the message is as it came.
result<error_document> parse_error(secret_string& body);

// "2026-01-31T12:00:00Z", with any fraction of a second between; UTC only, and a date that exists.
std::optional<wall_time> parse_timestamp(std::string_view text);

} // namespace credlet::sts
