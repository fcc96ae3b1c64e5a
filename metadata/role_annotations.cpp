#include "metadata/role_annotations.hpp"

#include "sts/credentials.hpp"

#include <algorithm>
#include <charconv>

namespace credlet::metadata {

namespace {

using annotation_list = std::span<const std::pair<std::string, std::string>>;

constexpr std::size_t max_audience = 256;
constexpr std::size_t max_external_id = 1224; // AssumeRole's limit
constexpr std::size_t max_shown = 80;

const std::string* find(annotation_list annotations, std::string_view prefix, std::string_view key) {
    for (const auto& [name, value] : annotations)
        if (name.size() == prefix.size() + key.size() && name.starts_with(prefix) && name.ends_with(key))
            return &value;
    return nullptr;
}

// An untrusted value in a message: printable, and not the whole of a long one.
std::string shown(std::string_view value) {
    std::string text = "\"";
    for (const char c : value.substr(0, max_shown))
        text += c >= 0x20 && c < 0x7f && c != '"' ? c : '?';
    return text + (value.size() > max_shown ? "…\"" : "\"");
}

error wrong(std::string_view prefix, std::string_view key, const std::string& problem) {
    return fail(errc::malformed, "annotation " + std::string(prefix) + std::string(key) + ": " + problem);
}

bool alphanumeric(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

result<std::string> complete_role_arn(std::string_view value, std::string_view base) {
    if (value.empty())
        return fail(errc::malformed, "is empty");
    std::string arn(value);
    if (!value.starts_with("arn:")) {
        if (base.empty())
            return fail(errc::malformed, shown(value) +
                                             " is not an ARN, and without --role-arn-base a bare role "
                                             "name means nothing");
        arn.insert(0, base);
    }
    if (auto parsed = sts::role_arn::parse(arn); !parsed)
        return fail(errc::malformed, shown(value) + ": " + parsed.error().message);
    return arn;
}

result<std::chrono::seconds> read_duration(std::string_view value) {
    std::int64_t seconds = 0;
    const auto [end, problem] = std::from_chars(value.data(), value.data() + value.size(), seconds);
    if (problem != std::errc() || end != value.data() + value.size() || seconds < sts::min_duration.count() ||
        seconds > sts::max_duration.count())
        return fail(errc::malformed, shown(value) + " is not a number of seconds from 900 to 43200");
    return std::chrono::seconds(seconds);
}

result<std::string> read_audience(std::string_view value) {
    if (value.empty() || value.size() > max_audience ||
        !std::all_of(value.begin(), value.end(), [](char c) { return c > 0x20 && c < 0x7f; }))
        return fail(errc::malformed, shown(value) + " is not 1 to 256 visible ASCII characters");
    return std::string(value);
}

result<std::string> read_external_id(std::string_view value) {
    constexpr std::string_view others = "_+=,.@:/-";
    if (value.size() < 2 || value.size() > max_external_id ||
        !std::all_of(value.begin(), value.end(),
                     [&](char c) { return alphanumeric(c) || others.find(c) != std::string_view::npos; }))
        return fail(errc::malformed, shown(value) + " is not 2 to 1224 of letters, digits and _+=,.@:/-");
    return std::string(value);
}

constexpr std::string_view white_space = " \t\r\n", separators = ", \t\r\n";

// The first of a list that begins with no separator; what separates is in the header.
std::string_view first_role(std::string_view list) {
    const auto item = list.substr(0, list.find_first_of(white_space));
    const bool is_arn = item.starts_with("arn:");
    for (auto comma = item.find(','); comma != std::string_view::npos; comma = item.find(',', comma + 1)) {
        const auto next = item.substr(comma + 1);
        if (!is_arn || next.empty() || next.starts_with(',') || next.starts_with("arn:"))
            return item.substr(0, comma);
    }
    return item;
}

result<std::vector<std::string>> read_additional(std::string_view value, std::string_view base) {
    std::vector<std::string> arns;
    while (true) {
        const auto start = value.find_first_not_of(separators);
        if (start == std::string_view::npos)
            return arns;
        value.remove_prefix(start);
        const auto item = first_role(value);
        value.remove_prefix(item.size());
        auto arn = complete_role_arn(item, base);
        if (!arn)
            return std::move(arn).error();
        if (std::find(arns.begin(), arns.end(), *arn) != arns.end())
            continue;
        if (arns.size() == max_additional_roles)
            return fail(errc::malformed, "names more than 16 roles");
        arns.push_back(std::move(*arn));
    }
}

// Roles are asked for by name, so each name must mean one role.
std::optional<std::string> ambiguous_name(const role_request& request) {
    const auto name_of = [](const std::string& arn) { return sts::role_arn::parse(arn)->name; };
    std::vector<std::string> names{
        name_of(request.target_role_arn.empty() ? request.role_arn : request.target_role_arn)};
    for (const auto& arn : request.additional_role_arns) {
        auto name = name_of(arn);
        if (std::find(names.begin(), names.end(), name) != names.end())
            return name;
        names.push_back(std::move(name));
    }
    return std::nullopt;
}

} // namespace

result<std::optional<role_request>> read_role_annotations(annotation_list annotations,
                                                          const annotation_rules& rules) {
    const auto with_role =
        std::find_if(rules.prefixes.begin(), rules.prefixes.end(), [&](const std::string& prefix) {
            return find(annotations, prefix, "role-arn") != nullptr;
        });
    if (with_role == rules.prefixes.end())
        return std::optional<role_request>();
    const std::string& prefix = *with_role;
    const std::string& own = rules.prefixes.front();

    role_request request;
    auto arn = complete_role_arn(*find(annotations, prefix, "role-arn"), rules.role_arn_base);
    if (!arn)
        return wrong(prefix, "role-arn", arn.error().message);
    request.role_arn = std::move(*arn);

    request.audience = rules.default_audience;
    if (const auto* value = find(annotations, prefix, "audience")) {
        auto audience = read_audience(*value);
        if (!audience)
            return wrong(prefix, "audience", audience.error().message);
        request.audience = std::move(*audience);
    }
    if (const auto* value = find(annotations, own, "session-duration")) {
        auto duration = read_duration(*value);
        if (!duration)
            return wrong(own, "session-duration", duration.error().message);
        request.duration = *duration;
    }
    if (const auto* value = find(annotations, own, "target-role-arn")) {
        auto target = complete_role_arn(*value, rules.role_arn_base);
        if (!target)
            return wrong(own, "target-role-arn", target.error().message);
        if (request.duration > sts::default_duration)
            return wrong(own, "session-duration", "STS limits chained roles to 3600 seconds");
        request.target_role_arn = std::move(*target);
    }
    if (const auto* value = find(annotations, own, "external-id")) {
        auto id = read_external_id(*value);
        if (!id)
            return wrong(own, "external-id", id.error().message);
        if (request.target_role_arn.empty())
            return wrong(own, "external-id",
                         "is for a target role, and there is no " + own + "target-role-arn");
        request.external_id = std::move(*id);
    }
    if (const auto* value = find(annotations, own, "additional-role-arns")) {
        auto arns = read_additional(*value, rules.role_arn_base);
        if (!arns)
            return wrong(own, "additional-role-arns", arns.error().message);
        request.additional_role_arns = std::move(*arns);
        // The default role itself is no further one.
        if (request.target_role_arn.empty())
            std::erase(request.additional_role_arns, request.role_arn);
        if (const auto name = ambiguous_name(request))
            return wrong(own, "additional-role-arns",
                         "two roles are named " + shown(*name) +
                             "; roles are asked for by name, so names must differ");
    }
    return std::optional<role_request>(std::move(request));
}

} // namespace credlet::metadata
