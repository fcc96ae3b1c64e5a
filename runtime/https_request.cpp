#include "runtime/https_request.hpp"

#include "runtime/ascii.hpp"

#include <algorithm>
#include <array>

namespace credlet {
namespace {

// Headers that frame the message or name the origin: two opinions about them are one too many.
constexpr std::array<std::string_view, 9> own_headers{
    "host", "content-length", "connection", "transfer-encoding", "user-agent",
    "te",   "upgrade",        "expect",     "accept-encoding"};

bool is_token(std::string_view text) {
    return !text.empty() && std::ranges::all_of(text, ascii::is_token_byte);
}

bool is_target_byte(char c) { return c > ' ' && c < 0x7f && c != '#'; }

// RFC 9110 section 5.5, without obs-text: what we send is ASCII.
bool is_value_byte(char c) { return (c >= ' ' && c < 0x7f) || c == '\t'; }

bool is_own(std::string_view name) {
    return std::ranges::any_of(own_headers,
                               [name](auto own) { return ascii::equal_ignoring_case(name, own); });
}

result<void> check(const http_request& request) {
    if (!is_token(request.method))
        return fail(errc::malformed, "the request's method is not a token");
    if (!request.target.starts_with('/') || !std::ranges::all_of(request.target, is_target_byte))
        return fail(errc::malformed,
                    "the request's target does not start with '/' or holds a byte to be encoded");
    for (const auto& [name, value] : request.headers) {
        if (!is_token(name))
            return fail(errc::malformed, "the name of a request header is not a token");
        if (is_own(name))
            return fail(errc::malformed, "the request header " + name + " is the client's own");
        if (!std::ranges::all_of(value.reveal(), is_value_byte))
            return fail(errc::malformed,
                        "the value of the request header " + name + " holds a forbidden byte");
    }
    return {};
}

} // namespace

result<secret_string> render_request(const origin& server, std::string_view user_agent,
                                     const http_request& request) {
    if (const auto checked = check(request); checked.has_error())
        return checked.error();

    secret_string bytes;
    // One allocation: growing would copy the token about, although each copy is wiped.
    std::size_t size = 256 + request.method.size() + server.base_path.size() + request.target.size() +
                       server.host.size() + user_agent.size() + request.body.size();
    for (const auto& [name, value] : request.headers)
        size += name.size() + value.size() + 4;
    bytes.reserve(size);

    const auto line = [&](std::string_view name, std::string_view value) {
        bytes.append(name);
        bytes.append(": ");
        bytes.append(value);
        bytes.append("\r\n");
    };
    bytes.append(request.method);
    bytes.append(" ");
    bytes.append(server.base_path);
    bytes.append(request.target);
    bytes.append(" HTTP/1.1\r\n");
    line("Host", authority(server));
    if (!user_agent.empty())
        line("User-Agent", user_agent);
    for (const auto& [name, value] : request.headers)
        line(name, value.reveal());
    // RFC 9110 section 8.6: a method that anticipates content says so even when there is none.
    if (!request.body.empty() || request.method == "POST" || request.method == "PUT" ||
        request.method == "PATCH")
        line("Content-Length", std::to_string(request.body.size()));
    bytes.append("\r\n");
    bytes.append(request.body.reveal());
    return bytes;
}

} // namespace credlet
