#include "sts/failures.hpp"

#include <doctest/doctest.h>

#include <array>
#include <string>
#include <vector>

using namespace credlet;
using namespace credlet::sts;
using enum failure_kind;

namespace {

failure told(std::string code, unsigned status, std::string message = "m") {
    const error_document e{std::move(code), std::move(message), "r-1"};
    return from_error_document(e, status, std::nullopt);
}

// With and without "Exception".
void check_both(const std::string& code, unsigned status, failure_kind kind) {
    CAPTURE(code);
    CHECK(told(code, status).kind == kind);
    CHECK(told(code + "Exception", status).kind == kind);
    CHECK(told(code + "Exception", status).code == code + "Exception");
}

} // namespace

TEST_CASE("F12: a token that STS does not accept is rejected: a fresh one may do") {
    check_both("ExpiredToken", 400, token_rejected);
    check_both("InvalidIdentityToken", 400, token_rejected);
    CHECK(told("ExpiredToken", 403).kind == token_rejected);
}

TEST_CASE("F12: a token that could not be checked is another matter than one that is bad") {
    for (const char* message :
         {"Couldn't retrieve verification key from your identity provider, please reference "
          "AssumeRoleWithWebIdentity documentation for requirements",
          "Could not retrieve verification key from your identity provider"}) {
        const auto f = told("InvalidIdentityToken", 400, message);
        CHECK(f.kind == transient);
        CHECK(f.code == "InvalidIdentityToken");
        CHECK(f.message == message);
    }
    CHECK(told("AccessDenied", 403, "Couldn't retrieve verification key").kind == denied);
}

TEST_CASE("F13: an identity provider that AWS cannot reach is worth another try") {
    check_both("IDPCommunicationError", 400, transient);
}

TEST_CASE("F14: denials are definitive") {
    check_both("AccessDenied", 403, denied);
    check_both("IDPRejectedClaim", 403, denied);
    CHECK(told("SomethingNew", 403).kind == denied);
    CHECK(told("SomethingNew", 401).kind == denied);
}

TEST_CASE("F15: a disabled region is the daemon's own trouble, and the message says what to do") {
    const auto f = told("RegionDisabledException", 403, "STS is not activated in this region");
    CHECK(f.kind == unusable);
    CHECK(f.message ==
          "STS is not activated in this region; activate the region's STS endpoint in the account "
          "settings of IAM, or set --region to one that is active");
    check_both("OptInRequired", 403, unusable);
    check_both("InvalidAction", 400, unusable);
    CHECK(told("SomethingNew", 404).kind == unusable);
    CHECK(told("RegionDisabled", 403, "").message.starts_with("activate"));
}

TEST_CASE("what STS calls wrong in the request is misconfigured") {
    for (const char* code : {"PackedPolicyTooLarge", "MalformedPolicyDocument", "ValidationError",
                             "Validation", "InvalidParameterValue", "MissingParameter"})
        check_both(code, 400, misconfigured);
    CHECK(told("SomethingNew", 400).kind == misconfigured);
}

TEST_CASE("F2: throttling has many names and one status") {
    for (const char* code : {"Throttling", "Throttled", "RequestThrottled", "TooManyRequests",
                             "RequestLimitExceeded", "LimitExceeded", "SlowDown"}) {
        check_both(code, 400, throttled);
        check_both(code, 429, throttled);
        check_both(code, 503, throttled);
    }
    CHECK(told("SomethingNew", 429).kind == throttled);
    CHECK(told("AccessDenied", 429).kind == throttled);
    const auto f = from_error_document({"Throttling", "Rate exceeded", ""}, 400, std::chrono::seconds(7));
    REQUIRE(f.retry_after);
    CHECK(*f.retry_after == std::chrono::seconds(7));
    CHECK(from_status(429, std::chrono::seconds(2)).retry_after == std::chrono::seconds(2));
    CHECK(from_status(429, {}).kind == throttled);
}

TEST_CASE("F1: whatever comes with a status of 5xx is worth another try") {
    for (const unsigned status : {500U, 502U, 503U, 504U}) {
        check_both("InternalFailure", status, transient);
        check_both("ServiceUnavailable", status, transient);
        CHECK(told("AccessDenied", status).kind == transient);
        CHECK(told("RegionDisabledException", status).kind == transient);
        CHECK(told("SomethingNew", status).kind == transient);
        CHECK(from_status(status, {}).kind == transient);
    }
    CHECK(told("RegionDisabledException", 500).message == "m");
}

TEST_CASE("a signed call that STS refuses for its time or its fresh credentials is worth another try") {
    for (const char* code : {"SignatureDoesNotMatch", "RequestExpired", "RequestTimeTooSkewed",
                             "InvalidClientTokenId", "UnrecognizedClient"})
        check_both(code, 403, transient);
    check_both("IncompleteSignature", 400, unusable);
    check_both("MissingAuthenticationToken", 403, unusable);
}

TEST_CASE("T33: a redirect is a failure that says so") {
    for (const unsigned status : {301U, 302U, 303U, 307U, 308U, 304U}) {
        const auto f = from_status(status, {});
        CHECK(f.kind == transient);
        CHECK(f.code == "Redirected");
        CHECK(f.http_status == status);
        CHECK(f.message.find("never followed") != std::string::npos);
    }
}

TEST_CASE("F7: an answer without a readable error is transient, whatever its status") {
    for (const unsigned status : {204U, 400U, 403U, 404U, 502U}) {
        const auto f = from_status(status, {});
        CHECK(f.kind == transient);
        CHECK(f.code == "Http" + std::to_string(status));
        CHECK(f.http_status == status);
    }
}

TEST_CASE("what STS said is kept") {
    const auto f = told("AccessDenied", 403, "Not authorized to perform sts:AssumeRoleWithWebIdentity");
    CHECK(f.code == "AccessDenied");
    CHECK(f.message == "Not authorized to perform sts:AssumeRoleWithWebIdentity");
    CHECK(f.request_id == "r-1");
    CHECK(f.http_status == 403);
    CHECK_FALSE(f.transport);
}

TEST_CASE("what failed below the answer has a code of its own") {
    struct row {
        errc what;
        const char* code;
        failure_kind kind;
    };
    for (const auto& r : std::vector<row>{{errc::timed_out, "Timeout", transient},
                                          {errc::resolve_failed, "DnsFailed", transient},
                                          {errc::connect_failed, "ConnectFailed", transient},
                                          {errc::tls_failed, "TlsFailed", transient},
                                          {errc::connection_lost, "ConnectionLost", transient},
                                          {errc::too_large, "TooLarge", transient},
                                          {errc::malformed, "Malformed", transient},
                                          {errc::overloaded, "Overloaded", transient},
                                          {errc::io_failed, "TransportFailed", transient},
                                          {errc::internal, "TransportFailed", transient},
                                          {errc::cancelled, "Cancelled", cancelled}}) {
        const auto f = from_transport(fail(r.what, "why"));
        CAPTURE(r.code);
        CHECK(f.code == r.code);
        CHECK(f.kind == r.kind);
        CHECK(f.message == "why");
        CHECK(f.transport == r.what);
        CHECK(metric_result(f) == to_string(r.what));
    }
}

TEST_CASE("results are counted under STS's code, or under what failed") {
    CHECK(metric_result(told("ExpiredTokenException", 400)) == "ExpiredTokenException");
    CHECK(metric_result(from_status(503, {})) == "unavailable");
    CHECK(metric_result(from_status(403, {})) == "denied");
    CHECK(metric_result(from_status(404, {})) == "rejected");
    CHECK(metric_result(from_status(429, {})) == "throttled");
}

TEST_CASE("T36: a message is one short line of printable ASCII") {
    CHECK(one_line("a\r\nb\tc", {}) == "a  b c");
    CHECK(one_line(std::string_view("a\0b\x1b[31m\x7f\xc3\xa9", 11), {}) == "a?b?[31m???");
    CHECK(one_line(std::string(100000, 'x'), {}).size() == 512);
    CHECK(one_line("", {}).empty());
}

TEST_CASE("T36: no piece of a secret of 12 characters or more survives in a message") {
    const std::string token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlLWNhbmFyeQ";
    const std::string key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    const std::array<std::string_view, 2> secrets{token, key};

    CHECK(one_line("Value '" + token + "' at 'webIdentityToken' is bad", secrets) ==
          "Value '[redacted]' at 'webIdentityToken' is bad");
    CHECK(one_line("x-amz-security-token:" + key + "\n" + token, secrets) ==
          "x-amz-security-token:[redacted] [redacted]");
    CHECK(one_line("cut " + token.substr(0, 30) + "...", secrets) == "cut [redacted]...");
    CHECK(one_line("cut ..." + token.substr(20, 12), secrets) == "cut ...[redacted]");
    CHECK(one_line("nothing of it", secrets) == "nothing of it");

    // Wherever it stands, also across the end of what is looked at.
    for (std::size_t before = 0; before < 2300; ++before) {
        const auto line = one_line(std::string(before, '.') + token + key, secrets);
        for (const auto& secret : {token, key})
            for (std::size_t i = 0; i + 12 <= secret.size(); ++i)
                REQUIRE(line.find(secret.substr(i, 12)) == std::string::npos);
    }
    const std::array<std::string_view, 2> short_ones{"", "abc"};
    CHECK(one_line("xabcx", short_ones) == "x[redacted]x");
}
