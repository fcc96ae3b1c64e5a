#include "sts/answer.hpp"

#include "runtime/json.hpp"

#include <pugixml.hpp>

#include <algorithm>
#include <cmath>
#include <optional>

namespace credlet::sts {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_printable(char c) { return c > ' ' && c <= '~'; }
bool is_identifier_character(char c) {
    return is_digit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           std::string_view("._:-").find(c) != std::string_view::npos;
}

// Limits that leave room for what AWS says not to assume ("typically less than 4096 bytes"), yet keep a reply
// to a pod within bounds.
constexpr std::size_t max_access_key_id = 128, max_secret_access_key = 256,
                      max_session_token = std::size_t{16} * 1024;
constexpr std::size_t max_assumed_role_arn = 2048;
constexpr std::size_t max_identifier = 64;

bool is_plausible(std::string_view field, std::size_t max_size) {
    return !field.empty() && field.size() <= max_size &&
           std::all_of(field.begin(), field.end(), is_printable);
}

bool is_identifier(std::string_view text) {
    return !text.empty() && text.size() <= max_identifier &&
           std::all_of(text.begin(), text.end(), is_identifier_character);
}

error malformed(std::string what) { return fail(errc::malformed, "STS's answer " + std::move(what)); }

// The fields of both forms, before they are judged. Views into the document.
struct raw_credentials {
    std::optional<std::string_view> access_key_id, secret_access_key, session_token;
    std::optional<wall_time> expiration;
    std::string_view assumed_role_arn;
};

result<issued_credentials> judged(const raw_credentials& raw) {
    const auto missing = [](const std::optional<std::string_view>& field, std::size_t max_size) {
        return !field || !is_plausible(*field, max_size);
    };
    if (missing(raw.access_key_id, max_access_key_id))
        return malformed("holds no usable AccessKeyId");
    if (missing(raw.secret_access_key, max_secret_access_key))
        return malformed("holds no usable SecretAccessKey");
    if (missing(raw.session_token, max_session_token))
        return malformed("holds no usable SessionToken");
    if (!raw.expiration)
        return malformed("holds no usable Expiration");
    issued_credentials issued;
    issued.access_key_id = *raw.access_key_id;
    issued.secret_access_key = secret_string(*raw.secret_access_key);
    issued.session_token = secret_string(*raw.session_token);
    issued.expiration = *raw.expiration;
    if (is_plausible(raw.assumed_role_arn, max_assumed_role_arn))
        issued.assumed_role_arn = raw.assumed_role_arn;
    return issued;
}

result<error_document> judged(error_document e) {
    if (!is_identifier(e.code))
        return malformed("holds no usable error code");
    if (!is_identifier(e.request_id))
        e.request_id.clear();
    return e;
}

// XML

bool deeper_than(const pugi::xml_node& node, int levels) {
    for (const auto& child : node.children())
        if (child.type() == pugi::node_element && (levels == 0 || deeper_than(child, levels - 1)))
            return true;
    return false;
}

// Takes one element with elements and text in it, and an XML declaration before it. STS sends neither DTDs,
// comments nor CDATA: all that begins with "<!".
result<void> load_xml(pugi::xml_document& document, secret_string& body) {
    const auto text = body.reveal();
    if (text.find("<!") != std::string_view::npos)
        return malformed("holds a DTD, a comment or CDATA");
    const auto end = text.find_last_not_of(" \t\r\n");
    if (end == std::string_view::npos || text[end] != '>' || text.find('\0') != std::string_view::npos)
        return malformed("is not XML");
    // As a fragment, because the parser otherwise passes over text beside the root.
    const auto parsed = document.load_buffer_inplace(
        body.data(), body.size(), pugi::parse_escapes | pugi::parse_fragment, pugi::encoding_utf8);
    const auto root = document.first_child();
    if (!parsed || root.type() != pugi::node_element || root.next_sibling())
        return malformed("is not XML");
    if (deeper_than(document, max_answer_depth))
        return malformed("is nested too deeply");
    return {};
}

// The child of that name; a null node if there is none, or more than one.
pugi::xml_node only_child(const pugi::xml_node& parent, const char* name) {
    const auto child = parent.child(name);
    return child.next_sibling(name) ? pugi::xml_node() : child;
}

// The text of a child that holds nothing else.
std::optional<std::string_view> text_of(const pugi::xml_node& parent, const char* name) {
    const auto text = only_child(parent, name).first_child();
    if (text.type() != pugi::node_pcdata || text.next_sibling())
        return std::nullopt;
    return text.value();
}

result<issued_credentials> credentials_from_xml(operation op, secret_string& body) {
    pugi::xml_document document;
    if (const auto loaded = load_xml(document, body); !loaded)
        return loaded.error();
    const std::string name(to_string(op));
    const auto result =
        only_child(only_child(document, (name + "Response").c_str()), (name + "Result").c_str());
    if (!result)
        return malformed("is not that of " + name);
    const auto given = only_child(result, "Credentials");
    raw_credentials raw;
    raw.access_key_id = text_of(given, "AccessKeyId");
    raw.secret_access_key = text_of(given, "SecretAccessKey");
    raw.session_token = text_of(given, "SessionToken");
    if (const auto expiration = text_of(given, "Expiration"))
        raw.expiration = parse_timestamp(*expiration);
    raw.assumed_role_arn = text_of(only_child(result, "AssumedRoleUser"), "Arn").value_or("");
    return judged(raw);
}

result<error_document> error_from_xml(secret_string& body) {
    pugi::xml_document document;
    if (const auto loaded = load_xml(document, body); !loaded)
        return loaded.error();
    // STS answers with ErrorResponse/Error; a front end that has not reached it with Response/Errors/Error.
    auto root = only_child(document, "ErrorResponse");
    auto problem = only_child(root, "Error");
    if (!problem) {
        root = only_child(document, "Response");
        problem = only_child(only_child(root, "Errors"), "Error");
    }
    error_document e;
    e.code = text_of(problem, "Code").value_or("");
    e.message = text_of(problem, "Message").value_or("");
    e.request_id = text_of(root, "RequestId").value_or(text_of(root, "RequestID").value_or(""));
    return judged(std::move(e));
}

// JSON

// An ISO 8601 string, or seconds since the epoch.
std::optional<wall_time> json_timestamp(simdjson::dom::element object, std::string_view member) {
    if (const auto text = json_string(object, member))
        return parse_timestamp(*text);
    const auto value = json_member(object, member);
    double seconds = 0;
    constexpr double year_10000 = 253402300800;
    if (!value || value->get(seconds) != simdjson::SUCCESS || !(seconds > 0 && seconds < year_10000))
        return std::nullopt;
    return wall_time(std::chrono::milliseconds(static_cast<std::int64_t>(std::floor(seconds * 1000))));
}

std::optional<simdjson::dom::element> json_path(simdjson::dom::element from,
                                                std::initializer_list<std::string_view> names) {
    std::optional<simdjson::dom::element> at = from;
    for (const auto name : names) {
        at = json_member(*at, name);
        if (!at)
            break;
    }
    return at;
}

result<issued_credentials> credentials_from_json(operation op, std::string_view body) {
    const auto document = json_document::parse(body, max_answer);
    if (!document)
        return malformed("is not JSON");
    const std::string name(to_string(op));
    const auto result = json_path(document->root(), {name + "Response", name + "Result"});
    if (!result)
        return malformed("is not that of " + name);
    raw_credentials raw;
    if (const auto given = json_member(*result, "Credentials")) {
        raw.access_key_id = json_string(*given, "AccessKeyId");
        raw.secret_access_key = json_string(*given, "SecretAccessKey");
        raw.session_token = json_string(*given, "SessionToken");
        raw.expiration = json_timestamp(*given, "Expiration");
    }
    if (const auto user = json_member(*result, "AssumedRoleUser"))
        raw.assumed_role_arn = json_string(*user, "Arn").value_or("");
    return judged(raw);
}

result<error_document> error_from_json(std::string_view body) {
    const auto document = json_document::parse(body, max_answer);
    if (!document)
        return malformed("is not JSON");
    error_document e;
    if (const auto problem = json_member(document->root(), "Error")) {
        e.code = json_string(*problem, "Code").value_or("");
        e.message = json_string(*problem, "Message").value_or("");
    }
    e.request_id = json_string(document->root(), "RequestId").value_or("");
    return judged(std::move(e));
}

bool is_json(const secret_string& body) {
    const auto start = body.reveal().find_first_not_of(" \t\r\n");
    return start != std::string_view::npos && body.reveal()[start] == '{';
}

std::optional<error> check_size(const secret_string& body) {
    if (body.empty())
        return malformed("is empty");
    if (body.size() > max_answer)
        return fail(errc::too_large, "STS's answer has more than " + std::to_string(max_answer) + " bytes");
    return std::nullopt;
}

} // namespace

std::string_view to_string(operation op) {
    return op == operation::assume_role ? "AssumeRole" : "AssumeRoleWithWebIdentity";
}

result<issued_credentials> parse_credentials(operation op, secret_string& body) {
    if (const auto problem = check_size(body))
        return *problem;
    return is_json(body) ? credentials_from_json(op, body.reveal()) : credentials_from_xml(op, body);
}

result<error_document> parse_error(secret_string& body) {
    if (const auto problem = check_size(body))
        return *problem;
    return is_json(body) ? error_from_json(body.reveal()) : error_from_xml(body);
}

std::optional<wall_time> parse_timestamp(std::string_view text) {
    constexpr std::string_view shape = "0000-00-00T00:00:00"; // and a fraction, and 'Z'
    if (text.size() < shape.size() + 1 || text.size() > shape.size() + 11 || text.back() != 'Z')
        return std::nullopt;
    for (std::size_t i = 0; i < shape.size(); ++i)
        if (shape[i] == '0' ? !is_digit(text[i]) : text[i] != shape[i])
            return std::nullopt;
    auto fraction = text.substr(shape.size(), text.size() - shape.size() - 1);
    if (!fraction.empty() && (fraction.front() != '.' || fraction.size() == 1 ||
                              !std::all_of(fraction.begin() + 1, fraction.end(), is_digit)))
        return std::nullopt;

    const auto number = [&](std::size_t at, std::size_t digits) {
        int value = 0;
        for (const char c : text.substr(at, digits))
            value = value * 10 + (c - '0');
        return value;
    };
    const std::chrono::year_month_day date(std::chrono::year(number(0, 4)),
                                           std::chrono::month(static_cast<unsigned>(number(5, 2))),
                                           std::chrono::day(static_cast<unsigned>(number(8, 2))));
    const int hour = number(11, 2), minute = number(14, 2), second = number(17, 2);
    if (!date.ok() || hour > 23 || minute > 59 || second > 59)
        return std::nullopt;
    // The fraction is dropped: credentials may be taken to expire a moment too early, never too late.
    return wall_time(std::chrono::sys_days(date)) + std::chrono::hours(hour) + std::chrono::minutes(minute) +
           std::chrono::seconds(second);
}

} // namespace credlet::sts
