#include "runtime/connection_table.hpp"

#include <doctest/doctest.h>

#include <list>
#include <string>

using namespace credlet;
using namespace std::chrono_literals;
using verdict = connection_table::verdict;

namespace {

peer_id address(int n) { return peer_id(asio::ip::make_address("10.0.0." + std::to_string(n))); }

struct fake_connection final : open_connection {
    fake_connection(int peer, bool idle, std::chrono::seconds deadline) : open_connection(address(peer)) {
        is_idle_ = idle;
        deadline_ = boot_time(deadline);
    }
    void cut() override {}
    void expire(boot_time) override {}
    void retire() override {}
    void wind_down(boot_time) override {}
};

struct fixture {
    connection_table table{6, 4};
    std::list<fake_connection> all;

    fake_connection& add(int peer, bool idle, std::chrono::seconds deadline = 0s) {
        all.emplace_back(peer, idle, deadline);
        table.add(all.back());
        return all.back();
    }
};

} // namespace

TEST_CASE_FIXTURE(fixture, "T18: a peer may hold so many connections and not one more") {
    for (int i = 0; i < 4; ++i) {
        CHECK(table.admit(address(1)).what == verdict::welcome);
        add(1, false);
    }
    CHECK(table.held_by(address(1)) == 4);
    CHECK(table.admit(address(1)).what == verdict::peer_limit);
    CHECK(table.admit(address(2)).what == verdict::welcome);
    table.remove(all.front());
    CHECK(table.admit(address(1)).what == verdict::welcome);
}

TEST_CASE_FIXTURE(fixture,
                  "T18: at its limit a peer's own longest idle connection gives way, nobody else's") {
    add(2, true, 0s);
    add(1, false, 1s);
    add(1, true, 3s);
    auto& expected = add(1, true, 2s);
    add(1, true, 4s);
    for (const bool full : {false, true}) {
        CAPTURE(full);
        const auto admission = table.admit(address(1));
        CHECK(admission.what == verdict::after_eviction);
        CHECK(admission.gives_way == &expected);
        add(2, true, 0s);
    }
}

TEST_CASE_FIXTURE(fixture,
                  "T18: when all places are taken, the longest idle of the peer that holds most gives way") {
    add(1, true, 1s);
    add(1, true, 2s);
    add(2, false, 1s);
    add(2, true, 9s);
    auto& expected = add(2, true, 8s);
    add(3, true, 0s);
    const auto admission = table.admit(address(4));
    CHECK(admission.what == verdict::after_eviction);
    CHECK(admission.gives_way == &expected);
}

TEST_CASE_FIXTURE(fixture,
                  "T18: if the peer that holds most has none idle, another's idle connection gives way") {
    for (int i = 0; i < 4; ++i)
        add(1, false);
    add(2, true, 2s);
    auto& expected = add(3, true, 1s);
    CHECK(table.admit(address(4)).gives_way == &expected);
}

TEST_CASE_FIXTURE(fixture, "T18: nobody displaces a peer that holds fewer than himself") {
    for (int i = 0; i < 3; ++i)
        add(1, false);
    for (int peer = 2; peer <= 4; ++peer)
        add(peer, true);
    CHECK(table.admit(address(1)).what == verdict::server_full);
    CHECK(table.admit(address(5)).what == verdict::after_eviction);
}

TEST_CASE_FIXTURE(fixture, "T18: a full server where all are busy refuses") {
    for (int peer = 1; peer <= 6; ++peer)
        add(peer, false);
    CHECK(table.admit(address(7)).what == verdict::server_full);
}

TEST_CASE("an owner is a peer by his text, and no address is one") {
    const auto owner = [](const char* text) { return peer_id(std::make_shared<const std::string>(text)); };
    const peer_id::hash hash;
    CHECK(owner("a") == owner("a"));
    CHECK(hash(owner("a")) == hash(owner("a")));
    CHECK_FALSE(owner("a") == owner("b"));
    CHECK_FALSE(owner("") == peer_id(asio::ip::address())); // what an owner has for an address
    CHECK_FALSE(peer_id(asio::ip::address()) == owner(""));
    CHECK_FALSE(owner("10.0.0.1") == address(1));
    CHECK(address(1) == address(1));
    CHECK_FALSE(address(1) == address(2));
}

TEST_CASE_FIXTURE(fixture, "connections leave in any order, also during a walk over all") {
    for (int peer = 1; peer <= 6; ++peer)
        add(peer, true);
    auto& second = *std::next(all.begin());
    table.remove(second);
    CHECK(table.size() == 5);
    CHECK(table.held_by(second.peer()) == 0);
    int seen = 0;
    table.for_each([&](open_connection& connection) {
        ++seen;
        if (seen % 2 == 0)
            table.remove(connection);
    });
    CHECK(seen == 5);
    CHECK(table.size() == 3);
    table.for_each([&](open_connection& connection) { table.remove(connection); });
    CHECK(table.empty());
}
