#pragma once
// Requests to rtnetlink(7): a header of netlink(7), a header of the request's own, and attributes, all of
// them aligned to four bytes.

#include <cstdint>
#include <cstring>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <span>
#include <string_view>
#include <vector>

namespace credlet::app {

class netlink_message {
public:
    template <class Header>
    netlink_message(std::uint16_t type, unsigned flags, const Header& header) : bytes_(NLMSG_HDRLEN) {
        nlmsghdr start{};
        start.nlmsg_type = type;
        start.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
        std::memcpy(bytes_.data(), &start, sizeof start);
        append(&header, sizeof header);
    }

    void attribute(std::uint16_t type, const void* value, std::size_t size) {
        const auto start = begin_nested(type);
        append(value, size);
        end_nested(start, size);
    }
    void attribute(std::uint16_t type, std::uint32_t value) { attribute(type, &value, sizeof value); }
    // With the zero at its end.
    void attribute(std::uint16_t type, const std::string& text) {
        attribute(type, text.c_str(), text.size() + 1);
    }

    // An attribute of attributes: those added until its end.
    [[nodiscard]] std::size_t begin_nested(std::uint16_t type) {
        const auto start = bytes_.size();
        rtattr head{};
        head.rta_type = type;
        append(&head, sizeof head);
        return start;
    }
    void end_nested(std::size_t start) { end_nested(start, bytes_.size() - start - RTA_LENGTH(0)); }

    // The whole request under this number.
    [[nodiscard]] std::span<const std::byte> finish(std::uint32_t number) {
        nlmsghdr start{};
        std::memcpy(&start, bytes_.data(), sizeof start);
        start.nlmsg_len = static_cast<std::uint32_t>(bytes_.size());
        start.nlmsg_seq = number;
        std::memcpy(bytes_.data(), &start, sizeof start);
        return bytes_;
    }

private:
    void append(const void* value, std::size_t size) {
        const auto start = bytes_.size();
        bytes_.resize(NLMSG_ALIGN(start + size));
        std::memcpy(bytes_.data() + start, value, size);
    }
    void end_nested(std::size_t start, std::size_t size) {
        const auto length = static_cast<std::uint16_t>(RTA_LENGTH(size));
        std::memcpy(bytes_.data() + start, &length, sizeof length); // rta_len comes first
    }

    std::vector<std::byte> bytes_;
};

// Calls f(type, value) for each attribute; ends at the first that is not whole.
template <class F>
void for_each_attribute(std::span<const std::byte> bytes, F f) {
    while (bytes.size() >= sizeof(rtattr)) {
        rtattr head{};
        std::memcpy(&head, bytes.data(), sizeof head);
        if (head.rta_len < sizeof head || head.rta_len > bytes.size())
            return;
        f(static_cast<unsigned>(head.rta_type & NLA_TYPE_MASK),
          bytes.subspan(sizeof head, head.rta_len - sizeof head));
        bytes = bytes.subspan(std::min(bytes.size(), static_cast<std::size_t>(RTA_ALIGN(head.rta_len))));
    }
}

inline std::string_view text_of_attribute(std::span<const std::byte> value) {
    const std::string_view text(reinterpret_cast<const char*>(value.data()), value.size());
    return text.substr(0, text.find('\0'));
}

} // namespace credlet::app
