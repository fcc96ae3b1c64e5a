#include "runtime/http_request_parser.hpp"

#include "runtime/ascii.hpp"

#include <algorithm>
#include <cstring>

namespace credlet {

namespace {

// What a byte may be part of.
enum byte_class : std::uint8_t {
    token_byte = 1,  // ascii::is_token_byte
    target_byte = 2, // visible ASCII but '#', which has no place in a request target
    value_byte = 4,  // RFC 9110 section 5.5: visible ASCII, obs-text, SP, HTAB
    host_byte = 8,   // of RFC 3986's host and port, what names and addresses consist of
};

constexpr auto byte_classes = [] {
    std::array<std::uint8_t, 256> table{};
    for (unsigned byte = 0; byte < 256; ++byte) {
        const auto c = static_cast<char>(byte);
        unsigned classes = 0;
        if (ascii::is_token_byte(c))
            classes |= token_byte;
        if (byte > ' ' && byte < 0x7f && c != '#')
            classes |= target_byte;
        if ((byte >= ' ' && byte != 0x7f) || c == '\t')
            classes |= value_byte;
        if (ascii::is_alphanumeric(c) || std::string_view("-._:[]%").find(c) != std::string_view::npos)
            classes |= host_byte;
        table[byte] = static_cast<std::uint8_t>(classes);
    }
    return table;
}();

bool is(char c, byte_class what) { return (byte_classes[static_cast<unsigned char>(c)] & what) != 0; }
bool is_space(char c) { return c == ' ' || c == '\t'; }

// The first byte from p on that is not of the class. Every head ends in CR LF, which are of none.
const char* skip(const char* p, byte_class what) {
    while (is(*p, what))
        ++p;
    return p;
}

// The same for value_byte, eight bytes at a time: tokens are long. A word passes only if it is free of
// control bytes and DEL; one with HTAB is left to the table.
const char* skip_value(const char* p, const char* end) {
    constexpr std::uint64_t ones = 0x0101010101010101U;
    constexpr std::uint64_t high_bits = 0x8080808080808080U;
    while (end - p >= 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, p, sizeof word);
        const auto below_space = (word - ones * 0x20) & ~word;
        const auto del = word ^ (ones * 0x7f);
        if (((below_space | ((del - ones) & ~del)) & high_bits) != 0)
            break;
        p += 8;
    }
    return skip(p, value_byte);
}

std::string_view trim(std::string_view text) {
    while (!text.empty() && is_space(text.front()))
        text.remove_prefix(1);
    while (!text.empty() && is_space(text.back()))
        text.remove_suffix(1);
    return text;
}

// Whether a comma-separated list has the option (RFC 9110 section 7.6.1).
bool lists_option(std::string_view list, std::string_view lower_case) {
    while (!list.empty()) {
        const auto comma = std::min(list.find(','), list.size());
        if (ascii::equal_ignoring_case(trim(list.substr(0, comma)), lower_case))
            return true;
        list.remove_prefix(std::min(comma + 1, list.size()));
    }
    return false;
}

// Looks for the blank line from `scanned` on. A LF without CR before it ends the search at once: some parsers
// take it for the end of a line, and what follows for another request.
parse_outcome find_end(std::string_view buffer, std::size_t max_head, std::size_t& scanned,
                       std::size_t& size) {
    const std::size_t bound = std::min(buffer.size(), max_head);
    while (scanned < bound) {
        const void* found = std::memchr(buffer.data() + scanned, '\n', bound - scanned);
        if (found == nullptr) {
            scanned = bound;
            break;
        }
        const auto at = static_cast<std::size_t>(static_cast<const char*>(found) - buffer.data());
        if (at == 0 || buffer[at - 1] != '\r') {
            const bool first_line = buffer.substr(0, at).find('\n') == std::string_view::npos;
            return {parse_state::refused,
                    first_line ? request_fault::bad_request_line : request_fault::bad_header};
        }
        if (at == 1) // an empty line where the request line should be
            return {parse_state::refused, request_fault::bad_request_line};
        scanned = at + 1;
        if (buffer[at - 2] == '\n') {
            size = at + 1;
            return {parse_state::complete};
        }
    }
    if (bound == max_head)
        return {parse_state::refused, request_fault::head_too_large};
    return {parse_state::need_more};
}

// One pass over a head whose end is known, so that no step needs to look for the end of the buffer: the CR
// and LF at its end stop each of them.
class head_parser {
public:
    head_parser(std::string_view bytes, request_head& head)
        : at_(bytes.data()),
          end_(bytes.data() + bytes.size()),
          head_(head) {}

    std::optional<request_fault> parse() {
        if (const auto fault = request_line())
            return fault;
        while (*at_ != '\r') {
            if (head_.header_count == request_head::max_headers)
                return request_fault::too_many_headers;
            if (const auto fault = header_line())
                return fault;
        }
        if (at_ + 2 != end_) // a CR alone at the start of a line
            return request_fault::bad_header;
        if (!has_host_ && !http_1_0_)
            return request_fault::bad_host;
        return std::nullopt;
    }

private:
    std::optional<request_fault> request_line() {
        constexpr auto fault = request_fault::bad_request_line;
        const char* start = at_;
        at_ = skip(at_, token_byte);
        if (at_ == start || *at_ != ' ')
            return fault;
        head_.method = text(start, at_);

        start = ++at_;
        if (*start != '/')
            return fault;
        at_ = skip(at_, target_byte);
        if (*at_ != ' ')
            return fault;
        head_.target = text(start, at_);
        const auto mark = head_.target.find('?');
        head_.path = head_.target.substr(0, mark);
        head_.query = mark == std::string_view::npos ? std::string_view() : head_.target.substr(mark + 1);

        start = ++at_;
        constexpr std::string_view version = "HTTP/1.1\r\n";
        if (static_cast<std::size_t>(end_ - at_) < version.size())
            return fault;
        at_ += version.size();
        const auto given = text(start, at_);
        if (given == version)
            return std::nullopt;
        if (given == "HTTP/1.0\r\n") {
            http_1_0_ = true;
            head_.keep_alive = false;
            return std::nullopt;
        }
        const auto digit = [](char c) { return c >= '0' && c <= '9'; };
        const bool well_formed = given.starts_with("HTTP/") && digit(given[5]) && given[6] == '.' &&
                                 digit(given[7]) && given.ends_with("\r\n");
        return well_formed ? request_fault::bad_version : fault;
    }

    std::optional<request_fault> header_line() {
        constexpr auto fault = request_fault::bad_header;
        const char* start = at_;
        at_ = skip(at_, token_byte); // stops at once at the white space of an obs-fold
        if (at_ == start || *at_ != ':')
            return fault;
        const auto name = text(start, at_);
        ++at_;
        while (is_space(*at_))
            ++at_;
        start = at_;
        at_ = skip_value(at_, end_);
        if (at_[0] != '\r' || at_[1] != '\n') // the last CR has its LF behind it
            return fault;
        const char* last = at_;
        while (last != start && is_space(last[-1]))
            --last;
        at_ += 2;
        const header_view header{name, text(start, last)};
        head_.storage[head_.header_count++] = header;
        return framing(header);
    }

    // The headers that decide where a request ends, whom it is for and whether another one follows.
    std::optional<request_fault> framing(const header_view& header) {
        switch (header.name.size()) { // most names are told apart by their length alone
        case 4:
            if (ascii::equal_ignoring_case(header.name, "host")) {
                const auto wrong = [](char c) { return !is(c, host_byte); };
                if (has_host_ || header.value.empty() ||
                    std::any_of(header.value.begin(), header.value.end(), wrong))
                    return request_fault::bad_host;
                has_host_ = true;
                head_.host = header.value;
            }
            break;
        case 6:
            if (ascii::equal_ignoring_case(header.name, "expect"))
                return request_fault::has_body;
            break;
        case 10:
            if (ascii::equal_ignoring_case(header.name, "connection") && lists_option(header.value, "close"))
                head_.keep_alive = false;
            break;
        case 14:
            if (ascii::equal_ignoring_case(header.name, "content-length")) {
                if (has_content_length_ || header.value != "0")
                    return request_fault::has_body;
                has_content_length_ = true;
            }
            break;
        case 17:
            if (ascii::equal_ignoring_case(header.name, "transfer-encoding"))
                return request_fault::has_body;
            break;
        default:
            break;
        }
        return std::nullopt;
    }

    static std::string_view text(const char* from, const char* to) {
        return {from, static_cast<std::size_t>(to - from)};
    }

    const char* at_;
    const char* end_;
    request_head& head_;
    bool http_1_0_ = false;
    bool has_host_ = false;
    bool has_content_length_ = false;
};

} // namespace

std::string_view to_string(request_fault fault) {
    switch (fault) {
    case request_fault::bad_request_line:
        return "bad_request_line";
    case request_fault::bad_header:
        return "bad_header";
    case request_fault::bad_host:
        return "bad_host";
    case request_fault::has_body:
        return "has_body";
    case request_fault::bad_version:
        return "bad_version";
    case request_fault::too_many_headers:
        return "too_many_headers";
    case request_fault::head_too_large:
        return "head_too_large";
    }
    return "unknown";
}

unsigned status_of(request_fault fault) {
    switch (fault) {
    case request_fault::bad_request_line:
    case request_fault::bad_header:
    case request_fault::bad_host:
    case request_fault::has_body:
        return 400;
    case request_fault::bad_version:
        return 505;
    case request_fault::too_many_headers:
    case request_fault::head_too_large:
        return 431;
    }
    return 400;
}

const header_view* request_head::find(std::string_view lower_case_name) const {
    for (const auto& header : headers()) {
        if (ascii::equal_ignoring_case(header.name, lower_case_name))
            return &header;
    }
    return nullptr;
}

std::size_t request_head::count(std::string_view lower_case_name) const {
    std::size_t n = 0;
    for (const auto& header : headers())
        n += ascii::equal_ignoring_case(header.name, lower_case_name) ? 1 : 0;
    return n;
}

parse_outcome parse_request_head(std::string_view buffer, std::size_t max_head, std::size_t& scanned,
                                 request_head& head) {
    std::size_t size = 0;
    const auto end = find_end(buffer, max_head, scanned, size);
    if (end.state != parse_state::complete)
        return end;
    head.host = {};
    head.keep_alive = true;
    head.header_count = 0;
    head.size = size;
    if (const auto fault = head_parser(buffer.substr(0, size), head).parse())
        return {parse_state::refused, *fault};
    return {parse_state::complete};
}

} // namespace credlet
