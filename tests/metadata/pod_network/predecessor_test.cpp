// Against real processes, network namespaces and control groups, which the test makes.

#include "metadata/pod_network/predecessor.hpp"
#include "runtime/listening_socket.hpp"
#include "tests/support/control_groups.hpp"
#include "tests/support/runtime_network_namespaces.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::metadata;
using namespace credlet::test;

namespace {

// All pods of this machine are looked at: those of another test must not have the port.
const auto port = static_cast<std::uint16_t>(20000 + ::getpid() % 10000);
const asio::ip::tcp::endpoint v4(asio::ip::address_v4::loopback(), port),
    v6(asio::ip::address_v6::loopback(), port);

descriptor listen_in(const obedient_process& process, const asio::ip::tcp::endpoint& where) {
    descriptor socket;
    on_a_thread([&] {
        const auto visitor = namespace_visitor::make();
        const auto there = network_namespace::open(process.network_path());
        REQUIRE(there.has_value());
        auto made = visitor->inside(*there, [&] {
            return make_listening_socket(where, {16, sharing::yes, address_presence::awaited});
        });
        REQUIRE(made.has_value());
        socket = std::move(*made);
    });
    return socket;
}

} // namespace

TEST_CASE("a process that has listeners in pods is one whose place is taken, whatever pod and family") {
    if (!namespaces_can_be_made())
        return;
    private_groups groups(cgroup_version::v2);
    if (!groups)
        return;
    obedient_process first, second;
    first.enter_new_network();
    second.enter_new_network();
    first.join(groups.make("kubepods/pod7f1b6c42-5a0d-4f3e-9b1c-0d2e4f6a8b90/5f0c"));
    second.join(groups.make("kubepods/pod0c9d1e2f-3a4b-4c5d-8e6f-7a8b9c0d1e2f/6a1d"));
    pod_listener_settings settings;
    settings.where = {v4, v6};
    CHECK(!is_listened_on_in_pods(settings));
    for (const auto* process : {&first, &second})
        for (const auto& where : {v4, v6}) {
            const auto socket = listen_in(*process, where);
            CHECK(is_listened_on_in_pods(settings));
        }
    const auto elsewhere = listen_in(first, {v4.address(), static_cast<std::uint16_t>(port + 1)});
    CHECK(!is_listened_on_in_pods(settings));
}

TEST_CASE("who sees no processes takes nobody's place") {
    pod_listener_settings settings;
    settings.where = {v4};
    settings.finder.proc_dir = "/nowhere";
    CHECK(!is_listened_on_in_pods(settings));
}
