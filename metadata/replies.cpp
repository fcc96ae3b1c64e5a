#include "metadata/replies.hpp"

#include "runtime/json.hpp"

#include <array>
#include <cstdio>

namespace credlet::metadata {

namespace {

constexpr std::string_view json = "application/json"; // compared for equality by the Go SDK: no charset
constexpr std::string_view text = "text/plain";
constexpr std::string_view retry_soon = "Retry-After: 1\r\n";

// Appends `"name":"value"` behind a comma or an opening brace.
template <class String>
void member(String& out, std::string_view name, std::string_view value) {
    out.append(std::string_view(out.size() == 0 ? "{" : ","));
    append_json_string(out, name);
    out.push_back(':');
    append_json_string(out, value);
}

} // namespace

std::string utc_seconds(wall_time t) {
    const auto seconds = std::chrono::floor<std::chrono::seconds>(t);
    const auto day = std::chrono::floor<std::chrono::days>(seconds);
    const std::chrono::year_month_day date(day);
    const std::chrono::hh_mm_ss time(seconds - day);
    std::array<char, 32> buffer{};
    const int size =
        std::snprintf(buffer.data(), buffer.size(), "%04d-%02u-%02uT%02d:%02d:%02dZ",
                      static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                      static_cast<unsigned>(date.day()), static_cast<int>(time.hours().count()),
                      static_cast<int>(time.minutes().count()), static_cast<int>(time.seconds().count()));
    return {buffer.data(), static_cast<std::size_t>(size)};
}

reply_ptr render_credentials(const sts::credentials& c) {
    secret_string body;
    body.reserve(512 + c.secret_access_key.size() + c.session_token.size());
    member(body, "Code", "Success");
    member(body, "Type", "AWS-HMAC");
    member(body, "LastUpdated", utc_seconds(c.issued));
    member(body, "AccessKeyId", c.access_key_id);
    member(body, "SecretAccessKey", c.secret_access_key.reveal());
    member(body, "Token", c.session_token.reveal());
    member(body, "Expiration", utc_seconds(c.expiration));
    member(body, "AccountId", c.account_id);
    member(body, "RoleArn", c.role_arn);
    body.push_back('}');
    if (body.size() >= max_credentials_body)
        return nullptr;
    return std::make_shared<const rendered_reply>(200, json, body.reveal());
}

std::string denial_message(const sts::failure& f) {
    std::string message = f.message.empty() ? f.code : f.message;
    if (!f.request_id.empty())
        message += " (request id " + f.request_id + ")";
    return message;
}

reply_ptr render_ecs_denial(const sts::failure& f) {
    const std::string_view code = f.code.empty() ? "AccessDenied" : std::string_view(f.code);
    switch (f.kind) {
    case sts::failure_kind::unusable:
    case sts::failure_kind::no_token:
        return render_error(503, code, denial_message(f), retry_soon);
    case sts::failure_kind::misconfigured: // the annotations are wrong
        return render_error(400, code, denial_message(f));
    default:
        return render_error(403, code, denial_message(f));
    }
}

reply_ptr render_imds_denial(const sts::failure& f) {
    auto as_error = render_ecs_denial(f);
    return as_error->status() == 503 ? as_error : render_imds_denial(f.code, denial_message(f));
}

reply_ptr render_imds_denial(std::string_view code, std::string_view message) {
    std::string body;
    member(body, "Code", code == "Success" || code.empty() ? "AccessDenied" : code);
    member(body, "Message", message);
    body.push_back('}');
    return std::make_shared<const rendered_reply>(200, json, body);
}

reply_ptr render_imds_role_list(std::string_view role_name) { return render_text(role_name); }

reply_ptr render_imds_info(const std::string& role_arn, wall_time now) {
    // A pod has no instance profile; the ARN is formed from its role's, because clients look for the account
    // in it.
    std::string profile = role_arn;
    if (const auto at = profile.find(":role/"); at != std::string::npos)
        profile.replace(at, 6, ":instance-profile/");
    std::string body;
    member(body, "Code", "Success");
    member(body, "LastUpdated", utc_seconds(now));
    member(body, "InstanceProfileArn", profile);
    member(body, "InstanceProfileId", "AIPACREDLET0000000000");
    body.push_back('}');
    return std::make_shared<const rendered_reply>(200, json, body);
}

reply_ptr render_identity_document(std::string_view region, std::string_view availability_zone,
                                   std::string_view account_id, std::string_view instance_id, wall_time now) {
    std::string body;
    member(body, "version", "2017-09-30");
    member(body, "region", region);
    if (!availability_zone.empty())
        member(body, "availabilityZone", availability_zone);
    if (!account_id.empty())
        member(body, "accountId", account_id);
    member(body, "instanceId", instance_id);
    member(body, "pendingTime", utc_seconds(now));
    body.push_back('}');
    return std::make_shared<const rendered_reply>(200, json, body);
}

reply_ptr render_text(std::string_view body) {
    return std::make_shared<const rendered_reply>(200, text, body);
}

reply_ptr render_session_token(std::string_view token, std::chrono::seconds ttl) {
    // The Go, Rust and Java SDKs insist on the lifetime in the answer.
    const std::string header =
        "X-aws-ec2-metadata-token-ttl-seconds: " + std::to_string(ttl.count()) + "\r\n";
    return std::make_shared<const rendered_reply>(200, text, token, header);
}

standard_replies::standard_replies()
    : forwarded(render_error(403, "AccessDenied",
                             "Requests that passed through a proxy (X-Forwarded-For, Forwarded, "
                             "X-Real-IP, Via) are not answered.")),
      browser(render_error(403, "AccessDenied",
                           "Requests from web pages (Origin, Sec-Fetch-*) are not answered.")),
      wrong_host(render_error(403, "AccessDenied", "The Host header does not name this endpoint.")),
      ecs_not_found(render_error(404, "NotFound",
                                 "There is nothing at this path. Credentials are at "
                                 "/v1/credentials.")),
      imds_not_found(std::make_shared<const rendered_reply>(404, text, "")),
      method_get(render_error(405, "MethodNotAllowed", "Use GET.", "Allow: GET\r\n")),
      method_put(render_error(405, "MethodNotAllowed", "Use PUT.", "Allow: PUT\r\n")),
      bad_ttl(render_error(400, "BadRequest",
                           "X-aws-ec2-metadata-token-ttl-seconds must be one number from 1 to "
                           "21600.")),
      missing_token(render_error(403, "AccessDenied",
                                 "A service-account token is required in the Authorization "
                                 "header (AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE).")),
      imds_missing_token(render_error(403, "AccessDenied",
                                      "A service-account token is required in the Authorization "
                                      "header of the token request.")),
      bad_token_form(
          render_error(400, "InvalidToken", "The Authorization header is not a service-account token.")),
      bad_token(render_error(403, "AccessDenied",
                             "The service-account token was not accepted: it is expired, of "
                             "another cluster or audience, not bound to a pod, or forged.")),
      pod_not_here(render_error(403, "AccessDenied", "The pod does not run on this node (any more).")),
      identity_mismatch(render_error(403, "AccessDenied",
                                     "The token belongs to another pod than the one that sent "
                                     "it.")),
      identity_changed(
          render_error(403, "AccessDenied", "The address went to another pod while the request waited.")),
      unknown_address(render_error(403, "AccessDenied", "This address belongs to no pod of this node.")),
      host_network(render_error(403, "AccessDenied",
                                "Pods on the host network cannot be told apart by address and "
                                "must send a service-account token.")),
      address_conflict(render_error(503, "AddressConflict",
                                    "Two pods of this node have this address; nobody is "
                                    "served until one of them is gone.",
                                    retry_soon)),
      mirror_pod(render_error(403, "AccessDenied",
                              "Static pods have no service-account token and get no "
                              "credentials.")),
      bad_session(render_error(401, "Unauthorized",
                               "A valid session token is required in the "
                               "X-aws-ec2-metadata-token header.")),
      no_role(render_error(403, "NoRoleAssociated", "The pod's service account has no role-arn annotation.")),
      foreign_role(render_error(403, "AccessDenied", "This role is not one of the pod's roles.")),
      role_policy(render_error(403, "RoleNotAllowed",
                               "The role policy of this cluster does not let the pod's "
                               "namespace use the role.")),
      imds_role_policy(render_imds_denial("RoleNotAllowed",
                                          "The role policy of this cluster does not let the pod's "
                                          "namespace use the role.")),
      rate_limit(render_error(429, "TooManyRequests", "Too many requests from this pod.", retry_soon)),
      bad_token_limit(render_error(429, "TooManyRequests",
                                   "Too many tokens of this caller were not accepted.", retry_soon)),
      too_many_waiting_of_peer(
          render_error(429, "TooManyRequests", "Too many requests of this caller are waiting.", retry_soon)),
      too_many_waiting(render_error(503, "ServiceUnavailable", "Too many requests are waiting.", retry_soon)),
      uninitialized(render_error(503, "CredentialsUninitialized", "The pods of this node are not known yet.",
                                 retry_soon)),
      unavailable(render_error(503, "ServiceUnavailable", "Credentials cannot be obtained at the moment.",
                               retry_soon)),
      throttling(render_error(503, "Throttling", "STS asks for fewer requests.", retry_soon)) {}

} // namespace credlet::metadata
