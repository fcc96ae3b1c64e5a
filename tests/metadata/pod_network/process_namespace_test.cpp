#include "metadata/pod_network/process_namespace.hpp"
#include "tests/support/control_groups.hpp"
#include "tests/support/results.hpp"
#include "tests/support/runtime_network_namespaces.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>

using namespace credlet;
using namespace credlet::metadata;
using namespace credlet::test;

namespace {
descriptor open_proc() { return descriptor(::open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC)); }
} // namespace

TEST_CASE("a process's start is read behind its name, whatever the name") {
    const std::string fields = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 987654321 20 21\n";
    CHECK(start_of_process("42 (sleep)" + fields) == 987654321);
    CHECK(start_of_process("42 (a) b (c)" + fields) == 987654321);
    CHECK(start_of_process("42 ()) 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23)" + fields) ==
          987654321);
    for (const std::string broken :
         {"", "42 (sleep)", "42 (sleep) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18", "42 sleep S 1",
          "42 (sleep) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 987654321",
          "42 (sleep) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 -1 20"}) {
        INFO(broken);
        CHECK_FALSE(start_of_process(broken));
    }
}

TEST_CASE("a process tells its start, its groups and its network namespace") {
    if (!namespaces_can_be_made())
        return;
    obedient_process one, two;
    two.enter_new_network();
    const auto proc = open_proc();
    const auto first = process_directory::open(proc, one.number());
    const auto second = process_directory::open(proc, two.number());
    REQUIRE(first);
    REQUIRE(second);
    CHECK(*first->started() <= *second->started());
    CHECK(first->cgroups()->find(":/") != std::string::npos);
    REQUIRE(first->network());
    REQUIRE(second->network());
    CHECK(first->network()->id() == network_namespace::open("/proc/self/ns/net")->id());
    CHECK(first->network()->id() != second->network()->id());
    CHECK(*second->network_id() == second->network()->id());
}

TEST_CASE("T7: a process that has ended says nothing any more, also when its number is another's by now") {
    if (!namespaces_can_be_made())
        return;
    const auto proc = open_proc();
    obedient_process one;
    const auto number = one.number();
    const auto seen = process_directory::open(proc, number);
    REQUIRE(seen);
    one.end();
    const obedient_process again(number);
    REQUIRE(again.number() == number);

    CHECK(seen->started().error().kind == errc::not_found);
    CHECK(seen->cgroups().error().kind == errc::not_found);
    CHECK(seen->network().error().kind == errc::not_found);
    CHECK(seen->network_id().error().kind == errc::not_found);
    CHECK(process_directory::open(proc, number)->started().has_value());
}
