#include "runtime/listening_socket.hpp"
#include "tests/support/loopback_peer.hpp"
#include "tests/support/runtime_network_namespaces.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/un.h>

using namespace credlet;
using namespace credlet::test;
using asio::ip::tcp;

namespace {

const listening_socket_settings alone{};
const listening_socket_settings shared{.shares = sharing::yes};
const listening_socket_settings awaited{.presence = address_presence::awaited};

tcp::endpoint at(const std::string& address, std::uint16_t port = 0) {
    return {asio::ip::make_address(address), port};
}

std::uint16_t port_of(const descriptor& socket) { return endpoint_of(socket).value().port(); }

errc kind_of_failure(const result<descriptor>& made) {
    REQUIRE(made.has_error());
    CHECK(made.error().message.starts_with("cannot listen on "));
    return made.error().kind;
}

bool somebody_waits(const descriptor& socket) {
    pollfd arrival{socket.get(), POLLIN, 0};
    return ::poll(&arrival, 1, 0) == 1;
}

} // namespace

TEST_CASE("a listening socket is where it was asked for, closed on exec, and blocks nobody") {
    for (const auto* address : {"127.0.0.1", "::1"}) {
        CAPTURE(address);
        const auto socket = make_listening_socket(at(address), alone).value();
        const auto where = endpoint_of(socket).value();
        CHECK(where.address() == asio::ip::make_address(address));
        CHECK(where.port() != 0);
        CHECK((::fcntl(socket.get(), F_GETFD) & FD_CLOEXEC) != 0);
        CHECK((::fcntl(socket.get(), F_GETFL) & O_NONBLOCK) != 0);
        CHECK_FALSE(somebody_waits(socket));
        const loopback_peer caller(where.port(), address);
        REQUIRE(somebody_waits(socket));
        const descriptor accepted(::accept4(socket.get(), nullptr, nullptr, SOCK_CLOEXEC));
        int at_once = 0;
        socklen_t length = sizeof at_once;
        REQUIRE(::getsockopt(accepted.get(), IPPROTO_TCP, TCP_NODELAY, &at_once, &length) == 0);
        CHECK(at_once == 1);
    }
}

TEST_CASE("both families can have the same port, on all addresses, too") {
    if (!namespaces_can_be_made())
        return;
    const auto there = make_network_namespace(); // where nobody else has ports
    const auto visitor = namespace_visitor::make().value();
    const auto listen = [&](const char* address) {
        return visitor.inside(there, [address] { return make_listening_socket(at(address, 9799), alone); });
    };
    const auto v6 = listen("::"), v4 = listen("0.0.0.0");
    REQUIRE_MESSAGE(v6.has_value(), v6.error().message);
    REQUIRE_MESSAGE(v4.has_value(), v4.error().message);
    const auto caller = visitor.inside(there, []() -> result<loopback_peer> {
        links::set_up("lo");
        return loopback_peer(9799, "127.0.0.1");
    });
    CHECK(somebody_waits(*v4));
    CHECK_FALSE(somebody_waits(*v6));
}

TEST_CASE("where somebody listens already the address is in use, unless both share it") {
    const auto first = make_listening_socket(at("127.0.0.1"), alone).value();
    const auto where = endpoint_of(first).value();
    CHECK(kind_of_failure(make_listening_socket(where, alone)) == errc::in_use);
    CHECK(kind_of_failure(make_listening_socket(where, shared)) == errc::in_use);
    const auto open = make_listening_socket(at("127.0.0.1"), shared).value();
    CHECK(kind_of_failure(make_listening_socket(endpoint_of(open).value(), alone)) == errc::in_use);
    CHECK(make_listening_socket(endpoint_of(open).value(), shared).has_value());
}

TEST_CASE("who joins those who share an address leaves the callers to who was there") {
    const auto first = make_listening_socket(at("127.0.0.1"), shared).value();
    const auto second = make_listening_socket(endpoint_of(first).value(), shared).value();
    std::vector<loopback_peer> callers;
    for (int i = 0; i < 20; ++i)
        callers.emplace_back(port_of(first));
    CHECK(somebody_waits(first));
    CHECK_FALSE(somebody_waits(second));
}

TEST_CASE("an address that is not there can be awaited, and is unavailable else") {
    for (const auto* address : {"192.0.2.1", "2001:db8::1"}) {
        CAPTURE(address);
        CHECK(kind_of_failure(make_listening_socket(at(address), alone)) == errc::unavailable);
        const auto socket = make_listening_socket(at(address), awaited);
        REQUIRE_MESSAGE(socket.has_value(), socket.error().message);
        CHECK(endpoint_of(*socket)->address() == asio::ip::make_address(address));
    }
}

TEST_CASE("callers of a namespace whose loopback was down at first are served once it is up") {
    if (!namespaces_can_be_made())
        return;
    const auto there = make_network_namespace();
    const auto visitor = namespace_visitor::make().value();
    const auto early = visitor.inside(there, [] {
        links::make("eth0"); // until there is a route, the kernel does not look whether it has the address
        links::add_address("eth0", "10.1.2.3");
        links::set_up("eth0");
        return make_listening_socket(at("127.0.0.1", 9799), alone);
    });
    CHECK(kind_of_failure(early) == errc::unavailable);
    const auto v4 =
        visitor.inside(there, [] { return make_listening_socket(at("127.0.0.1", 9799), awaited); });
    const auto v6 = visitor.inside(there, [] { return make_listening_socket(at("::1", 9799), awaited); });
    REQUIRE(v4.has_value());
    REQUIRE(v6.has_value());
    const auto call = [&](const char* from) {
        return visitor.inside(there, [from]() -> result<loopback_peer> { return loopback_peer(9799, from); });
    };
    CHECK_THROWS((void)call("127.0.0.1"));
    CHECK(visitor
              .inside(there,
                      []() -> result<void> {
                          links::set_up("lo");
                          return {};
                      })
              .has_value());
    const auto first = call("127.0.0.1"), second = call("::1");
    CHECK(somebody_waits(*v4));
    CHECK(somebody_waits(*v6));
}

TEST_CASE("a socket stays in the namespace where it was made") {
    if (!namespaces_can_be_made())
        return;
    const auto there = make_network_namespace(), elsewhere = make_network_namespace();
    const auto visitor = namespace_visitor::make().value();
    const auto listen = [] {
        links::set_up("lo");
        return make_listening_socket(at("127.0.0.1", 9799), alone);
    };
    const auto call = []() -> result<loopback_peer> { return loopback_peer(9799); };
    const auto first = visitor.inside(there, listen), second = visitor.inside(elsewhere, listen);
    REQUIRE(first.has_value());
    REQUIRE(second.has_value()); // nobody has the address there
    const auto caller = visitor.inside(elsewhere, call);
    CHECK_FALSE(somebody_waits(*first));
    CHECK(somebody_waits(*second));
    const auto another = visitor.inside(there, call);
    CHECK(somebody_waits(*first));
}

TEST_CASE("only a TCP socket that listens has an endpoint to listen on") {
    const auto none = [](const descriptor& socket) { return endpoint_of(socket).has_error(); };
    CHECK(none(descriptor()));
    CHECK(none(descriptor(::open("/dev/null", O_RDONLY | O_CLOEXEC))));
    const descriptor idle(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    CHECK(none(idle));
    const auto any = at("127.0.0.1");
    REQUIRE(::bind(idle.get(), any.data(), static_cast<socklen_t>(any.size())) == 0);
    CHECK(none(idle));
    REQUIRE(::listen(idle.get(), 1) == 0);
    CHECK_FALSE(none(idle));
    const descriptor datagrams(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    REQUIRE(::bind(datagrams.get(), any.data(), static_cast<socklen_t>(any.size())) == 0);
    CHECK(none(datagrams));
    const descriptor unix_socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_un unnamed{AF_UNIX, {}}; // the kernel names it
    REQUIRE(::bind(unix_socket.get(), reinterpret_cast<const sockaddr*>(&unnamed), sizeof(sa_family_t)) == 0);
    REQUIRE(::listen(unix_socket.get(), 1) == 0);
    CHECK(none(unix_socket));
}
