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
    // AWS_ENDPOINT_URL_STS, a VPC endpoint, a simulator; empty: none. Comes before everything but the region,
    // which still says how requests are signed.
    std::string override_url = {};
};

struct endpoint {
    origin server;
    std::string region;         // as configured
    std::string signing_region; // us-east-1 for sts.amazonaws.com
    std::string partition;      // "aws", "aws-cn", ...: the region's
};

// Refuses what cannot be a region, and an override that parse_origin refuses or whose path needs normalising.
// A region of no known partition is taken to be one of "aws", as in the SDKs, so that new regions need no new
// release.
result<endpoint> select_endpoint(const endpoint_settings& settings);

// The partition of a region.
std::string_view partition_of(std::string_view region);

// Roles of one partition cannot be assumed at another's STS: a failure of kind unusable (WrongPartition), or
// of kind misconfigured (InvalidRoleArn) for what is no ARN. Ask before calling: it tells the operator more
// than STS would.
std::optional<failure> check_role(const endpoint& e, std::string_view role_arn);

} // namespace credlet::sts
