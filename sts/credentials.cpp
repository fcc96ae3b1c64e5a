#include "sts/credentials.hpp"

#include "sts/failures.hpp"

#include <openssl/sha.h>

#include <algorithm>

namespace credlet::sts {

namespace {

using sha256_digest = std::array<std::uint8_t, SHA256_DIGEST_LENGTH>;

sha256_digest sha256(std::string_view text) {
    sha256_digest digest{};
    SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
    return digest;
}

// Length first, in eight bytes: no character can move from one field into the next unnoticed.
void append_field(std::string& out, std::string_view field) {
    const auto size = static_cast<std::uint64_t>(field.size());
    for (int shift = 56; shift >= 0; shift -= 8)
        out.push_back(static_cast<char>((size >> shift) & 0xff));
    out.append(field);
}

bool is_lower_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

// [\w+=,.@-], with \w as in ASCII: what IAM allows in the names of roles and sessions.
bool is_name_character(char c) {
    return is_lower_alnum(c) || (c >= 'A' && c <= 'Z') ||
           std::string_view("_+=,.@-").find(c) != std::string_view::npos;
}

constexpr std::size_t min_session_name = 2, max_session_name = 64;
constexpr std::size_t hash_digits = 16;

constexpr std::size_t min_arn = 20, max_arn = 2048, max_path = 512, max_role_name = 64;

} // namespace

credential_key credential_spec::key() const {
    std::string fields;
    fields.reserve(512);
    for (const std::string_view field :
         {std::string_view("credlet credential key 1"), std::string_view(service_account_uid),
          std::string_view(pod_uid), std::string_view(role_arn), std::string_view(target_role_arn),
          std::string_view(external_id), std::string_view(audience)})
        append_field(fields, field);
    append_field(fields, std::to_string(duration.count()));
    return credential_key{sha256(fields)};
}

std::string make_session_name(std::string_view wanted) {
    if (wanted.size() >= min_session_name && wanted.size() <= max_session_name &&
        std::all_of(wanted.begin(), wanted.end(), is_name_character))
        return std::string(wanted);

    static constexpr char hex[] = "0123456789abcdef";
    std::string name(wanted.substr(0, max_session_name - hash_digits - 1));
    std::replace_if(name.begin(), name.end(), [](char c) { return !is_name_character(c); }, '-');
    name.push_back('-');
    const auto digest = sha256(wanted);
    for (std::size_t i = 0; i < hash_digits / 2; ++i) {
        name.push_back(hex[digest[i] >> 4]);
        name.push_back(hex[digest[i] & 0xf]);
    }
    return name;
}

result<struct role_arn> role_arn::parse(std::string_view arn) {
    const auto refuse = [&](std::string_view why) {
        return fail(errc::malformed, "'" + one_line(arn.substr(0, 100), {}) +
                                         (arn.size() > 100 ? "..." : "") + "' is not the ARN of a role: " +
                                         std::string(why) + "; expected arn:aws:iam::123456789012:role/NAME");
    };
    if (arn.size() < min_arn || arn.size() > max_arn)
        return refuse("it has " + std::to_string(arn.size()) + " characters");

    std::array<std::string_view, 6> part; // arn : partition : service : region : account : resource
    std::string_view rest = arn;
    for (std::size_t i = 0; i < 5; ++i) {
        const auto colon = rest.find(':');
        if (colon == std::string_view::npos)
            return refuse("it has too few colons");
        part[i] = rest.substr(0, colon);
        rest.remove_prefix(colon + 1);
    }
    part[5] = rest;
    if (part[0] != "arn" || part[2] != "iam" || !part[3].empty())
        return refuse("it does not name anything of IAM");
    if (!part[1].starts_with("aws") || part[1].ends_with('-') ||
        !std::all_of(part[1].begin(), part[1].end(), [](char c) { return is_lower_alnum(c) || c == '-'; }))
        return refuse("its partition is not one of AWS");
    if (part[4].size() != 12 || !std::all_of(part[4].begin(), part[4].end(), is_digit))
        return refuse("the account is not 12 digits");
    if (!part[5].starts_with("role/"))
        return refuse("it does not name a role");

    const std::string_view resource = part[5].substr(4); // from the slash on
    const auto last_slash = resource.rfind('/');
    const std::string_view path = resource.substr(0, last_slash + 1), name = resource.substr(last_slash + 1);
    if (name.empty() || name.size() > max_role_name ||
        !std::all_of(name.begin(), name.end(), is_name_character))
        return refuse("the role's name is not 1 to 64 of A-Z a-z 0-9 _+=,.@-");
    if (path.size() > max_path || path.find("//") != std::string_view::npos ||
        !std::all_of(path.begin(), path.end(), [](char c) { return c >= '!' && c <= '~'; }))
        return refuse(
            "the role's path is longer than 512 characters, has an empty part, or is not of visible "
            "ASCII");
    return role_arn{std::string(part[1]), std::string(part[4]), std::string(path), std::string(name)};
}

std::string_view to_string(failure_kind kind) {
    switch (kind) {
    case failure_kind::transient:
        return "transient";
    case failure_kind::throttled:
        return "throttled";
    case failure_kind::token_rejected:
        return "token_rejected";
    case failure_kind::denied:
        return "denied";
    case failure_kind::misconfigured:
        return "misconfigured";
    case failure_kind::unusable:
        return "unusable";
    case failure_kind::no_token:
        return "no_token";
    case failure_kind::cancelled:
        return "cancelled";
    }
    return "transient";
}

} // namespace credlet::sts
