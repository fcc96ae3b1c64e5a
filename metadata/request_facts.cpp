#include "metadata/request_facts.hpp"

#include "metadata/imds_session.hpp"
#include "runtime/ascii.hpp"

#include <algorithm>
#include <charconv>

namespace credlet::metadata {

namespace {

constexpr std::size_t max_token = 20000;

// Takes a header that may be there once; there twice is there without a value.
void take_single(bool& there, std::string_view& into, std::string_view value) {
    into = there ? std::string_view() : value;
    there = true;
}

std::string_view without_scheme(std::string_view authorization) {
    constexpr std::string_view bearer = "bearer ";
    if (authorization.size() > bearer.size() &&
        ascii::equal_ignoring_case(authorization.substr(0, bearer.size()), bearer))
        authorization.remove_prefix(bearer.size());
    return authorization;
}

} // namespace

routed find_route(std::string_view target) {
    constexpr std::string_view ecs = "/v1/credentials";
    if (target.starts_with(ecs)) {
        const auto rest = target.substr(ecs.size());
        if (rest.empty())
            return {route::ecs_credentials, {}};
        if (rest.size() > 1 && rest.front() == '/')
            return {route::ecs_role, rest.substr(1)};
        return {};
    }
    if (!target.starts_with("/latest/"))
        return {};
    constexpr std::string_view list = "/latest/meta-data/iam/security-credentials";
    if (target.starts_with(list)) {
        auto rest = target.substr(list.size());
        if (rest.empty() || rest == "/")
            return {route::imds_list, {}};
        if (rest.front() != '/')
            return {route::imds_unknown, {}}; // security-credentials-extended: SDKs fall back on 404 only
        rest.remove_prefix(1);
        if (rest.size() > 1 && rest.front() == '/')
            rest.remove_prefix(1);
        if (rest.front() == '/')
            return {route::imds_unknown, {}};
        return {route::imds_role, rest};
    }
    if (target == "/latest/api/token")
        return {route::imds_token, {}};
    if (target == "/latest/meta-data/iam/info")
        return {route::imds_info, {}};
    if (target == "/latest/meta-data/placement/region")
        return {route::imds_region, {}};
    if (target == "/latest/meta-data/placement/availability-zone" ||
        target == "/latest/meta-data/placement/availability-zone/")
        return {route::imds_zone, {}};
    if (target == "/latest/dynamic/instance-identity/document")
        return {route::imds_document, {}};
    return {route::imds_unknown, {}};
}

request_facts read_facts(const request_head& head) {
    request_facts facts;
    facts.what = find_route(head.target);
    facts.wrong_method = head.method != (facts.what.where == route::imds_token ? "PUT" : "GET");
    facts.host = head.host;
    bool has_ttl = false;
    for (const auto& [name, value] : head.headers()) {
        switch (name.size()) {
        case 3:
            facts.forwarded |= ascii::equal_ignoring_case(name, "via");
            break;
        case 6:
            facts.browser |= ascii::equal_ignoring_case(name, "origin");
            break;
        case 9:
            facts.forwarded |= ascii::equal_ignoring_case(name, "forwarded") ||
                               ascii::equal_ignoring_case(name, "x-real-ip");
            break;
        case 13:
            if (ascii::equal_ignoring_case(name, "authorization"))
                take_single(facts.has_authorization, facts.token, value);
            break;
        case 15:
            facts.forwarded |= ascii::equal_ignoring_case(name, "x-forwarded-for");
            break;
        case 24:
            if (ascii::equal_ignoring_case(name, "x-aws-ec2-metadata-token"))
                take_single(facts.has_session, facts.session, value);
            break;
        case 36:
            if (ascii::equal_ignoring_case(name, "x-aws-ec2-metadata-token-ttl-seconds"))
                take_single(has_ttl, facts.ttl, value);
            break;
        default:
            break;
        }
        if (name.size() > 10 && ascii::lower(name.front()) == 's')
            facts.browser |= ascii::equal_ignoring_case(name.substr(0, 10), "sec-fetch-");
    }
    facts.token = without_scheme(facts.token);
    return facts;
}

bool has_token_form(std::string_view token) {
    if (token.size() > max_token)
        return false;
    int dots = 0;
    char before = '.';
    for (const char c : token) {
        if (c == '.') {
            if (before == '.' || ++dots > 2)
                return false;
        } else if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
                     c == '_')) {
            return false;
        }
        before = c;
    }
    return dots == 2 && before != '.';
}

std::optional<std::uint32_t> session_ttl(std::string_view text) {
    std::uint32_t value = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || problem != std::errc() || end != text.data() + text.size() || value < 1 ||
        value > imds_sessions::max_ttl.count())
        return std::nullopt;
    return value;
}

} // namespace credlet::metadata
