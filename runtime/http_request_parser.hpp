#pragma once
// Parses the head of one HTTP/1.1 or 1.0 request out of a buffer, strictly (RFC 9112). The server accepts no
// bodies, so a head is all there is; every framing trick that makes two parsers disagree is refused here
// rather than interpreted. No allocation, no I/O.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace credlet {

// Why a request is refused before it reaches a route. Each has a status (below) and is counted by its name.
enum class request_fault {
    bad_request_line, // 400: not METHOD SP /target SP HTTP/x.y CRLF, a target with '#' or beyond visible
                      // ASCII
    bad_header,       // 400: bare CR or LF, NUL, obs-fold, space before the colon, bad name, bad value byte
    bad_host,         // 400: no Host on HTTP/1.1, several, an empty one, or one that is no name or address
    has_body,    // 400: Transfer-Encoding or Expect at all, several Content-Length, or one that is not "0"
    bad_version, // 505: neither HTTP/1.1 nor HTTP/1.0
    too_many_headers, // 431: more than max_headers
    head_too_large,   // 431: no end of head within the buffer's bound
};
std::string_view to_string(request_fault fault);
unsigned status_of(request_fault fault);

struct header_view {
    std::string_view name;  // as received
    std::string_view value; // without surrounding white space
};

// A parsed head; every view points into the buffer that was parsed.
struct request_head {
    static constexpr std::size_t max_headers = 64;
    std::string_view method;
    std::string_view target; // raw, as received; starts with '/'
    std::string_view path;   // the target up to '?'
    std::string_view query;  // behind '?', or empty
    std::string_view host;   // empty only on HTTP/1.0
    bool keep_alive = true;  // HTTP/1.1 without "Connection: close"; never on 1.0, where it was an extension
    std::size_t size = 0;    // bytes of the head, blank line included

    [[nodiscard]] std::span<const header_view> headers() const { return {storage.data(), header_count}; }
    // The first header of that lower-case name, ignoring case. nullptr if absent.
    [[nodiscard]] const header_view* find(std::string_view lower_case_name) const;
    // How often a header of that lower-case name stands there.
    [[nodiscard]] std::size_t count(std::string_view lower_case_name) const;

    std::array<header_view, max_headers> storage;
    std::size_t header_count = 0;
};

enum class parse_state { complete, need_more, refused };
struct parse_outcome {
    parse_state state;
    request_fault fault{}; // when refused
};

// Parses from the start of buffer; what stands behind the head is not looked at. `scanned` remembers, between
// calls on a growing buffer, how far the end of the head was already looked for, so that a head that comes
// byte by byte costs no more than one that comes whole; start it at 0 for each request. max_head: bytes a
// head may have. Unless the state is complete, head holds nothing of use.
parse_outcome parse_request_head(std::string_view buffer, std::size_t max_head, std::size_t& scanned,
                                 request_head& head);

} // namespace credlet
