#include "runtime/network_namespace.hpp"

#include "runtime/canonical_address.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <memory>
#include <net/if.h>
#include <netinet/in.h>
#include <optional>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <system_error>

namespace credlet {

namespace {

constexpr const char* of_this_thread = "/proc/thread-self/ns/net";

errc kind_of(int number) {
    switch (number) {
    case ENOENT:
    case ESRCH: // the process has gone
        return errc::not_found;
    case EACCES:
    case EPERM:
        return errc::denied;
    default:
        return errc::io_failed;
    }
}

error failed(const std::string& what, int number) {
    return fail(kind_of(number), what + ": " + std::system_category().message(number));
}

// The file system is looked at first: to a device, the number of the request may mean anything.
bool is_network_namespace(const descriptor& file) {
    struct statfs about{};
    return ::fstatfs(file.get(), &about) == 0 && about.f_type == NSFS_MAGIC &&
           ::ioctl(file.get(), NS_GET_NSTYPE) == CLONE_NEWNET;
}

std::optional<asio::ip::address> address_in(const sockaddr* held) {
    if (held == nullptr)
        return std::nullopt;
    if (held->sa_family == AF_INET) {
        sockaddr_in v4{};
        std::memcpy(&v4, held, sizeof v4);
        return asio::ip::address_v4(ntohl(v4.sin_addr.s_addr));
    }
    if (held->sa_family == AF_INET6) {
        sockaddr_in6 v6{};
        std::memcpy(&v6, held, sizeof v6);
        asio::ip::address_v6::bytes_type bytes{};
        std::memcpy(bytes.data(), &v6.sin6_addr, bytes.size());
        return canonical(asio::ip::address_v6(bytes));
    }
    return std::nullopt;
}

} // namespace

result<network_namespace> network_namespace::from(descriptor file) {
    struct stat about{};
    if (!is_network_namespace(file) || ::fstat(file.get(), &about) != 0)
        return fail(errc::malformed, "this is no network namespace");
    return network_namespace(std::move(file), {about.st_dev, about.st_ino});
}

result<network_namespace> network_namespace::open(const std::string& path) {
    // Whatever lies there: a pipe is not waited for, a terminal not taken.
    descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (!file)
        return failed("cannot open the network namespace '" + path + "'", errno);
    auto opened = from(std::move(file));
    if (!opened)
        return fail(opened.error().kind, "'" + path + "' is no network namespace");
    return opened;
}

result<namespace_visitor> namespace_visitor::make() {
    auto home = network_namespace::open(of_this_thread);
    if (!home)
        return home.error();
    return namespace_visitor(std::move(*home));
}

result<void> namespace_visitor::go(const network_namespace& there) const {
    if (::setns(there.file().get(), CLONE_NEWNET) == 0)
        return {};
    const int number = errno;
    return failed(number == EPERM ? "entering a network namespace takes CAP_SYS_ADMIN"
                                  : "cannot enter a network namespace",
                  number);
}

void namespace_visitor::return_home() const noexcept {
    if (::setns(home_.file().get(), CLONE_NEWNET) == 0)
        return;
    std::perror("credlet: a thread cannot return to its network namespace");
    std::abort();
}

result<std::vector<asio::ip::address>> addresses_here() {
    ifaddrs* first = nullptr;
    if (::getifaddrs(&first) != 0)
        return failed("cannot list the addresses of a network namespace", errno);
    const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> all(first, &::freeifaddrs);
    std::vector<asio::ip::address> addresses;
    for (const ifaddrs* held = all.get(); held != nullptr; held = held->ifa_next) {
        if ((held->ifa_flags & IFF_LOOPBACK) != 0)
            continue;
        if (const auto address = address_in(held->ifa_addr))
            addresses.push_back(*address);
    }
    return addresses;
}

} // namespace credlet
