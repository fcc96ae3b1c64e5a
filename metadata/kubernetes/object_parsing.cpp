#include "metadata/kubernetes/object_parsing.hpp"

#include "metadata/role_annotations.hpp"
#include "runtime/canonical_address.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace credlet::metadata::kubernetes {

namespace {

namespace dom = simdjson::dom;

// Static pods' mirrors carry it: https://kubernetes.io/docs/reference/labels-annotations-taints/
constexpr std::string_view mirror_annotation = "kubernetes.io/config.mirror";

// The keys of role_annotations.hpp, with room for the longest valid value of each: of a role's ARN the path
// may have 512 and the name 64 characters.
struct known_annotation {
    std::string_view key;
    std::size_t longest;
    bool credlets_own; // read under the first prefix alone
};
constexpr std::size_t longest_arn = 1024;
constexpr std::array<known_annotation, 6> known_annotations{{
    {"role-arn", longest_arn, false},
    {"audience", 256, false},
    {"session-duration", 16, true},
    {"target-role-arn", longest_arn, true},
    {"external-id", 1224, true},
    {"additional-role-arns", max_additional_roles* longest_arn, true},
}};
// Valid under none of the keys: it has a blank and parentheses.
constexpr std::string_view in_place_of_too_long = "(too long)";

const known_annotation* find_annotation(std::string_view name, const std::vector<std::string>& prefixes) {
    for (const auto& prefix : prefixes) {
        if (!name.starts_with(prefix))
            continue;
        for (const auto& known : known_annotations) {
            if (name.substr(prefix.size()) == known.key &&
                (!known.credlets_own || &prefix == &prefixes.front()))
                return &known;
        }
    }
    return nullptr;
}

struct identity {
    std::string uid, namespace_name, name;
    std::uint64_t version = 0;
};

result<identity> parse_identity(dom::element object, std::string_view kind) {
    const auto metadata = json_member(object, "metadata");
    if (!metadata)
        return fail(errc::malformed, std::string(kind) + " without metadata");
    const auto uid = json_string(*metadata, "uid");
    const auto namespace_name = json_string(*metadata, "namespace");
    const auto name = json_string(*metadata, "name");
    if (!uid || uid->empty() || !namespace_name || namespace_name->empty() || !name || name->empty())
        return fail(errc::malformed, std::string(kind) + " without uid, namespace or name");
    const auto version = json_string(*metadata, "resourceVersion").value_or("");
    return identity{std::string(*uid), std::string(*namespace_name), std::string(*name),
                    version_number(version)};
}

template <class Take>
void each_annotation(dom::element object, Take take) {
    dom::object annotations;
    if (object["metadata"]["annotations"].get(annotations) != simdjson::SUCCESS)
        return;
    for (const auto field : annotations) {
        std::string_view value;
        if (field.value.get(value) == simdjson::SUCCESS)
            take(field.key, value);
    }
}

void add_address(std::vector<boost::asio::ip::address>& all, std::string_view text) {
    const auto address = parse_address(text);
    if (address && std::find(all.begin(), all.end(), *address) == all.end())
        all.push_back(*address);
}

} // namespace

std::uint64_t version_number(std::string_view text) {
    std::uint64_t version = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), version);
    return problem == std::errc() && end == text.data() + text.size() ? version : 0;
}

std::optional<boost::asio::ip::address> parse_address(std::string_view text) {
    if (text.find('%') != std::string_view::npos)
        return std::nullopt;
    boost::system::error_code ec;
    const auto address = boost::asio::ip::make_address(text, ec);
    if (ec)
        return std::nullopt;
    return canonical(address);
}

result<pod> parse_pod(dom::element object) {
    auto id = parse_identity(object, "a pod");
    if (id.has_error())
        return id.error();
    const auto spec = json_member(object, "spec");
    if (!spec)
        return fail(errc::malformed, "pod " + id->namespace_name + "/" + id->name + " has no spec");

    pod p;
    p.uid = std::move(id->uid);
    p.namespace_name = std::move(id->namespace_name);
    p.name = std::move(id->name);
    p.version = id->version;
    p.terminating = json_member(*json_member(object, "metadata"), "deletionTimestamp").has_value();
    each_annotation(object,
                    [&](std::string_view key, std::string_view) { p.mirror |= key == mirror_annotation; });
    p.service_account = json_string(*spec, "serviceAccountName").value_or("");
    if (p.service_account.empty() && !p.mirror)
        return fail(errc::malformed, "pod " + p.namespace_name + "/" + p.name + " has no service account");
    p.node_name = json_string(*spec, "nodeName").value_or("");
    p.host_network = json_bool(*spec, "hostNetwork").value_or(false);

    if (const auto status = json_member(object, "status")) {
        const auto phase = json_string(*status, "phase").value_or("");
        p.terminal = phase == "Succeeded" || phase == "Failed";
        if (const auto first = json_string(*status, "podIP"))
            add_address(p.addresses, *first);
        dom::array all;
        if ((*status)["podIPs"].get(all) == simdjson::SUCCESS) {
            for (const auto entry : all) {
                if (const auto ip = json_string(entry, "ip"))
                    add_address(p.addresses, *ip);
            }
        }
    }
    return p;
}

result<service_account> parse_service_account(dom::element object, const std::vector<std::string>& prefixes) {
    auto id = parse_identity(object, "a service account");
    if (id.has_error())
        return id.error();
    service_account account;
    account.uid = std::move(id->uid);
    account.namespace_name = std::move(id->namespace_name);
    account.name = std::move(id->name);
    account.version = id->version;
    each_annotation(object, [&](std::string_view key, std::string_view value) {
        if (const auto* const known = find_annotation(key, prefixes))
            account.annotations.emplace_back(key,
                                             value.size() <= known->longest ? value : in_place_of_too_long);
    });
    std::sort(account.annotations.begin(), account.annotations.end());
    return account;
}

object_version version_of(dom::element object) {
    object_version v;
    if (const auto metadata = json_member(object, "metadata")) {
        v.uid = json_string(*metadata, "uid").value_or("");
        v.resource_version = json_string(*metadata, "resourceVersion").value_or("");
    }
    return v;
}

result<list_metadata> parse_list_metadata(dom::element list) {
    const auto metadata = json_member(list, "metadata");
    list_metadata m;
    if (metadata) {
        m.resource_version = json_string(*metadata, "resourceVersion").value_or("");
        m.continue_token = json_string(*metadata, "continue").value_or("");
    }
    if (m.resource_version.empty())
        return fail(errc::malformed, "a list without metadata.resourceVersion");
    return m;
}

std::optional<dom::array> list_items(dom::element list) {
    dom::array items;
    if (list["items"].get(items) != simdjson::SUCCESS)
        return std::nullopt;
    return items;
}

std::optional<api_status> parse_status(dom::element object) {
    if (json_string(object, "kind") != "Status")
        return std::nullopt;
    api_status s;
    const auto code = json_integer(object, "code").value_or(0);
    s.code = code >= 100 && code <= 599 ? static_cast<unsigned>(code) : 0;
    s.reason = one_line(json_string(object, "reason").value_or(""), 64);
    s.message = one_line(json_string(object, "message").value_or(""));
    if (const auto details = json_member(object, "details")) {
        const auto seconds = json_integer(*details, "retryAfterSeconds").value_or(0);
        if (seconds > 0 && seconds < 3600)
            s.retry_after_seconds = static_cast<unsigned>(seconds);
        dom::array causes;
        if ((*details)["causes"].get(causes) == simdjson::SUCCESS) {
            for (const auto cause : causes)
                s.version_too_large |= json_string(cause, "reason") == "ResourceVersionTooLarge";
        }
    }
    // Servers before 1.18 name it in the message alone.
    s.version_too_large |= s.message.starts_with("Too large resource version");
    return s;
}

std::string one_line(std::string_view text, std::size_t longest) {
    std::string line(text.substr(0, longest));
    // Not in the middle of a character.
    if (text.size() > longest) {
        while (!line.empty() && (static_cast<unsigned char>(text[line.size()]) & 0xc0) == 0x80)
            line.pop_back();
    }
    std::replace_if(
        line.begin(), line.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; },
        ' ');
    return line;
}

} // namespace credlet::metadata::kubernetes
