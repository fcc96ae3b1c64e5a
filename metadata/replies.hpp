#pragma once
// The bodies that the pods get, in the forms the AWS SDKs understand.

#include "runtime/clock.hpp"
#include "runtime/http_server.hpp"
#include "sts/credentials.hpp"

#include <string>
#include <string_view>

namespace credlet::metadata {

// "2026-01-31T23:59:59Z": UTC, whole seconds, a literal Z. Each SDK refuses some other form of RFC 3339.
[[nodiscard]] std::string utc_seconds(wall_time t);

// The AWS C runtime stops reading at this size.
inline constexpr std::size_t max_credentials_body = 10000;

// One body for the container endpoint and for IMDS: what each of them must have, and all SDKs accept the
// rest. nullptr: the body would be too large for the SDKs (a session token of several kilobytes).
[[nodiscard]] reply_ptr render_credentials(const sts::credentials& c);

// A definitive failure: the code, message and request id of STS. The container endpoint says so with a status
// (403, or 400 where the request itself is wrong), IMDS with a 200 whose Code is not Success. What is no
// verdict on the caller (Kubernetes gave no token, the daemon's own configuration is wrong) is a 503 on both:
// SDKs try again, and it may be mended meanwhile.
[[nodiscard]] reply_ptr render_ecs_denial(const sts::failure& f);
[[nodiscard]] reply_ptr render_imds_denial(const sts::failure& f);
[[nodiscard]] reply_ptr render_imds_denial(std::string_view code, std::string_view message);
// "AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity (request id 1f2e…)", without the
// code.
[[nodiscard]] std::string denial_message(const sts::failure& f);

// The role list of IMDS: one bare name, no newline (clients paste it into their next URL).
[[nodiscard]] reply_ptr render_imds_role_list(std::string_view role_name);
[[nodiscard]] reply_ptr render_imds_info(const std::string& role_arn, wall_time now);
// account_id, availability_zone may be empty.
[[nodiscard]] reply_ptr render_identity_document(std::string_view region, std::string_view availability_zone,
                                                 std::string_view account_id, std::string_view instance_id,
                                                 wall_time now);
[[nodiscard]] reply_ptr render_text(std::string_view body);
[[nodiscard]] reply_ptr render_session_token(std::string_view token, std::chrono::seconds ttl);

// The replies that are always the same, rendered once.
struct standard_replies {
    standard_replies();

    reply_ptr forwarded, browser, wrong_host;
    reply_ptr ecs_not_found, imds_not_found, method_get, method_put, bad_ttl;
    reply_ptr missing_token, imds_missing_token, bad_token_form, bad_token, pod_not_here, identity_mismatch,
        identity_changed, unknown_address, host_network, address_conflict, mirror_pod, bad_session;
    reply_ptr no_role, foreign_role, role_policy, imds_role_policy;
    reply_ptr rate_limit, bad_token_limit, too_many_waiting_of_peer, too_many_waiting;
    reply_ptr uninitialized, unavailable, throttling;
};

} // namespace credlet::metadata
