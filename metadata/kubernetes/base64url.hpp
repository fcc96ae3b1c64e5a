#pragma once
// Base 64 with the URL alphabet and without padding, as JWS has it (RFC 7515 section 2).

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace credlet::metadata::kubernetes {

// Strict: no padding, no whitespace, no character of the other alphabet, no bits left over at the end, so
// that one value has one spelling. None: it is not that.
std::optional<std::vector<std::uint8_t>> decode_base64url(std::string_view text);

inline std::string_view as_text(const std::vector<std::uint8_t>& bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

} // namespace credlet::metadata::kubernetes
