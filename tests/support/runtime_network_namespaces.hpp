#pragma once
// Network namespaces of a test's own. The thread that makes one stays where it is.

#include "runtime/network_namespace.hpp"
#include "runtime/thread_capabilities.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <optional>
#include <sched.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <thread>

namespace credlet::test {

// Whether a test that needs them can run. If not it fails, unless CREDLET_ALLOW_SKIPS is set.
inline bool namespaces_can_be_made() {
    if (has_capability(CAP_SYS_ADMIN))
        return true;
    constexpr auto why =
        "a network namespace takes CAP_SYS_ADMIN; CREDLET_ALLOW_SKIPS=1 lets this pass without it";
    if (std::getenv("CREDLET_ALLOW_SKIPS") == nullptr)
        FAIL(why);
    MESSAGE(why);
    return false;
}

// Calls f on a thread of its own, which may be left in any state, and awaits it.
template <class F>
void on_a_thread(F f) {
    std::exception_ptr thrown;
    std::thread([&] {
        try {
            f();
        } catch (...) {
            thrown = std::current_exception();
        }
    }).join();
    if (thrown)
        std::rethrow_exception(thrown);
}

// There is only a loopback link in it, which is down.
inline network_namespace make_network_namespace() {
    std::optional<network_namespace> made;
    on_a_thread([&made] {
        REQUIRE(::unshare(CLONE_NEWNET) == 0);
        auto opened = network_namespace::open("/proc/thread-self/ns/net");
        REQUIRE(opened.has_value());
        made.emplace(std::move(*opened));
    });
    return std::move(*made);
}

// What is done to the links of the calling thread's namespace.
class links {
public:
    // Makes one whose other end stays in this namespace, too, and down.
    static void make(std::string_view name) {
        message add(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
        add.put(ifinfomsg{});
        add.put(IFLA_IFNAME, name);
        constexpr std::string_view kind = "veth";
        std::array<char, RTA_LENGTH(kind.size())> info{};
        const rtattr head{info.size(), IFLA_INFO_KIND};
        std::memcpy(info.data(), &head, sizeof head);
        std::memcpy(info.data() + RTA_LENGTH(0), kind.data(), kind.size());
        add.put(IFLA_LINKINFO, {info.data(), info.size()});
        add.send();
    }
    static void add_address(std::string_view link, std::string_view address) {
        const auto parsed = asio::ip::make_address(address);
        message add(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
        ifaddrmsg about{};
        about.ifa_family = parsed.is_v4() ? AF_INET : AF_INET6;
        about.ifa_prefixlen = parsed.is_v4() ? 32 : 128;
        about.ifa_flags = IFA_F_NODAD;
        about.ifa_index = ::if_nametoindex(std::string(link).c_str());
        add.put(about);
        const auto bytes =
            parsed.is_v4() ? text_of(parsed.to_v4().to_bytes()) : text_of(parsed.to_v6().to_bytes());
        add.put(IFA_LOCAL, bytes);
        add.send();
    }
    static void set_up(std::string_view link) {
        message change(RTM_NEWLINK, 0);
        ifinfomsg about{};
        about.ifi_index = static_cast<int>(::if_nametoindex(std::string(link).c_str()));
        about.ifi_flags = IFF_UP;
        about.ifi_change = IFF_UP;
        change.put(about);
        change.send();
    }

private:
    template <class Bytes>
    static std::string text_of(const Bytes& bytes) {
        return {bytes.begin(), bytes.end()};
    }

    class message {
    public:
        message(unsigned short type, unsigned flags) {
            nlmsghdr head{};
            head.nlmsg_type = type;
            head.nlmsg_flags = static_cast<unsigned short>(flags | NLM_F_REQUEST | NLM_F_ACK);
            put(head);
        }
        template <class Plain>
        void put(const Plain& part) {
            bytes_.append(reinterpret_cast<const char*>(&part), sizeof part);
        }
        void put(unsigned short type, std::string_view content) {
            put(rtattr{static_cast<unsigned short>(RTA_LENGTH(content.size())), type});
            bytes_.append(content);
            bytes_.resize(NLMSG_ALIGN(bytes_.size()));
        }
        void send() {
            const auto size = static_cast<__u32>(bytes_.size());
            std::memcpy(bytes_.data(), &size, sizeof size);
            const descriptor socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
            REQUIRE(::send(socket.get(), bytes_.data(), bytes_.size(), 0) > 0);
            struct {
                nlmsghdr head;
                nlmsgerr told;
                std::array<char, 256> rest;
            } answer{};
            REQUIRE(::recv(socket.get(), &answer, sizeof answer, 0) > 0);
            REQUIRE(answer.head.nlmsg_type == NLMSG_ERROR);
            REQUIRE_MESSAGE(answer.told.error == 0, std::strerror(-answer.told.error));
        }

    private:
        std::string bytes_;
    };
};

} // namespace credlet::test
