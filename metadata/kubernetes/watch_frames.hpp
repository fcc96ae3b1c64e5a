#pragma once
// The stream of a watch: one JSON object per line, cut into chunks anywhere.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes

#include "runtime/json.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace credlet::metadata::kubernetes {

inline constexpr std::size_t max_watch_frame =
    std::size_t{4} * 1024 * 1024; // bytes: etcd takes objects up to 1.5 MiB

// Bytes in, lines out. Copies what is left over between two feeds and nothing else.
class watch_frames {
public:
    explicit watch_frames(std::size_t longest = max_watch_frame) : longest_(longest) {}

    // When bytes came and next() has none left. errc::too_large when a line is longer than allowed; the
    // stream is then of no more use.
    result<void> feed(std::string_view bytes);
    // The next whole line, without its end, until the next call of anything; empty lines are skipped.
    std::optional<std::string_view> next();
    // Whether the stream would be cut inside a line if it ended now.
    [[nodiscard]] bool partial() const { return read_ < buffer_.size(); }

private:
    std::size_t longest_;
    std::string buffer_;
    std::size_t read_ = 0;    // what next() has handed out
    std::size_t scanned_ = 0; // no line end before here, after read_
};

enum class watch_event_type { added, modified, deleted, bookmark, error };

struct watch_event {
    watch_event_type type;
    json_document document; // `object` points into it
    simdjson::dom::element object;
};

// errc::malformed: not JSON, no object, or a type that this version does not know (then something was
// missed).
result<watch_event> decode_watch_event(std::string_view frame);

} // namespace credlet::metadata::kubernetes
