#include "daemon/links.hpp"
#include "daemon/netlink_message.hpp"

#include <array>
#include <cerrno>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <system_error>
#include <unistd.h>

namespace credlet::app {

namespace {

using bytes_view = std::span<const std::byte>;

// The kernel answers at once.
constexpr timeval answer_limit{5, 0};
// A link's description has room for its statistics and for a NIC's virtual functions.
constexpr std::size_t longest_answer = std::size_t{64} * 1024;

template <class T>
bool read_front(bytes_view bytes, T& value) {
    if (bytes.size() < sizeof value)
        return false;
    std::memcpy(&value, bytes.data(), sizeof value);
    return true;
}

kernel_refusal refused(int number, std::string why = {}) {
    if (why.empty())
        why = std::system_category().message(number);
    return {number, std::move(why)};
}

// The text that NETLINK_EXT_ACK brings, behind the error and the echo of the request's header.
std::string reason_in(bytes_view payload, const nlmsghdr& header) {
    std::string why;
    if ((header.nlmsg_flags & NLM_F_ACK_TLVS) == 0 || payload.size() < sizeof(nlmsgerr))
        return why;
    nlmsgerr error{};
    std::memcpy(&error, payload.data(), sizeof error);
    std::size_t skip = sizeof error;
    if ((header.nlmsg_flags & NLM_F_CAPPED) == 0 && error.msg.nlmsg_len >= sizeof error.msg)
        skip += NLMSG_ALIGN(error.msg.nlmsg_len) - sizeof error.msg;
    if (skip < payload.size())
        for_each_attribute(payload.subspan(skip), [&why](unsigned type, bytes_view value) {
            if (type == NLMSGERR_ATTR_MSG)
                why = text_of_attribute(value);
        });
    return why;
}

kernel_result<link_state> parse_link(bytes_view payload) {
    ifinfomsg head{};
    if (!read_front(payload, head))
        return refused(EBADMSG);
    link_state link;
    link.index = head.ifi_index;
    link.up = (head.ifi_flags & IFF_UP) != 0;
    link.loopback = (head.ifi_flags & IFF_LOOPBACK) != 0;
    for_each_attribute(payload.subspan(NLMSG_ALIGN(sizeof head)), [&link](unsigned type, bytes_view value) {
        if (type == IFLA_LINKINFO)
            for_each_attribute(value, [&link](unsigned inner, bytes_view kind) {
                if (inner == IFLA_INFO_KIND)
                    link.kind = text_of_attribute(kind);
            });
    });
    return link;
}

class netlink_links final : public links {
public:
    explicit netlink_links(int socket) : socket_(socket) {}
    netlink_links(const netlink_links&) = delete;
    netlink_links& operator=(const netlink_links&) = delete;
    ~netlink_links() override { ::close(socket_); }

    kernel_result<link_state> find(const std::string& name) override {
        netlink_message request(RTM_GETLINK, 0, ifinfomsg{});
        request.attribute(IFLA_IFNAME, name);
        const auto answer = ask(request, RTM_NEWLINK);
        if (!answer)
            return answer.error();
        return parse_link(*answer);
    }

    kernel_result<void> make_dummy(const std::string& name) override {
        netlink_message request(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, ifinfomsg{});
        request.attribute(IFLA_IFNAME, name);
        const auto info = request.begin_nested(IFLA_LINKINFO);
        request.attribute(IFLA_INFO_KIND, std::string("dummy"));
        request.end_nested(info);
        return order(request);
    }

    // A host's scope, or a preferred life of none in IPv6, which has no such scope, keeps the address from
    // being chosen as the source of other traffic. No duplicates are looked for on a link with nobody else on
    // it: an IPv6 address could not be listened on meanwhile.
    kernel_result<void> add_address(int link, const asio::ip::address& address) override {
        ifaddrmsg head{};
        head.ifa_family = address.is_v4() ? AF_INET : AF_INET6;
        head.ifa_prefixlen = address.is_v4() ? 32 : 128;
        head.ifa_scope = RT_SCOPE_HOST;
        head.ifa_index = static_cast<std::uint32_t>(link);
        netlink_message request(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, head);
        const auto put = [&request](const auto& bytes) {
            request.attribute(IFA_LOCAL, bytes.data(), bytes.size());
            request.attribute(IFA_ADDRESS, bytes.data(), bytes.size());
        };
        if (address.is_v4()) {
            put(address.to_v4().to_bytes());
        } else {
            put(address.to_v6().to_bytes());
            ifa_cacheinfo life{};
            life.ifa_valid = 0xffffffff; // for ever
            request.attribute(IFA_CACHEINFO, &life, sizeof life);
        }
        request.attribute(IFA_FLAGS, std::uint32_t{IFA_F_NOPREFIXROUTE | IFA_F_NODAD});
        return order(request);
    }

    kernel_result<void> set_up(int link) override {
        ifinfomsg head{};
        head.ifi_index = link;
        head.ifi_flags = head.ifi_change = IFF_UP;
        netlink_message request(RTM_NEWLINK, NLM_F_ACK, head);
        return order(request);
    }

private:
    kernel_result<void> order(netlink_message& request) {
        const auto answer = ask(request, NLMSG_ERROR);
        if (!answer)
            return answer.error();
        return {};
    }

    // The payload of the answer of that type: what was asked for, or the acknowledgement.
    kernel_result<bytes_view> ask(netlink_message& request, std::uint16_t wanted) {
        const auto bytes = request.finish(++number_);
        if (::send(socket_, bytes.data(), bytes.size(), 0) < 0)
            return refused(errno);
        while (true) {
            const auto length = ::recv(socket_, buffer_.data(), buffer_.size(), 0);
            if (length < 0 && errno == EINTR)
                continue;
            if (length < 0)
                return refused(errno);
            auto rest = bytes_view(buffer_).first(static_cast<std::size_t>(length));
            nlmsghdr header{};
            while (read_front(rest, header) && header.nlmsg_len >= NLMSG_HDRLEN &&
                   header.nlmsg_len <= rest.size()) {
                const auto payload = rest.subspan(NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN);
                rest = rest.subspan(
                    std::min(rest.size(), static_cast<std::size_t>(NLMSG_ALIGN(header.nlmsg_len))));
                if (header.nlmsg_seq != number_)
                    continue;
                int failure = 0;
                if (header.nlmsg_type == NLMSG_ERROR && read_front(payload, failure) && failure != 0)
                    return refused(-failure, reason_in(payload, header));
                if (header.nlmsg_type == wanted)
                    return payload;
            }
        }
    }

    int socket_;
    std::uint32_t number_ = 0;
    std::vector<std::byte> buffer_ = std::vector<std::byte>(longest_answer);
};

} // namespace

result<std::unique_ptr<links>> open_links() {
    const int socket = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (socket < 0)
        return fail(errc::io_failed,
                    "cannot ask the kernel about links: " + std::system_category().message(errno));
    auto opened = std::make_unique<netlink_links>(socket);
    const int on = 1;
    (void)::setsockopt(socket, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on); // older kernels say less
    if (::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &answer_limit, sizeof answer_limit) != 0)
        return fail(errc::io_failed,
                    "cannot ask the kernel about links: " + std::system_category().message(errno));
    return opened;
}

} // namespace credlet::app
