#pragma once
// What an answer that brings no credentials means: the tables from STS's error codes, HTTP statuses and
// transport errors to failure_kind, which decides whether the store tries again, waits, or remembers a
// denial.
//
// Codes are those of https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html and of the Errors
// sections of API_AssumeRole and API_AssumeRoleWithWebIdentity. They are told with and without "Exception" at
// their end, because STS itself has used both.

#include "sts/credentials.hpp"

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace credlet::sts {

// The error STS described in its answer, as it came: pass the message through one_line before anybody sees
// it.
struct error_document {
    std::string code;
    std::string message;
    std::string request_id;
};

// STS understood the request and said what is wrong. The message is STS's own, and a hint where the cure is
// the operator's.
failure from_error_document(const error_document& e, unsigned status,
                            std::optional<std::chrono::milliseconds> retry_after);

// An answer without a readable error: something else than STS answered, or STS in bad shape. Not for 200.
failure from_status(unsigned status, std::optional<std::chrono::milliseconds> retry_after);

// No whole answer came, or (errc::malformed, errc::too_large) one that cannot be read.
failure from_transport(const error& e);

// The value of the `result` label of credlet_sts_requests_total.
std::string_view metric_result(const failure& f);

// At most 512 characters of printable ASCII, without any of the secrets: STS quotes parameters and headers in
// its messages (a ValidationError the token, a SignatureDoesNotMatch the whole canonical request). A piece of
// a secret of 12 characters or more counts as the secret.
std::string one_line(std::string_view text, std::span<const std::string_view> secrets);

} // namespace credlet::sts
