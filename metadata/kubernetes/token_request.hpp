#pragma once
// TokenRequest: a new token for a service account, bound to a pod.
// https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/

#include "metadata/kubernetes/api_client.hpp"
#include "metadata/objects.hpp"
#include "sts/credentials.hpp"

#include <string>
#include <string_view>

namespace credlet::metadata::kubernetes {

// Kubernetes refuses less with 422.
inline constexpr std::chrono::seconds min_token_lifetime{600};

// POST .../serviceaccounts/NAME/token. The audience is always named: without one, Kubernetes would hand out a
// token for its own API. The binding names the pod by name and uid, so that it ends with the pod.
api_request make_token_request(const pod& p, std::string_view audience, std::chrono::seconds lifetime);

struct requested_token {
    secret_string jwt;
    wall_time expires; // status.expirationTimestamp: the server may give less than was asked for
};
result<requested_token> parse_token_answer(std::string_view body);

// RFC 3339 as Kubernetes writes it (UTC, whole seconds); none: something else.
std::optional<wall_time> parse_timestamp(std::string_view text);

// Whether another pod of the service account may succeed: this one is gone or was replaced, has no volume
// with the audience, or is not known yet to what confines the request.
bool concerns_pod(const api_error& e);

// What a failed TokenRequest means for the caller: 400, 403, 404, 409 and 422 are definitive, with
// Kubernetes' own words and what to do; everything else may go away by itself, and so may a refusal because
// the Node authorizer, NodeRestriction or the chart's admission policy has not yet seen that the pod was
// scheduled here. source: "request" or "impersonate".
sts::failure token_failure(const api_error& e, std::string_view source, const pod& p,
                           std::string_view audience, std::string_view node_name);

} // namespace credlet::metadata::kubernetes
