#pragma once
// What a request asks for and brings along, read from its head in one pass. Routing is exact on the raw
// target: nothing is decoded, normalised or matched by prefix except the role name at the end of the two
// credential routes.

#include "metrics/metrics.hpp"
#include "runtime/http_request_parser.hpp"

#include <cstdint>
#include <optional>
#include <string_view>

namespace credlet::metadata {

enum class route {
    unknown,         // 404
    ecs_credentials, // /v1/credentials
    ecs_role,        // /v1/credentials/<role name>
    imds_unknown,    // below /latest/, but nothing we have: 404 without a body
    imds_token,      // PUT /latest/api/token
    imds_list,       // /latest/meta-data/iam/security-credentials[/]
    imds_role,       // /latest/meta-data/iam/security-credentials/<role name>; minio-js sends two slashes
    imds_info,       // /latest/meta-data/iam/info
    imds_region,     // /latest/meta-data/placement/region
    imds_zone,       // /latest/meta-data/placement/availability-zone[/]; the AWS CLI sends the slash
    imds_document,   // /latest/dynamic/instance-identity/document
};

struct routed {
    route where = route::unknown;
    std::string_view role; // of ecs_role and imds_role; raw, never empty
};
[[nodiscard]] routed find_route(std::string_view target);
[[nodiscard]] constexpr bool is_imds(route r) { return r >= route::imds_unknown; }
[[nodiscard]] constexpr metrics::protocol protocol_of(route r) {
    return r == route::unknown ? metrics::protocol::other
           : is_imds(r)        ? metrics::protocol::imds
                               : metrics::protocol::ecs;
}

// Views point into the head.
struct request_facts {
    routed what;
    bool wrong_method = false;
    bool forwarded = false; // X-Forwarded-For, Forwarded, X-Real-IP or Via is there
    bool browser = false;   // Origin or Sec-Fetch-* is there
    std::string_view host;
    bool has_authorization = false;
    std::string_view token; // of Authorization, without "Bearer "; empty: there is none, or several headers
    bool has_session = false;
    std::string_view session; // X-aws-ec2-metadata-token; empty if there are several
    std::string_view ttl;     // X-aws-ec2-metadata-token-ttl-seconds; empty if there are several
};
[[nodiscard]] request_facts read_facts(const request_head& head);

// Three non-empty base64url parts between dots, 20 000 characters at most (STS takes no longer one).
[[nodiscard]] bool has_token_form(std::string_view token);
// 1 to 21600, decimal digits only.
[[nodiscard]] std::optional<std::uint32_t> session_ttl(std::string_view text);

} // namespace credlet::metadata
