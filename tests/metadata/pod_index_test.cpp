#include "metadata/pod_index.hpp"
#include "tests/support/metadata_node.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::metadata;
using credlet::test::make_pod;

namespace {

address_key at(const std::string& text) { return address_key(asio::ip::make_address(text)); }

} // namespace

TEST_CASE("the one live pod that has an address owns it") {
    pod_index pods;
    pods.put(make_pod("a", "web", "10.0.0.1"));
    REQUIRE(pods.claim(at("10.0.0.1")).kind == claim_kind::owned);
    CHECK(pods.claim(at("10.0.0.1")).owner->uid == "a");
    CHECK(pods.claim(at("10.0.0.2")).kind == claim_kind::none);
}

TEST_CASE("a terminal pod owns no address, a terminating one does") {
    pod_index pods;
    auto a = make_pod("a", "web", "10.0.0.1");
    a.terminating = true;
    pods.put(a);
    CHECK(pods.claim(at("10.0.0.1")).kind == claim_kind::owned);
    a.terminal = true;
    pods.put(a);
    CHECK(pods.claim(at("10.0.0.1")).kind == claim_kind::none);
    pods.put(make_pod("b", "web", "10.0.0.1"));
    CHECK(pods.claim(at("10.0.0.1")).owner->uid == "b");
}

TEST_CASE("F32: two live pods with one address: nobody owns it until one is gone") {
    pod_index pods;
    pods.put(make_pod("a", "web", "10.0.0.1"));
    pods.put(make_pod("b", "web", "10.0.0.1"));
    CHECK(pods.claim(at("10.0.0.1")).kind == claim_kind::conflict);
    CHECK(pods.claim(at("10.0.0.1")).owner == nullptr);
    pods.remove("a");
    CHECK(pods.claim(at("10.0.0.1")).owner->uid == "b");
}

TEST_CASE("T10: the addresses of host-network pods identify nobody") {
    pod_index pods;
    auto a = make_pod("a", "web", "192.168.0.1");
    auto b = make_pod("b", "api", "192.168.0.1");
    a.host_network = b.host_network = true;
    pods.put(a);
    CHECK(pods.claim(at("192.168.0.1")).kind == claim_kind::host_network);
    pods.put(b);
    CHECK(pods.claim(at("192.168.0.1")).kind == claim_kind::host_network);
    pods.put(make_pod("c", "web", "192.168.0.1"));
    CHECK(pods.claim(at("192.168.0.1")).kind == claim_kind::conflict);
}

TEST_CASE(
    "a dual-stack pod owns both addresses, and the mapped form of its IPv4 address is the same address") {
    pod_index pods;
    auto a = make_pod("a", "web", "10.0.0.1");
    a.addresses.push_back(asio::ip::make_address("fd00::1"));
    a.addresses.push_back(asio::ip::make_address("fd00::1")); // listed twice is no conflict
    pods.put(a);
    CHECK(pods.claim(at("10.0.0.1")).owner->uid == "a");
    CHECK(pods.claim(at("::ffff:10.0.0.1")).owner->uid == "a");
    CHECK(pods.claim(at("fd00::1")).owner->uid == "a");
    CHECK(at("::ffff:10.0.0.1").address() == asio::ip::make_address("10.0.0.1"));
}

TEST_CASE("an address that a pod no longer has is free") {
    pod_index pods;
    pods.put(make_pod("a", "web", "10.0.0.1"));
    pods.put(make_pod("a", "web", "10.0.0.2"));
    CHECK(pods.claim(at("10.0.0.1")).kind == claim_kind::none);
    CHECK(pods.claim(at("10.0.0.2")).kind == claim_kind::owned);
    pods.remove("a");
    pods.remove("a");
    CHECK(pods.addresses().empty());
    CHECK(pods.size() == 0);
}

TEST_CASE("of several pods of one name the live one is found") {
    pod_index pods;
    auto ended = make_pod("a", "web", "");
    auto live = make_pod("b", "web", "");
    ended.name = live.name = "web-0";
    ended.terminal = true;
    pods.put(ended);
    CHECK(pods.by_name("shop", "web-0")->uid == "a");
    pods.put(live);
    CHECK(pods.by_name("shop", "web-0")->uid == "b");
    CHECK(pods.by_name("other", "web-0") == nullptr);
    CHECK(pods.by_uid("a")->terminal);
}
