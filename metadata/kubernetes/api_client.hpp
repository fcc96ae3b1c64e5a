#pragma once
// Requests to the Kubernetes API in the daemon's name: bearer token, impersonation where wanted, and refusals
// turned into errors that tell what Kubernetes said. Upstream loop only.

#include "metadata/kubernetes/daemon_token.hpp"
#include "metadata/kubernetes/object_parsing.hpp"
#include "runtime/https_client.hpp"

#include <memory>
#include <optional>
#include <string>

namespace credlet::metadata::kubernetes {

// What the API server refused, or why it was not reached.
struct api_error {
    errc kind = errc::internal;
    std::string message; // Kubernetes' own where there is one
    unsigned status = 0; // HTTP's or that of the Status object; 0: there was no answer
    std::string reason;  // "Forbidden", "Expired", ...; empty where it was no Status object
    std::optional<std::chrono::milliseconds> retry_after;
    bool version_too_large = false; // the resourceVersion asked for is ahead of what this server knows
};
template <class T>
using api_result = boost::system::result<T, api_error>;
[[noreturn]] void throw_exception_from_error(const api_error& e, const boost::source_location&);

struct api_request {
    std::string method = "GET";
    std::string target;
    std::string accept = "application/json";
    std::string body = {};    // JSON; empty: none
    bool as_own_node = false; // constrained impersonation: Impersonate-User and no other such header
    std::size_t max_response_body = std::size_t{64} * 1024;
};

// Any status but 2xx as an error. 401 and 403 are denied, 404 not_found, 429 throttled, other 4xx rejected,
// 5xx unavailable, anything else malformed.
api_error error_of_status(unsigned status, std::string_view body,
                          std::optional<std::chrono::milliseconds> retry_after);
// The same for the object of a watch's ERROR event, and for what happened below HTTP.
api_error error_of_object(simdjson::dom::element status_object);
api_error error_of_transport(const error& e);

// The Node authorizer lets a node see what its pods refer to, and what it knows of that comes from watches
// that may lag: so it answers about an object that is gone, one of another node, and one that was created
// just now.
bool is_unrelated_to_node(const api_error& e);

// What a query's value needs to be escaped: everything but RFC 3986's unreserved characters.
std::string query_escape(std::string_view text);

class api_client {
public:
    // Both references outlive it. node_name: whom as_own_node impersonates.
    api_client(https_client& http, daemon_token& token, const clock& time, std::string node_name)
        : http_(http),
          token_(token),
          time_(time),
          node_name_(std::move(node_name)) {}

    // A 2xx answer, whole. After a 401 the token file is read at once, and if there is another token than the
    // one that was sent, the request is sent once more.
    awaitable<api_result<http_response>> exchange(api_request request, std::chrono::milliseconds limit);
    // A 200 answer whose body is to come.
    awaitable<api_result<std::unique_ptr<http_stream>>> open(api_request request,
                                                             std::chrono::milliseconds limit);

private:
    http_request prepare(const api_request& request);

    https_client& http_;
    daemon_token& token_;
    const clock& time_;
    std::string node_name_;
};

} // namespace credlet::metadata::kubernetes
