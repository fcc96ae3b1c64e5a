#include "sts/endpoint.hpp"
#include "tests/support/results.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace credlet;
using namespace credlet::sts;

namespace {

endpoint select(const endpoint_settings& s) {
    auto e = select_endpoint(s);
    REQUIRE(e);
    return *e;
}

} // namespace

TEST_CASE("every partition has its regional, FIPS, dual-stack and combined endpoints") {
    // From botocore 1.43.11: EndpointProvider(endpoint-rule-set-1.json of sts, partitions.json)
    // .resolve_endpoint(Region=..., UseFIPS=..., UseDualStack=..., UseGlobalEndpoint=False).
    struct row {
        const char *partition, *region, *plain, *fips, *dual_stack, *both;
    };
    const std::vector<row> rows{
        {"aws", "us-east-1", "sts.us-east-1.amazonaws.com", "sts-fips.us-east-1.amazonaws.com",
         "sts.us-east-1.api.aws", "sts-fips.us-east-1.api.aws"},
        {"aws", "eu-west-1", "sts.eu-west-1.amazonaws.com", "sts-fips.eu-west-1.amazonaws.com",
         "sts.eu-west-1.api.aws", "sts-fips.eu-west-1.api.aws"},
        {"aws", "mx-central-1", "sts.mx-central-1.amazonaws.com", "sts-fips.mx-central-1.amazonaws.com",
         "sts.mx-central-1.api.aws", "sts-fips.mx-central-1.api.aws"},
        {"aws-cn", "cn-north-1", "sts.cn-north-1.amazonaws.com.cn", "sts-fips.cn-north-1.amazonaws.com.cn",
         "sts.cn-north-1.api.amazonwebservices.com.cn", "sts-fips.cn-north-1.api.amazonwebservices.com.cn"},
        {"aws-us-gov", "us-gov-west-1", "sts.us-gov-west-1.amazonaws.com", "sts.us-gov-west-1.amazonaws.com",
         "sts.us-gov-west-1.api.aws", "sts-fips.us-gov-west-1.api.aws"},
        {"aws-eusc", "eusc-de-east-1", "sts.eusc-de-east-1.amazonaws.eu",
         "sts-fips.eusc-de-east-1.amazonaws.eu", "sts.eusc-de-east-1.api.amazonwebservices.eu",
         "sts-fips.eusc-de-east-1.api.amazonwebservices.eu"},
        {"aws-iso", "us-iso-east-1", "sts.us-iso-east-1.c2s.ic.gov", "sts-fips.us-iso-east-1.c2s.ic.gov",
         "sts.us-iso-east-1.api.aws.ic.gov", "sts-fips.us-iso-east-1.api.aws.ic.gov"},
        {"aws-iso-b", "us-isob-east-1", "sts.us-isob-east-1.sc2s.sgov.gov",
         "sts-fips.us-isob-east-1.sc2s.sgov.gov", "sts.us-isob-east-1.api.aws.scloud",
         "sts-fips.us-isob-east-1.api.aws.scloud"},
        {"aws-iso-e", "eu-isoe-west-1", "sts.eu-isoe-west-1.cloud.adc-e.uk",
         "sts-fips.eu-isoe-west-1.cloud.adc-e.uk", "sts.eu-isoe-west-1.api.cloud-aws.adc-e.uk",
         "sts-fips.eu-isoe-west-1.api.cloud-aws.adc-e.uk"},
        {"aws-iso-f", "us-isof-south-1", "sts.us-isof-south-1.csp.hci.ic.gov",
         "sts-fips.us-isof-south-1.csp.hci.ic.gov", "sts.us-isof-south-1.api.aws.hci.ic.gov",
         "sts-fips.us-isof-south-1.api.aws.hci.ic.gov"},
    };
    for (const auto& r : rows) {
        CAPTURE(r.region);
        endpoint_settings s;
        s.region = r.region;
        const auto plain = select(s);
        CHECK(plain.server.host == r.plain);
        CHECK(plain.server.port == 443);
        CHECK(plain.server.base_path.empty());
        CHECK(plain.signing_region == r.region);
        CHECK(plain.region == r.region);
        CHECK(plain.partition == r.partition);
        s.fips = true;
        CHECK(select(s).server.host == r.fips);
        s.dual_stack = true;
        CHECK(select(s).server.host == r.both);
        s.fips = false;
        CHECK(select(s).server.host == r.dual_stack);
        CHECK(select(s).signing_region == r.region);
    }
}

TEST_CASE(
    "in legacy mode the sixteen old regions use the global endpoint, which is signed for as us-east-1") {
    // LEGACY_GLOBAL_STS_REGIONS in botocore/args.py.
    for (const char* region :
         {"ap-northeast-1", "ap-south-1", "ap-southeast-1", "ap-southeast-2", "aws-global", "ca-central-1",
          "eu-central-1", "eu-north-1", "eu-west-1", "eu-west-2", "eu-west-3", "sa-east-1", "us-east-1",
          "us-east-2", "us-west-1", "us-west-2"}) {
        CAPTURE(region);
        endpoint_settings s;
        s.region = region;
        s.legacy_global = true;
        const auto e = select(s);
        CHECK(e.server.host == "sts.amazonaws.com");
        CHECK(e.signing_region == "us-east-1");
        CHECK(e.partition == "aws");
        CHECK(e.region == region);
    }
}

TEST_CASE("legacy mode changes nothing for newer regions, other partitions, FIPS and dual-stack") {
    endpoint_settings s;
    s.legacy_global = true;
    s.region = "af-south-1";
    CHECK(select(s).server.host == "sts.af-south-1.amazonaws.com");
    CHECK(select(s).signing_region == "af-south-1");
    s.region = "cn-north-1";
    CHECK(select(s).server.host == "sts.cn-north-1.amazonaws.com.cn");
    s.region = "eu-west-1";
    s.fips = true;
    CHECK(select(s).server.host == "sts-fips.eu-west-1.amazonaws.com");
    s.fips = false;
    s.dual_stack = true;
    CHECK(select(s).server.host == "sts.eu-west-1.api.aws");
    CHECK(select(s).signing_region == "eu-west-1");
}

TEST_CASE("the region aws-global is the global endpoint in any mode") {
    endpoint_settings s;
    s.region = "aws-global";
    CHECK(select(s).server.host == "sts.amazonaws.com");
    CHECK(select(s).signing_region == "us-east-1");
    s.fips = true;
    CHECK_FALSE(select_endpoint(s));
}

TEST_CASE("a region of no known partition is one of aws") {
    CHECK(partition_of("xx-central-1") == "aws");
    endpoint_settings s;
    s.region = "xx-central-1";
    CHECK(select(s).server.host == "sts.xx-central-1.amazonaws.com");
}

TEST_CASE("an override replaces the host, not the region that requests are signed for") {
    endpoint_settings s;
    s.region = "eu-west-1";
    s.fips = s.dual_stack = s.legacy_global = true;
    s.override_server = parse_override("https://vpce-1.sts.eu-west-1.vpce.amazonaws.com:8443/base/").value();
    const auto e = select(s);
    CHECK(e.server.host == "vpce-1.sts.eu-west-1.vpce.amazonaws.com");
    CHECK(e.server.port == 8443);
    CHECK(e.server.base_path == "/base");
    CHECK(e.signing_region == "eu-west-1");
    CHECK(e.partition == "aws");

    s.region = "aws-global";
    CHECK(select(s).server.host == "vpce-1.sts.eu-west-1.vpce.amazonaws.com"); // also without FIPS of its own
    CHECK(select(s).signing_region == "us-east-1");
}

TEST_CASE("an override that is not https, or whose path would be signed differently than sent, is refused") {
    for (const char* url :
         {"http://sts.example", "sts.example", "https://", "https://user@sts.example",
          "https://sts.example/?x=1", "https://sts.example/a//b", "https://sts.example/a/../b",
          "https://sts.example/./b", "https://sts.example/a/.."}) {
        CAPTURE(url);
        CHECK_FALSE(parse_override(url));
    }
}

TEST_CASE("a region can only be a label of a host name") {
    for (const std::string& region :
         {std::string(), std::string("eu-west-1.evil.example/"), std::string("eu-west-1@evil"),
          std::string("EU-WEST-1"), std::string("eu west"), std::string("-eu"), std::string("eu-"),
          std::string("eu\r\n"), std::string(33, 'a'), std::string("eu-west-1\0", 10)}) {
        CAPTURE(region);
        endpoint_settings s;
        s.region = region;
        const auto e = select_endpoint(s);
        REQUIRE_FALSE(e);
        CHECK(e.error().message.find("region") != std::string::npos);
    }
}

TEST_CASE("F15: a role of another partition is told before STS is asked, with what to do") {
    endpoint_settings s;
    s.region = "eu-west-1";
    const auto e = select(s);
    CHECK_FALSE(check_role(e, "arn:aws:iam::123456789012:role/web"));

    const auto wrong = check_role(e, "arn:aws-cn:iam::123456789012:role/team/web");
    REQUIRE(wrong);
    CHECK(wrong->kind == failure_kind::unusable);
    CHECK(wrong->code == "WrongPartition");
    CHECK(wrong->message ==
          "role web of account 123456789012 is in partition aws-cn, but credlet calls the STS of aws "
          "(sts.eu-west-1.amazonaws.com, region eu-west-1): correct the role's ARN, or set --region "
          "to a region of aws-cn");

    const auto no_arn = check_role(e, "web");
    REQUIRE(no_arn);
    CHECK(no_arn->kind == failure_kind::misconfigured);
    CHECK(no_arn->code == "InvalidRoleArn");
}
