#include "sts/sigv4.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace credlet;
using namespace credlet::sts;

namespace {

std::string hex(const secret_string& raw) {
    static constexpr char digits[] = "0123456789abcdef";
    std::string out;
    for (const char c : raw.reveal()) {
        out.push_back(digits[static_cast<unsigned char>(c) >> 4]);
        out.push_back(digits[static_cast<unsigned char>(c) & 0xf]);
    }
    return out;
}

constexpr std::string_view secret_key =
    "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";                // of AWS's own documentation
constexpr wall_time in_2015{std::chrono::seconds(1440938160)}; // 2015-08-30T12:36:00Z
constexpr wall_time in_2026{std::chrono::seconds(1769862645)}; // 2026-01-31T12:30:45Z

// The requests below, signed by botocore (1.29.27 and 1.43.11 agree) with its clock stopped at in_2026:
//   credentials = Credentials("ASIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", token)
//   request = AWSRequest(method="POST", url=url, data=body, headers={"Content-Type": form_type})
//   SigV4Auth(credentials, "sts", region).add_auth(request); request.headers["Authorization"]
constexpr std::string_view botocore_secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
constexpr std::string_view token = "FwoGZXIvYXdzEBYaDExampleSessionToken/+=Zz0";
constexpr std::string_view form_type = "application/x-www-form-urlencoded";
constexpr std::string_view body =
    "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A210987654321%3Arole%2Fteam%2Ftarget"
    "&RoleSessionName=shop.api.node-1&DurationSeconds=3600&ExternalId=customer%3A42%2Fa";

std::string signed_like_botocore(std::string_view host, std::string_view path, std::string_view region) {
    const signable_request r{"POST",
                             path,
                             {{"Host", host},
                              {"Content-Type", form_type},
                              {"X-Amz-Date", "20260131T123045Z"},
                              {"X-Amz-Security-Token", token}},
                             body};
    const signing_scope scope{region, "sts", in_2026};
    return std::string(authorization(r, scope, "ASIAIOSFODNN7EXAMPLE", botocore_secret_key).reveal());
}

std::string expected(const std::string& region, const std::string& signature) {
    return "AWS4-HMAC-SHA256 Credential=ASIAIOSFODNN7EXAMPLE/20260131/" + region +
           "/sts/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=" +
           signature;
}

} // namespace

TEST_CASE("the signing key of the example in AWS's documentation comes out as it stands there") {
    // "Create a signed AWS API request" in the IAM user guide (formerly the Signature Version 4 chapter of
    // the AWS General Reference).
    const signing_scope scope{"us-east-1", "iam", in_2015};
    CHECK(hex(signing_key(secret_key, scope)) ==
          "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
}

TEST_CASE("the canonical request has a line for each part, and an empty one for the query") {
    const signable_request r{
        "POST", "/", {{"Host", "iam.amazonaws.com"}, {"X-Amz-Date", "20150830T123600Z"}}, ""};
    CHECK(canonical_request(r).reveal() ==
          "POST\n/\n\nhost:iam.amazonaws.com\nx-amz-date:20150830T123600Z\n\nhost;x-amz-date\n"
          "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST_CASE("a POST to STS is signed as botocore signs it") {
    CHECK(signed_like_botocore("sts.eu-west-1.amazonaws.com", "/", "eu-west-1") ==
          expected("eu-west-1", "726f4a4e39bbe207c187a3da6bf06e8d0938940b53604eca8a2c585769f1fbf8"));
    CHECK(signed_like_botocore("sts.amazonaws.com", "/", "us-east-1") ==
          expected("us-east-1", "c3a8312bc636046551ed0940f7e6c6e814bcc7b6051686ec0ea0d0502c5e28d6"));
}

TEST_CASE("a port and a path that is encoded already are signed as botocore signs them") {
    CHECK(signed_like_botocore("localhost:8443", "/base%20path/", "eu-west-1") ==
          expected("eu-west-1", "f135b6cd7a3f65009e15f0b860fecd581948297d7ae209044045de3012a3a9b7"));
}

TEST_CASE("spaces in header values are folded, as botocore does") {
    // GET https://example.amazonaws.com/ with the header "My-Header:   a   b  ".
    const signable_request r{"GET",
                             "/",
                             {{"My-Header", "  a   b  "},
                              {"Host", "example.amazonaws.com"},
                              {"X-Amz-Security-Token", token},
                              {"X-Amz-Date", "20260131T123045Z"}},
                             ""};
    const signing_scope scope{"eu-west-1", "sts", in_2026};
    const auto value = authorization(r, scope, "ASIAIOSFODNN7EXAMPLE", botocore_secret_key);
    CHECK(value.reveal().ends_with("af272527a4403a1faa2f65027133206a04bad7d86f5c87646594ee8c3a6ea9a5"));
}

TEST_CASE("a change of any signed part changes the signature") {
    const auto signature = [](std::string_view method, std::string_view path, std::string_view host,
                              std::string_view content, wall_time at) {
        const signable_request r{method, path, {{"host", host}}, content};
        const signing_scope scope{"eu-west-1", "sts", at};
        return std::string(authorization(r, scope, "AKIDEXAMPLE", secret_key).reveal());
    };
    const auto original = signature("POST", "/", "a", "body", in_2026);
    CHECK(original == signature("POST", "/", "a", "body", in_2026));
    CHECK(original != signature("GET", "/", "a", "body", in_2026));
    CHECK(original != signature("POST", "/x", "a", "body", in_2026));
    CHECK(original != signature("POST", "/", "b", "body", in_2026));
    CHECK(original != signature("POST", "/", "a", "Body", in_2026));
    CHECK(original != signature("POST", "/", "a", "body", in_2026 + std::chrono::seconds(1)));
}

TEST_CASE("dates are written in the basic format, in UTC") {
    CHECK(amz_date(in_2015) == "20150830T123600Z");
    CHECK(amz_date(in_2026 + std::chrono::milliseconds(999)) == "20260131T123045Z");
    CHECK(amz_date(wall_time(std::chrono::seconds(951782399))) == "20000228T235959Z");
}
