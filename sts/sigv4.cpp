#include "sts/sigv4.hpp"

#include "sts/query.hpp"

#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <utility>

namespace credlet::sts {

namespace {

constexpr std::string_view algorithm = "AWS4-HMAC-SHA256";

const unsigned char* bytes(std::string_view text) {
    return reinterpret_cast<const unsigned char*>(text.data());
}

std::string hex(std::string_view raw) {
    static constexpr char digits[] = "0123456789abcdef";
    std::string out;
    out.reserve(raw.size() * 2);
    for (const char c : raw) {
        const auto byte = static_cast<unsigned char>(c);
        out.push_back(digits[byte >> 4]);
        out.push_back(digits[byte & 0xf]);
    }
    return out;
}

std::string hex_sha256(std::string_view text) {
    std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
    SHA256(bytes(text), text.size(), digest.data());
    return hex({reinterpret_cast<const char*>(digest.data()), digest.size()});
}

secret_string hmac_sha256(std::string_view key, std::string_view text) {
    secret_string mac;
    mac.resize(SHA256_DIGEST_LENGTH);
    unsigned int length = 0;
    HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), bytes(text), text.size(),
         reinterpret_cast<unsigned char*>(mac.data()), &length);
    return mac;
}

std::string lower(std::string_view text) {
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    return out;
}

// Without spaces at both ends, and one where there were several.
void append_trimmed(secret_string& out, std::string_view value) {
    bool space = false, first = true;
    for (const char c : value) {
        if (c == ' ' || c == '\t') {
            space = true;
            continue;
        }
        if (space && !first)
            out.push_back(' ');
        space = first = false;
        out.push_back(c);
    }
}

std::vector<std::pair<std::string, std::string_view>> sorted_headers(const signable_request& request) {
    std::vector<std::pair<std::string, std::string_view>> headers;
    headers.reserve(request.headers.size());
    for (const auto& h : request.headers)
        headers.emplace_back(lower(h.name), h.value);
    std::sort(headers.begin(), headers.end());
    return headers;
}

std::string signed_headers(const signable_request& request) {
    std::string names;
    for (const auto& [name, _] : sorted_headers(request))
        names.append(names.empty() ? "" : ";").append(name);
    return names;
}

std::string scope_text(const signing_scope& scope) {
    return amz_date(scope.at).substr(0, 8) + "/" + std::string(scope.region) + "/" +
           std::string(scope.service) + "/aws4_request";
}

} // namespace

std::string amz_date(wall_time at) {
    const auto day = std::chrono::floor<std::chrono::days>(at);
    const std::chrono::year_month_day date(day);
    const std::chrono::hh_mm_ss time(std::chrono::floor<std::chrono::seconds>(at) - day);
    std::string out;
    const auto append = [&out](unsigned value, unsigned divisor) {
        for (; divisor > 0; divisor /= 10)
            out.push_back(static_cast<char>('0' + value / divisor % 10));
    };
    append(static_cast<unsigned>(static_cast<int>(date.year())), 1000);
    append(static_cast<unsigned>(date.month()), 10);
    append(static_cast<unsigned>(date.day()), 10);
    out.push_back('T');
    append(static_cast<unsigned>(time.hours().count()), 10);
    append(static_cast<unsigned>(time.minutes().count()), 10);
    append(static_cast<unsigned>(time.seconds().count()), 10);
    out.push_back('Z');
    return out;
}

secret_string canonical_request(const signable_request& request) {
    secret_string out;
    out.append(request.method);
    out.push_back('\n');
    // Encoded once more than it is sent, as every service but S3 wants it.
    append_percent_encoded(out, request.path, "/");
    out.push_back('\n');
    out.push_back('\n'); // no query
    for (const auto& [name, value] : sorted_headers(request)) {
        out.append(name);
        out.push_back(':');
        append_trimmed(out, value);
        out.push_back('\n');
    }
    out.push_back('\n');
    out.append(signed_headers(request));
    out.push_back('\n');
    out.append(hex_sha256(request.body));
    return out;
}

secret_string signing_key(std::string_view secret_access_key, const signing_scope& scope) {
    secret_string seed("AWS4");
    seed.append(secret_access_key);
    const auto date = hmac_sha256(seed.reveal(), amz_date(scope.at).substr(0, 8));
    const auto region = hmac_sha256(date.reveal(), scope.region);
    const auto service = hmac_sha256(region.reveal(), scope.service);
    return hmac_sha256(service.reveal(), "aws4_request");
}

secret_string authorization(const signable_request& request, const signing_scope& scope,
                            std::string_view access_key_id, std::string_view secret_access_key) {
    std::string to_sign(algorithm);
    to_sign.append("\n").append(amz_date(scope.at)).append("\n").append(scope_text(scope)).append("\n");
    to_sign.append(hex_sha256(canonical_request(request).reveal()));
    const auto signature = hmac_sha256(signing_key(secret_access_key, scope).reveal(), to_sign);

    secret_string out(algorithm);
    out.append(" Credential=");
    out.append(access_key_id);
    out.append("/" + scope_text(scope) + ", SignedHeaders=" + signed_headers(request) + ", Signature=");
    out.append(hex(signature.reveal()));
    return out;
}

} // namespace credlet::sts
