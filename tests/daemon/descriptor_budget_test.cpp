#include "daemon/descriptor_budget.hpp"

#include <doctest/doctest.h>

#include <sys/resource.h>

using namespace credlet;
using namespace credlet::app;

TEST_CASE("each pod's namespace takes a descriptor, and one per address, besides those of callers") {
    options o;
    o.max_connections = 1000;
    const auto without = descriptors_needed(o);
    CHECK(without > 1000);
    o.max_pod_namespaces = 250;
    CHECK(descriptors_needed(o) == without); // without --pod-listen none is open
    const auto loopback = asio::ip::make_address_v4("127.0.0.1");
    o.pod_listen = {{loopback, 9799}};
    CHECK(descriptors_needed(o) == without + 500);
    o.pod_listen.emplace_back(asio::ip::address_v6::loopback(), 9799);
    CHECK(descriptors_needed(o) == without + 750);
}

TEST_CASE("the limit of descriptors is the process's own") {
    rlimit files{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &files) == 0);
    const auto limit = descriptor_limit();
    if (files.rlim_cur == RLIM_INFINITY)
        CHECK_FALSE(limit);
    else
        CHECK(limit == files.rlim_cur);
}
