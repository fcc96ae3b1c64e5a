#include "sts/endpoint.hpp"

#include <algorithm>
#include <array>

namespace credlet::sts {

namespace {

struct partition_rule {
    std::string_view id;
    std::string_view region_prefix;
    std::string_view suffix;
    std::string_view dual_stack_suffix;
};

// The last one takes every region the others do not.
constexpr std::array partitions{
    partition_rule{"aws-cn", "cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"},
    partition_rule{"aws-us-gov", "us-gov-", "amazonaws.com", "api.aws"},
    partition_rule{"aws-eusc", "eusc-", "amazonaws.eu", "api.amazonwebservices.eu"},
    partition_rule{"aws-iso", "us-iso-", "c2s.ic.gov", "api.aws.ic.gov"},
    partition_rule{"aws-iso-b", "us-isob-", "sc2s.sgov.gov", "api.aws.scloud"},
    partition_rule{"aws-iso-e", "eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"},
    partition_rule{"aws-iso-f", "us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov"},
    partition_rule{"aws", "", "amazonaws.com", "api.aws"},
};

constexpr std::string_view global_region = "aws-global", global_host = "sts.amazonaws.com",
                           global_signing_region = "us-east-1";

// Those the SDKs' legacy mode sends to the global endpoint.
constexpr std::array<std::string_view, 15> legacy_regions{
    "ap-northeast-1", "ap-south-1", "ap-southeast-1", "ap-southeast-2", "ca-central-1",
    "eu-central-1",   "eu-north-1", "eu-west-1",      "eu-west-2",      "eu-west-3",
    "sa-east-1",      "us-east-1",  "us-east-2",      "us-west-1",      "us-west-2"};

const partition_rule& rule_of(std::string_view region) {
    return *std::find_if(partitions.begin(), partitions.end(),
                         [&](const partition_rule& p) { return region.starts_with(p.region_prefix); });
}

bool is_region(std::string_view region) {
    return !region.empty() && region.size() <= 32 && region.front() != '-' && region.back() != '-' &&
           std::all_of(region.begin(), region.end(),
                       [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
}

bool is_legacy(std::string_view region) {
    return std::find(legacy_regions.begin(), legacy_regions.end(), region) != legacy_regions.end();
}

// A path that SigV4 would have to normalise before signing: with "//", "." or "..".
bool needs_normalising(std::string_view path) {
    const std::string closed = std::string(path) + "/";
    return closed.find("//") != std::string::npos || closed.find("/./") != std::string::npos ||
           closed.find("/../") != std::string::npos;
}

std::string regional_host(const endpoint_settings& s) {
    const auto& partition = rule_of(s.region);
    // GovCloud's ordinary endpoints are FIPS endpoints and have no name of their own for it.
    const bool fips_name = s.fips && (partition.id != "aws-us-gov" || s.dual_stack);
    std::string host = fips_name ? "sts-fips." : "sts.";
    host.append(s.region).append(".");
    host.append(s.dual_stack ? partition.dual_stack_suffix : partition.suffix);
    return host;
}

} // namespace

std::string_view partition_of(std::string_view region) { return rule_of(region).id; }

result<origin> parse_override(std::string_view url) {
    auto server = parse_origin(url);
    if (server && needs_normalising(server->base_path))
        return fail(errc::malformed, "the path must be without empty segments, '.' and '..'");
    return server;
}

result<endpoint> select_endpoint(const endpoint_settings& s) {
    if (s.region.empty())
        return fail(errc::malformed,
                    "no region is configured: set --region (or AWS_REGION) to the one whose STS to call");
    if (!is_region(s.region))
        return fail(errc::malformed,
                    "the region is not one: it must be of a-z, 0-9 and '-', such as eu-west-1");

    const bool global = s.region == global_region;
    endpoint e;
    e.region = s.region;
    e.signing_region = global ? global_signing_region : std::string_view(s.region);
    e.partition = partition_of(s.region);

    if (s.override_server) {
        e.server = *s.override_server;
        return e;
    }
    if (global && (s.fips || s.dual_stack))
        return fail(errc::malformed,
                    "the global STS endpoint has neither FIPS nor dual-stack: set --region to a region");
    if (global || (s.legacy_global && !s.fips && !s.dual_stack && is_legacy(s.region))) {
        e.server.host = global_host;
        e.signing_region = global_signing_region;
    } else {
        e.server.host = regional_host(s);
    }
    return e;
}

std::optional<failure> check_role(const endpoint& e, std::string_view arn) {
    failure f;
    const auto role = role_arn::parse(arn);
    if (!role) {
        f.kind = failure_kind::misconfigured;
        f.code = "InvalidRoleArn";
        f.message = role.error().message;
        return f;
    }
    if (role->partition == e.partition)
        return std::nullopt;
    f.kind = failure_kind::unusable;
    f.code = "WrongPartition";
    f.message = "role " + role->name + " of account " + role->account + " is in partition " +
                role->partition + ", but credlet calls the STS of " + e.partition + " (" +
                authority(e.server) + ", region " + e.region +
                "): correct the role's ARN, or set --region to a region of " + role->partition;
    return f;
}

} // namespace credlet::sts
