#pragma once
// AWS Signature Version 4, for requests whose body is at hand and whose URL has no query.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

#include "runtime/clock.hpp"
#include "runtime/secret.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace credlet::sts {

struct signable_header {
    std::string_view name, value;
};

// All views outlive the call.
struct signable_request {
    std::string_view method;
    std::string_view path; // as sent, percent-encoded, without "//" and dot segments; at least "/"
    // What is signed: host, x-amz-date (amz_date of the scope's time) and x-amz-security-token must be among
    // them.
    std::vector<signable_header> headers;
    std::string_view body;
};

struct signing_scope {
    std::string_view region, service;
    wall_time at;
};

// "20150830T123600Z"
std::string amz_date(wall_time at);

// The steps, for who wants to see them. A security token is in the canonical request.
secret_string canonical_request(const signable_request& request);
secret_string signing_key(std::string_view secret_access_key, const signing_scope& scope);

// The value of the Authorization header.
secret_string authorization(const signable_request& request, const signing_scope& scope,
                            std::string_view access_key_id, std::string_view secret_access_key);

} // namespace credlet::sts
