#include "metadata/kubernetes/token_request.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace credlet::metadata::kubernetes {

namespace {

constexpr std::size_t max_answer = std::size_t{64} * 1024;

// The digits of text at [at, at + n) as a number; -1 if they are none.
int digits(std::string_view text, std::size_t at, std::size_t n) {
    int value = -1;
    const auto* const first = text.data() + at;
    const auto [end, ec] = std::from_chars(first, first + n, value);
    return ec == std::errc() && end == first + n ? value : -1;
}

bool contains(const api_error& e, std::string_view words) {
    return e.message.find(words) != std::string::npos;
}

// What decides about nodes sees pods by watches of its own. To us the pod is one of this node's, so a refusal
// that says otherwise is older than what we know.
bool is_behind(const api_error& e) {
    return is_unrelated_to_node(e) ||
           (e.status == 403 &&
            contains(e, "bound to a pod scheduled on a different node")) || // NodeRestriction
           // The chart's ValidatingAdmissionPolicy; 422 unless it gives another reason.
           ((e.status == 403 || e.status == 422) && contains(e, "bound pod is not on the caller's node"));
}

std::string advice(const api_error& e, std::string_view source, const pod& p, std::string_view audience,
                   std::string_view node_name) {
    const auto account = p.namespace_name + "/" + p.service_account;
    if (is_behind(e))
        return "the API server has yet to see that the pod runs on node " + std::string(node_name);
    switch (e.status) {
    case 403:
        if (contains(e, "impersonate"))
            return "grant impersonate:associated-node on nodes (authentication.k8s.io) to the daemon's "
                   "service account "
                   "(Kubernetes 1.36 and later), or use another --token-source";
        if (contains(e, "audience"))
            return "let system:nodes request the audience " + std::string(audience) +
                   " (verb request-serviceaccounts-token-audience), or see the admission policy that "
                   "confines "
                   "credlet's token requests";
        if (source == "impersonate")
            return "grant impersonate-on:associated-node:create on serviceaccounts/token to the daemon's "
                   "service account";
        return "grant create on serviceaccounts/token in namespace " + p.namespace_name +
               " to the daemon's service account; where that is granted, see the admission policy that "
               "confines it";
    case 404:
        return "service account " + account + " or pod " + p.name + " is gone";
    case 409:
        return "pod " + p.name + " or service account " + account + " was replaced by another of that name";
    case 400:
    case 422:
        return "see the audience annotation of service account " + account +
               " and the token lifetime asked for";
    case 401:
        return "see that --kube-token-file holds a valid token of this cluster";
    default:
        return "node " + std::string(node_name) + " keeps trying";
    }
}

} // namespace

api_request make_token_request(const pod& p, std::string_view audience, std::chrono::seconds lifetime) {
    api_request request;
    request.method = "POST";
    request.target = "/api/v1/namespaces/" + query_escape(p.namespace_name) + "/serviceaccounts/" +
                     query_escape(p.service_account) + "/token";
    request.max_response_body = max_answer;
    auto& body = request.body;
    body = R"({"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"audiences":[)";
    append_json_string(body, audience);
    body += "],\"expirationSeconds\":" + std::to_string(std::max(lifetime, min_token_lifetime).count());
    body += R"(,"boundObjectRef":{"apiVersion":"v1","kind":"Pod","name":)";
    append_json_string(body, p.name);
    body += ",\"uid\":";
    append_json_string(body, p.uid);
    body += "}}}";
    return request;
}

std::optional<wall_time> parse_timestamp(std::string_view text) {
    // YYYY-MM-DDTHH:MM:SSZ
    if (text.size() != 20 || text[4] != '-' || text[7] != '-' || text[10] != 'T' || text[13] != ':' ||
        text[16] != ':' || text[19] != 'Z')
        return std::nullopt;
    const int year = digits(text, 0, 4);
    const int month = digits(text, 5, 2);
    const int day = digits(text, 8, 2);
    const int hour = digits(text, 11, 2);
    const int minute = digits(text, 14, 2);
    const int second = digits(text, 17, 2);
    if (year < 1970 || month < 1 || day < 1 || hour < 0 || hour > 23 || minute < 0 || minute > 59 ||
        second < 0 || second > 59)
        return std::nullopt;
    const std::chrono::year_month_day date{std::chrono::year(year),
                                           std::chrono::month(static_cast<unsigned>(month)),
                                           std::chrono::day(static_cast<unsigned>(day))};
    if (!date.ok())
        return std::nullopt;
    return wall_time(std::chrono::sys_days(date).time_since_epoch() + std::chrono::hours(hour) +
                     std::chrono::minutes(minute) + std::chrono::seconds(second));
}

result<requested_token> parse_token_answer(std::string_view body) {
    const auto document = json_document::parse(body, max_answer);
    if (document.has_error())
        return in_context("the answer to a TokenRequest", document.error());
    const auto status = json_member(document->root(), "status");
    if (!status)
        return fail(errc::malformed, "the answer to a TokenRequest has no status");
    const auto token = json_string(*status, "token");
    const auto expires = parse_timestamp(json_string(*status, "expirationTimestamp").value_or(""));
    if (!token || token->empty() || token->size() > 20000 || !expires)
        return fail(errc::malformed, "the answer to a TokenRequest has no token, or one without an expiry");
    return requested_token{secret_string(*token), *expires};
}

bool concerns_pod(const api_error& e) {
    return e.status == 404 || e.status == 409 || (e.status == 403 && contains(e, "audience")) || is_behind(e);
}

sts::failure token_failure(const api_error& e, std::string_view source, const pod& p,
                           std::string_view audience, std::string_view node_name) {
    static constexpr std::array<unsigned, 5> definitive{400, 403, 404, 409, 422};
    sts::failure f;
    f.kind = e.kind == errc::cancelled ? sts::failure_kind::cancelled : sts::failure_kind::no_token;
    f.code = e.reason.empty() ? "NoToken" : e.reason;
    f.http_status = e.status;
    f.retry_after = e.retry_after;
    f.definitive =
        std::find(definitive.begin(), definitive.end(), e.status) != definitive.end() && !is_behind(e);
    if (e.status == 0)
        f.transport = e.kind;
    f.message = "no token for service account " + p.namespace_name + "/" + p.service_account + " (pod " +
                p.name + ", source " + std::string(source) + "): " +
                (e.status == 0 ? e.message
                               : "the API server answered " + std::to_string(e.status) + ": " + e.message) +
                "; " + advice(e, source, p, audience, node_name);
    return f;
}

} // namespace credlet::metadata::kubernetes
