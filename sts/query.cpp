#include "sts/query.hpp"

#include <algorithm>
#include <optional>

namespace credlet::sts {

namespace {

constexpr std::string_view version = "2011-06-15";
constexpr std::size_t min_session_name = 2, max_session_name = 64;
constexpr std::size_t min_external_id = 2, max_external_id = 1224;
constexpr std::size_t min_web_identity_token = 4;

bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}
bool all_word_or(std::string_view text, std::string_view others) {
    return std::all_of(text.begin(), text.end(),
                       [&](char c) { return is_word(c) || others.find(c) != std::string_view::npos; });
}

class form {
public:
    form(std::string_view action, std::size_t size) {
        body_.reserve(size);
        add("Action", action);
        add("Version", version);
    }
    void add(std::string_view name, std::string_view value) {
        if (!body_.empty())
            body_.push_back('&');
        body_.append(name);
        body_.push_back('=');
        append_percent_encoded(body_, value);
    }
    secret_string take() { return std::move(body_); }

private:
    secret_string body_;
};

failure refuse(failure_kind kind, std::string code, std::string message) {
    failure f;
    f.kind = kind;
    f.code = std::move(code);
    f.message = std::move(message);
    return f;
}

std::optional<failure> check_common(std::string_view role, std::string_view session_name,
                                    std::chrono::seconds duration) {
    if (const auto parsed = role_arn::parse(role); !parsed)
        return refuse(failure_kind::misconfigured, "InvalidRoleArn", parsed.error().message);
    if (session_name.size() < min_session_name || session_name.size() > max_session_name ||
        !all_word_or(session_name, "+=,.@-"))
        return refuse(failure_kind::misconfigured, "InvalidSessionName",
                      "the role session name is not 2 to 64 of A-Z a-z 0-9 _+=,.@-");
    if (duration < min_duration || duration > max_duration)
        return refuse(failure_kind::misconfigured, "InvalidDuration",
                      "a session of " + std::to_string(duration.count()) +
                          " s was asked for: the session duration must be 900 to 43200 s");
    return std::nullopt;
}

std::optional<failure> check_target(const credential_spec& spec, std::chrono::seconds duration) {
    if (auto problem = check_common(spec.target_role_arn, spec.session_name, duration))
        return problem;
    if (!spec.external_id.empty() &&
        (spec.external_id.size() < min_external_id || spec.external_id.size() > max_external_id ||
         !all_word_or(spec.external_id, "+=,.@:/-")))
        return refuse(failure_kind::misconfigured, "InvalidExternalId",
                      "the external id is not 2 to 1224 of A-Z a-z 0-9 _+=,.@:/-");
    return std::nullopt;
}

} // namespace

std::optional<failure> check_limits(const credential_spec& spec) {
    if (auto problem = check_common(spec.role_arn, spec.session_name, spec.duration))
        return problem;
    return spec.target_role_arn.empty() ? std::nullopt : check_target(spec, spec.duration);
}

void append_percent_encoded(secret_string& out, std::string_view text, std::string_view keep) {
    static constexpr char hex[] = "0123456789ABCDEF";
    for (const char c : text) {
        if (is_word(c) || c == '-' || c == '.' || c == '~' || keep.find(c) != std::string_view::npos) {
            out.push_back(c);
            continue;
        }
        const auto byte = static_cast<unsigned char>(c);
        out.push_back('%');
        out.push_back(hex[byte >> 4]);
        out.push_back(hex[byte & 0xf]);
    }
}

outcome<secret_string> web_identity_form(const credential_spec& spec, std::chrono::seconds duration,
                                         std::string_view token) {
    if (auto problem = check_common(spec.role_arn, spec.session_name, duration))
        return std::move(*problem);
    // A JWT is three base64url parts and two dots (RFC 7515 section 7.1): nothing of it needs encoding.
    if (token.size() < min_web_identity_token || token.size() > max_web_identity_token ||
        !all_word_or(token, "-."))
        return refuse(failure_kind::token_rejected, "InvalidToken",
                      "the web identity token of " + std::to_string(token.size()) +
                          " bytes is not a JWT of 4 to 20000 characters");
    form f("AssumeRoleWithWebIdentity", token.size() + 3 * spec.role_arn.size() + 512);
    f.add("RoleArn", spec.role_arn);
    f.add("RoleSessionName", spec.session_name);
    f.add("DurationSeconds", std::to_string(duration.count()));
    f.add("WebIdentityToken", token);
    return f.take();
}

outcome<secret_string> assume_role_form(const credential_spec& spec, std::chrono::seconds duration) {
    duration = std::min(duration, max_chained_duration);
    if (auto problem = check_target(spec, duration))
        return std::move(*problem);
    form f("AssumeRole", 3 * (spec.target_role_arn.size() + spec.external_id.size()) + 512);
    f.add("RoleArn", spec.target_role_arn);
    f.add("RoleSessionName", spec.session_name);
    f.add("DurationSeconds", std::to_string(duration.count()));
    if (!spec.external_id.empty())
        f.add("ExternalId", spec.external_id);
    return f.take();
}

} // namespace credlet::sts
