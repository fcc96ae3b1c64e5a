// Any bytes, in any pieces, either make a head whose parts are what the rules allow or are refused; and the
// pieces they come in make no difference.

#include "runtime/http_request_parser.hpp"

#include <algorithm>
#include <cstdlib>

namespace {

constexpr std::size_t max_head = 4096;

void require(bool holds) {
    if (!holds)
        std::abort();
}

bool within(std::string_view part, std::string_view whole) {
    return part.empty() ||
           (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

void check_head(const credlet::request_head& head, std::string_view bytes) {
    require(head.size <= std::min(bytes.size(), max_head));
    const auto own = bytes.substr(0, head.size);
    require(own.ends_with("\r\n\r\n") && own.find("\r\n\r\n") == own.size() - 4);
    require(!head.method.empty() && head.target.starts_with('/') && head.path.starts_with('/'));
    for (const auto part : {head.method, head.target, head.path, head.query, head.host})
        require(within(part, own));
    require(std::all_of(head.target.begin(), head.target.end(), [](char c) { return c > ' ' && c < 0x7f; }));
    require(head.count("host") <= 1 && head.count("content-length") <= 1);
    require(head.count("transfer-encoding") == 0 && head.count("expect") == 0);
    for (const auto& header : head.headers()) {
        require(!header.name.empty() && within(header.name, own) && within(header.value, own));
        require(header.value.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos);
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0)
        return 0;
    // The first byte says how large the pieces are.
    const std::size_t step = 1 + data[0] % 64U;
    const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);

    credlet::request_head at_once;
    std::size_t scanned = 0;
    const auto whole = parse_request_head(bytes, max_head, scanned, at_once);
    if (whole.state == credlet::parse_state::complete)
        check_head(at_once, bytes);

    credlet::request_head in_pieces;
    credlet::parse_outcome outcome{credlet::parse_state::need_more};
    scanned = 0;
    for (std::size_t n = std::min(step, bytes.size()); outcome.state == credlet::parse_state::need_more;
         n = std::min(n + step, bytes.size())) {
        outcome = parse_request_head(bytes.substr(0, n), max_head, scanned, in_pieces);
        if (n == bytes.size())
            break;
    }
    require(outcome.state == whole.state);
    if (outcome.state == credlet::parse_state::refused)
        require(outcome.fault == whole.fault);
    if (outcome.state == credlet::parse_state::complete)
        require(in_pieces.size == at_once.size && in_pieces.header_count == at_once.header_count);
    return 0;
}
