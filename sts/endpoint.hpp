#pragma once
// Where STS is: host names by partition, region and variant, as the SDKs' own rules have them (the endpoint
// rule set of STS and partitions.json, published in botocore and every other AWS SDK).

#include "runtime/error.hpp"
#include "runtime/https_client.hpp"
#include "sts/credentials.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace credlet::sts {

struct endpoint_settings {
    std::string region = {}; // "eu-west-1"; "aws-global" for the global endpoint
    bool fips = false;       // AWS_USE_FIPS_ENDPOINT
    bool dual_stack = false; // AWS_USE_DUALSTACK_ENDPOINT
    // AWS_STS_REGIONAL_ENDPOINTS=legacy: sixteen old regions use sts.amazonaws.com.
    bool legacy_global = false;
    // A VPC endpoint, a simulator (see parse_override); none: by region and variant. Comes before everything
    // but the region, which still says how requests are signed.
    std::optional<origin> override_server = {};
};

struct endpoint {
    origin server;
    std::string region;         // as configured
    std::string signing_region; // us-east-1 for sts.amazonaws.com
    std::string partition;      // "aws", "aws-cn", ...: the region's
};

// The value of AWS_ENDPOINT_URL_STS. Refuses what parse_origin refuses, and a path that would have to be
// normalised before it is signed.
result<origin> parse_override(std::string_view url);

// Refuses what cannot be a region, and variants that there are not. A region of no known partition is taken
// to be one of "aws", as in the SDKs, so that new regions need no new release.
result<endpoint> select_endpoint(const endpoint_settings& settings);

// The partition of a region.
std::string_view partition_of(std::string_view region);

// Roles of one partition cannot be assumed at another's STS: a failure of kind unusable (WrongPartition), or
// of kind misconfigured (InvalidRoleArn) for what is no ARN. Ask before calling: it tells the operator more
// than STS would.
std::optional<failure> check_role(const endpoint& e, std::string_view role_arn);

} // namespace credlet::sts
