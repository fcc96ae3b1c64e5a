#include "metadata/kubernetes/jwt.hpp"

#include "metadata/kubernetes/base64url.hpp"

#include <algorithm>
#include <array>

namespace credlet::metadata::kubernetes {

namespace {

namespace dom = simdjson::dom;

constexpr std::array<std::pair<std::string_view, signature_algorithm>, 6> algorithms{{
    {"RS256", signature_algorithm::rs256},
    {"RS384", signature_algorithm::rs384},
    {"RS512", signature_algorithm::rs512},
    {"ES256", signature_algorithm::es256},
    {"ES384", signature_algorithm::es384},
    {"ES512", signature_algorithm::es512},
}};

// The year 10000: times beyond it do not fit wall_time's users.
constexpr std::int64_t latest_time = 253'402'300'800;
constexpr std::size_t longest_name = 253; // RFC 1123 subdomain
constexpr std::size_t longest_uid = 128;
constexpr std::size_t longest_issuer = 2048;
constexpr std::size_t longest_key_id = 256;
constexpr std::size_t most_audiences = 64;

// Two members of one name mean one thing to one parser and another to the next (RFC 8259 section 4).
bool has_duplicates(dom::object object) {
    std::vector<std::string_view> names;
    for (const auto field : object)
        names.push_back(field.key);
    std::sort(names.begin(), names.end());
    return std::adjacent_find(names.begin(), names.end()) != names.end();
}

// The depth is bounded before by the parser, so this cannot exhaust the stack.
bool well_formed(dom::element value, std::size_t depth_left) {
    dom::object object;
    dom::array array;
    if (value.get(object) == simdjson::SUCCESS) {
        if (depth_left == 0 || has_duplicates(object))
            return false;
        return std::all_of(object.begin(), object.end(),
                           [&](auto field) { return well_formed(field.value, depth_left - 1); });
    }
    if (value.get(array) == simdjson::SUCCESS) {
        if (depth_left == 0)
            return false;
        return std::all_of(array.begin(), array.end(),
                           [&](auto element) { return well_formed(element, depth_left - 1); });
    }
    return true;
}

result<json_document> parse_part(std::string_view encoded, const char* what) {
    const auto bytes = decode_base64url(encoded);
    if (!bytes)
        return fail(errc::malformed, std::string("the token's ") + what + " is not base64url");
    auto document = json_document::parse(as_text(*bytes), max_jwt);
    if (document.has_error())
        return fail(errc::malformed, std::string("the token's ") + what + " is not JSON");
    if (!document->root().is_object() || !well_formed(document->root(), max_jwt_depth))
        return fail(errc::malformed, std::string("the token's ") + what +
                                         " is no JSON object, is nested too deep, or has a member twice");
    return document;
}

bool has_member(dom::element object, std::string_view name) {
    return object[name].error() == simdjson::SUCCESS;
}

bool is_printable(std::string_view text, std::size_t longest) {
    return !text.empty() && text.size() <= longest &&
           std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
}

// What names of namespaces, service accounts, pods and nodes consist of: no colon above all, which `sub` is
// made of.
bool is_name(std::string_view text) {
    return !text.empty() && text.size() <= longest_name && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
    });
}

// Absent: none. Present and no integer, or out of range: an error.
result<std::optional<wall_time>> read_time(dom::element claims, std::string_view name) {
    if (!has_member(claims, name))
        return std::optional<wall_time>();
    const auto seconds = json_integer(claims, name);
    if (!seconds || *seconds <= 0 || *seconds >= latest_time)
        return fail(errc::malformed, "the token's " + std::string(name) + " is not a time in whole seconds");
    return std::optional(wall_time(std::chrono::seconds(*seconds)));
}

result<std::vector<std::string>> read_audiences(dom::element claims) {
    std::vector<std::string> all;
    std::string_view one;
    dom::array many;
    if (claims["aud"].get(one) == simdjson::SUCCESS) {
        all.emplace_back(one);
    } else if (claims["aud"].get(many) == simdjson::SUCCESS && many.size() <= most_audiences) {
        for (const auto entry : many) {
            if (entry.get(one) != simdjson::SUCCESS)
                return fail(errc::malformed, "the token's aud is neither a string nor an array of strings");
            all.emplace_back(one);
        }
    }
    if (all.empty())
        return fail(errc::malformed, "the token names no audience (aud)");
    return all;
}

// An object that Kubernetes names by name and uid.
bool read_reference(dom::element kubernetes, std::string_view member, std::string& name, std::string& uid) {
    const auto object = json_member(kubernetes, member);
    if (!object || !object->is_object())
        return false;
    name = json_string(*object, "name").value_or("");
    uid = json_string(*object, "uid").value_or("");
    return is_name(name) && is_printable(uid, longest_uid);
}

} // namespace

std::optional<signature_algorithm> parse_algorithm(std::string_view name) {
    for (const auto& [known, algorithm] : algorithms) {
        if (name == known)
            return algorithm;
    }
    return std::nullopt;
}

result<unverified_jwt> parse_jwt(std::string_view text) {
    if (text.size() > max_jwt)
        return fail(errc::malformed, "the token is longer than " + std::to_string(max_jwt) + " characters");
    const auto first = text.find('.');
    const auto second = first == std::string_view::npos ? first : text.find('.', first + 1);
    if (second == std::string_view::npos || text.find('.', second + 1) != std::string_view::npos)
        return fail(errc::malformed, "the token is not a JWT: it does not have three parts");

    const auto header = parse_part(text.substr(0, first), "header");
    if (header.has_error())
        return header.error();
    const auto root = header->root();
    const auto algorithm = parse_algorithm(json_string(root, "alg").value_or(""));
    if (!algorithm)
        return fail(errc::untrusted, "the token's alg is none of RS256, RS384, RS512, ES256, ES384, ES512");
    // RFC 7515 section 4.1.11: what it lists must be understood, and nothing that can stand there is. RFC
    // 7797: b64 changes what is signed.
    if (has_member(root, "crit") || has_member(root, "b64"))
        return fail(errc::untrusted, "the token's header has crit or b64, which no Kubernetes token has");
    if (has_member(root, "typ") && json_string(root, "typ") != "JWT")
        return fail(errc::untrusted, "the token's typ is not JWT");
    const auto key_id = json_string(root, "kid");
    if (!key_id || !is_printable(*key_id, longest_key_id))
        return fail(errc::untrusted, "the token does not name its key (kid)");

    auto claims = parse_part(text.substr(first + 1, second - first - 1), "payload");
    if (claims.has_error())
        return claims.error();
    auto signature = decode_base64url(text.substr(second + 1));
    if (!signature || signature->empty())
        return fail(errc::malformed, "the token's signature is missing or not base64url");
    return unverified_jwt{*algorithm, std::string(*key_id), text.substr(0, second), std::move(*signature),
                          std::move(*claims)};
}

result<service_account_claims> read_claims(const json_document& document) {
    const auto claims = document.root();
    service_account_claims c;
    auto& token = c.token;

    token.issuer = json_string(claims, "iss").value_or("");
    if (!is_printable(token.issuer, longest_issuer))
        return fail(errc::malformed, "the token names no issuer (iss)");
    auto audiences = read_audiences(claims);
    if (audiences.has_error())
        return audiences.error();
    token.audiences = std::move(*audiences);

    const auto expires = read_time(claims, "exp");
    const auto not_before = read_time(claims, "nbf");
    const auto issued_at = read_time(claims, "iat");
    for (const auto* time : {&expires, &not_before, &issued_at}) {
        if (time->has_error())
            return time->error();
    }
    if (!*expires)
        return fail(errc::malformed, "the token does not expire (exp)");
    token.expires = **expires;
    c.not_before = *not_before;
    c.issued_at = *issued_at;

    const auto kubernetes = json_member(claims, "kubernetes.io");
    if (!kubernetes || !kubernetes->is_object())
        return fail(errc::untrusted, "the token has no kubernetes.io claims: it is no service-account token");
    token.namespace_name = json_string(*kubernetes, "namespace").value_or("");
    if (!is_name(token.namespace_name) ||
        !read_reference(*kubernetes, "serviceaccount", token.service_account, token.service_account_uid))
        return fail(errc::untrusted, "the token's kubernetes.io claims name no service account");
    if (json_string(claims, "sub") !=
        "system:serviceaccount:" + token.namespace_name + ":" + token.service_account)
        return fail(errc::untrusted, "the token's sub is not its service account");
    if (!read_reference(*kubernetes, "pod", token.pod_name, token.pod_uid))
        return fail(errc::untrusted, "the token is not bound to a pod");
    std::string node_uid;
    if (has_member(*kubernetes, "node") && !read_reference(*kubernetes, "node", token.node_name, node_uid))
        return fail(errc::untrusted, "the token's node claim is incomplete");
    return c;
}

result<void> check_claims(const service_account_claims& c, const claim_expectations& expected,
                          wall_time now) {
    const auto& token = c.token;
    if (expected.issuer.empty() || token.issuer != expected.issuer)
        return fail(errc::untrusted, "the token's issuer (iss) is not this cluster's");
    const bool meant = std::any_of(token.audiences.begin(), token.audiences.end(), [&](const auto& a) {
        return std::find(expected.audiences.begin(), expected.audiences.end(), a) != expected.audiences.end();
    });
    if (!meant)
        return fail(errc::untrusted, "the token is for another audience (aud)");
    if (token.expires <= now)
        return fail(errc::untrusted, "the token has expired (exp)");
    if (c.not_before && *c.not_before > now + clock_leeway)
        return fail(errc::untrusted,
                    "the token is not valid yet (nbf); are this node's clock and the API server's apart?");
    if (c.issued_at && *c.issued_at > now + clock_leeway)
        return fail(
            errc::untrusted,
            "the token was issued in the future (iat); are this node's clock and the API server's apart?");
    return {};
}

} // namespace credlet::metadata::kubernetes
