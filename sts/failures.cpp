#include "sts/failures.hpp"

#include <algorithm>
#include <array>

namespace credlet::sts {

namespace {

using enum failure_kind;

struct rule {
    std::string_view code; // without "Exception"
    failure_kind kind;
    std::string_view hint = {};
};

constexpr std::string_view region_hint = "activate the region's STS endpoint in the account settings of IAM, "
                                         "or set --region to one that is active";
constexpr std::string_view endpoint_hint = "check that --sts-endpoint is an STS endpoint of --region";
constexpr std::string_view header_hint = "is there a proxy before STS that changes headers?";

constexpr std::array rules{
    // The web identity token. For AssumeRole, ExpiredToken means the first role's credentials, which a fresh
    // token
    // renews as well.
    rule{"ExpiredToken", token_rejected},
    rule{"InvalidIdentityToken", token_rejected}, // but see key_not_retrieved
    rule{"IDPCommunicationError", transient},
    rule{"IDPRejectedClaim", denied},
    // Who may do what.
    rule{"AccessDenied", denied},
    rule{"NotAuthorized", denied},
    rule{"UnauthorizedOperation", denied},
    // What was asked for.
    rule{"ValidationError", misconfigured},
    rule{"Validation", misconfigured}, // ValidationException
    rule{"MalformedPolicyDocument", misconfigured},
    rule{"PackedPolicyTooLarge", misconfigured},
    rule{"InvalidParameterValue", misconfigured},
    rule{"InvalidParameterCombination", misconfigured},
    rule{"InvalidQueryParameter", misconfigured},
    rule{"MalformedQueryString", misconfigured},
    rule{"MissingParameter", misconfigured},
    // Where it was asked.
    rule{"RegionDisabled", unusable, region_hint},
    rule{"OptInRequired", unusable, region_hint},
    rule{"SubscriptionRequired", unusable, region_hint},
    rule{"InvalidAction", unusable, endpoint_hint},
    rule{"MissingAction", unusable, endpoint_hint},
    rule{"UnknownOperation", unusable, endpoint_hint},
    rule{"IncompleteSignature", unusable, header_hint},
    rule{"MissingAuthenticationToken", unusable, header_hint},
    // The signed call of role chaining. Its credentials were issued a moment ago by the same STS, so a fresh
    // token
    // would change nothing. A clock that is wrong is corrected by the Date of this very answer before the
    // next
    // attempt; credentials that STS does not know yet, it will.
    rule{"SignatureDoesNotMatch", transient},
    rule{"RequestExpired", transient},
    rule{"RequestTimeTooSkewed", transient},
    rule{"InvalidClientTokenId", transient},
    rule{"UnrecognizedClient", transient},
    // Too many requests: what SDKs take for throttling.
    rule{"Throttling", throttled},
    rule{"Throttled", throttled},
    rule{"RequestThrottled", throttled},
    rule{"TooManyRequests", throttled},
    rule{"RequestLimitExceeded", throttled},
    rule{"LimitExceeded", throttled},
    rule{"BandwidthLimitExceeded", throttled},
    rule{"SlowDown", throttled},
    // STS in bad shape.
    rule{"InternalFailure", transient},
    rule{"InternalError", transient},
    rule{"InternalServerError", transient},
    rule{"ServiceUnavailable", transient},
    rule{"RequestTimeout", transient},
};

std::string_view without_exception(std::string_view code) {
    constexpr std::string_view suffix = "Exception";
    if (code.ends_with(suffix))
        code.remove_suffix(suffix.size());
    return code;
}

// One code for two things: a token that is bad, and one that could not be checked because AWS failed to fetch
// the issuer's keys, which it does again a few seconds later.
bool key_not_retrieved(const error_document& e) {
    return e.message.find("retrieve verification key") != std::string::npos;
}

// For a code that is in no table.
failure_kind kind_of_status(unsigned status) {
    if (status == 429)
        return throttled;
    if (status >= 500 || status == 408)
        return transient;
    if (status == 401 || status == 403)
        return denied;
    return status == 400 ? misconfigured : unusable;
}

struct transport_rule {
    errc what;
    std::string_view code;
};
constexpr std::array transport_rules{
    transport_rule{errc::cancelled, "Cancelled"},
    transport_rule{errc::timed_out, "Timeout"},
    transport_rule{errc::resolve_failed, "DnsFailed"},
    transport_rule{errc::connect_failed, "ConnectFailed"},
    transport_rule{errc::tls_failed, "TlsFailed"},
    transport_rule{errc::connection_lost, "ConnectionLost"},
    transport_rule{errc::too_large, "TooLarge"},
    transport_rule{errc::malformed, "Malformed"},
    transport_rule{errc::overloaded, "Overloaded"},
};

constexpr std::size_t max_line = 512;
constexpr std::size_t max_scanned = 2048; // bounds the search for secrets
constexpr std::size_t shortest_secret_piece = 12;

// The longest piece of any secret that text begins with; 0 if it is not long enough to count.
std::size_t secret_prefix(std::string_view text, std::span<const std::string_view> secrets) {
    std::size_t longest = 0;
    for (const auto secret : secrets) {
        const auto shortest = std::min(shortest_secret_piece, secret.size());
        if (shortest == 0 || text.size() < shortest)
            continue;
        const auto start = text.substr(0, shortest);
        for (auto at = secret.find(start); at != std::string_view::npos; at = secret.find(start, at + 1)) {
            const auto rest = secret.substr(at);
            const auto [differs, _] = std::mismatch(text.begin(), text.end(), rest.begin(), rest.end());
            longest = std::max(longest, static_cast<std::size_t>(differs - text.begin()));
        }
    }
    return longest;
}

} // namespace

failure from_error_document(const error_document& e, unsigned status,
                            std::optional<std::chrono::milliseconds> retry_after) {
    failure f;
    f.code = e.code;
    f.message = e.message;
    f.request_id = e.request_id;
    f.http_status = status;
    f.retry_after = retry_after;

    const auto found = std::find_if(rules.begin(), rules.end(),
                                    [&](const rule& r) { return r.code == without_exception(e.code); });
    f.kind = found != rules.end() ? found->kind : kind_of_status(status);
    if (status == 429)
        f.kind = throttled;
    else if (status >= 500 && f.kind != throttled)
        f.kind = transient;
    else if (f.kind == token_rejected && key_not_retrieved(e))
        f.kind = transient;
    if (found != rules.end() && !found->hint.empty() && f.kind == found->kind)
        f.message.append(f.message.empty() ? "" : "; ").append(found->hint);
    return f;
}

failure from_status(unsigned status, std::optional<std::chrono::milliseconds> retry_after) {
    failure f;
    f.code = "Http" + std::to_string(status);
    f.http_status = status;
    f.retry_after = retry_after;
    f.message = "the answer has status " + std::to_string(status) + " and is not one of STS";
    if (status == 429) {
        f.kind = throttled;
    } else if (status >= 300 && status < 400) {
        f.code = "Redirected";
        f.message =
            "the answer is a redirect (status " + std::to_string(status) +
            "), which is never followed: STS sends none; check --sts-endpoint and what stands before it";
    }
    return f;
}

failure from_transport(const error& e) {
    failure f;
    f.kind = e.kind == errc::cancelled ? cancelled : transient;
    const auto found = std::find_if(transport_rules.begin(), transport_rules.end(),
                                    [&](const transport_rule& r) { return r.what == e.kind; });
    f.code = found != transport_rules.end() ? found->code : "TransportFailed";
    f.message = e.message;
    f.transport = e.kind;
    return f;
}

std::string_view metric_result(const failure& f) {
    if (f.transport)
        return to_string(*f.transport);
    if (!f.code.starts_with("Http"))
        return f.code;
    if (f.http_status == 429)
        return to_string(errc::throttled);
    if (f.http_status >= 500)
        return to_string(errc::unavailable);
    return to_string(f.http_status == 401 || f.http_status == 403 ? errc::denied : errc::rejected);
}

std::string one_line(std::string_view text, std::span<const std::string_view> secrets) {
    const bool cut = text.size() > max_scanned;
    // A piece too short to be told may stand where the text is cut.
    text = text.substr(0, max_scanned);
    const std::size_t end = cut ? text.size() - shortest_secret_piece : text.size();
    std::string line;
    line.reserve(std::min(end, max_line));
    for (std::size_t i = 0; i < end && line.size() < max_line;) {
        if (const auto secret = secret_prefix(text.substr(i), secrets); secret > 0) {
            line.append("[redacted]");
            i += secret;
            continue;
        }
        const char c = text[i++];
        if (c >= ' ' && c <= '~')
            line.push_back(c);
        else if (c == '\n' || c == '\r' || c == '\t')
            line.push_back(' ');
        else
            line.push_back('?');
    }
    if (line.size() > max_line)
        line.resize(max_line);
    return line;
}

} // namespace credlet::sts
