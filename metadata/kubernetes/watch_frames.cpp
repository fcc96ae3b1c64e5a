#include "metadata/kubernetes/watch_frames.hpp"

namespace credlet::metadata::kubernetes {

result<void> watch_frames::feed(std::string_view bytes) {
    // What was handed out is let go of here, once per feed and not once per line.
    buffer_.erase(0, read_);
    scanned_ -= read_;
    read_ = 0;
    const auto line_end = bytes.find('\n');
    if (buffer_.size() + (line_end == std::string_view::npos ? bytes.size() : line_end) > longest_)
        return fail(errc::too_large, "a watch event of more than " + std::to_string(longest_) + " bytes");
    // A large object must not hold its memory for the rest of the watch.
    if (buffer_.empty() && buffer_.capacity() > std::size_t{64} * 1024)
        buffer_.shrink_to_fit();
    buffer_.append(bytes);
    return {};
}

std::optional<std::string_view> watch_frames::next() {
    for (;;) {
        const auto end = buffer_.find('\n', scanned_);
        if (end == std::string::npos) {
            scanned_ = buffer_.size();
            return std::nullopt;
        }
        std::string_view line(buffer_.data() + read_, end - read_);
        read_ = scanned_ = end + 1;
        if (line.ends_with('\r'))
            line.remove_suffix(1);
        if (!line.empty())
            return line;
    }
}

result<watch_event> decode_watch_event(std::string_view frame) {
    auto document = json_document::parse(frame, max_watch_frame);
    if (document.has_error())
        return in_context("a watch event", document.error());
    const auto root = document->root();
    const auto name = json_string(root, "type");
    const auto object = json_member(root, "object");
    if (!name || !object || !object->is_object())
        return fail(errc::malformed, "a watch event without type or object");
    watch_event_type type{};
    if (*name == "ADDED")
        type = watch_event_type::added;
    else if (*name == "MODIFIED")
        type = watch_event_type::modified;
    else if (*name == "DELETED")
        type = watch_event_type::deleted;
    else if (*name == "BOOKMARK")
        type = watch_event_type::bookmark;
    else if (*name == "ERROR")
        type = watch_event_type::error;
    else
        return fail(errc::malformed, "a watch event of an unknown type");
    return watch_event{type, std::move(*document), *object};
}

} // namespace credlet::metadata::kubernetes
