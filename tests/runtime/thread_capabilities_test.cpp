#include "runtime/thread_capabilities.hpp"
#include "tests/support/runtime_network_namespaces.hpp"

#include <doctest/doctest.h>

#include <cerrno>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

using namespace credlet;
using namespace credlet::test;

TEST_CASE("what one thread gives up another keeps") {
    if (!namespaces_can_be_made())
        return;
    on_a_thread([] {
        REQUIRE(give_up_capabilities({CAP_SYS_ADMIN, CAP_SYS_PTRACE}).has_value());
        CHECK_FALSE(has_capability(CAP_SYS_ADMIN));
        CHECK_FALSE(has_capability(CAP_SYS_PTRACE));
        CHECK(::unshare(CLONE_NEWNET) != 0); // the kernel thinks so, too
        CHECK(errno == EPERM);
    });
    CHECK(has_capability(CAP_SYS_ADMIN));
}

TEST_CASE("what a thread has given up, the threads that it makes do not have") {
    if (!namespaces_can_be_made())
        return;
    on_a_thread([] {
        REQUIRE(give_up_capabilities({CAP_SYS_ADMIN}).has_value());
        on_a_thread([] { CHECK_FALSE(has_capability(CAP_SYS_ADMIN)); });
    });
}

TEST_CASE("only what is named is given up, on either side of the thirty-second capability") {
    if (!namespaces_can_be_made())
        return;
    static_assert(CAP_SYSLOG == CAP_DAC_READ_SEARCH + 32); // the same bit of the other word
    for (const auto& [given_up, kept] :
         {std::pair(CAP_SYSLOG, CAP_DAC_READ_SEARCH), std::pair(CAP_DAC_READ_SEARCH, CAP_SYSLOG)}) {
        on_a_thread([given = given_up, other = kept] {
            CAPTURE(given);
            const bool had = has_capability(other);
            REQUIRE(give_up_capabilities({given}).has_value());
            CHECK_FALSE(has_capability(given));
            CHECK(has_capability(other) == had);
            CHECK(has_capability(CAP_SYS_ADMIN));
        });
    }
}

TEST_CASE("what has been given up cannot be had again") {
    if (!namespaces_can_be_made())
        return;
    on_a_thread([] {
        __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
        __user_cap_data_struct before[2] = {};
        REQUIRE(::syscall(SYS_capget, &header, before) == 0);
        REQUIRE(give_up_capabilities({CAP_SYS_ADMIN}).has_value());
        CHECK(::syscall(SYS_capset, &header, before) != 0);
        CHECK_FALSE(has_capability(CAP_SYS_ADMIN));
    });
}

TEST_CASE("to give up what one does not have is no error") {
    on_a_thread([] {
        CHECK(give_up_capabilities({CAP_SYS_ADMIN}).has_value());
        CHECK(give_up_capabilities({CAP_SYS_ADMIN}).has_value());
        CHECK(give_up_capabilities({}).has_value());
        CHECK_FALSE(has_capability(CAP_SYS_ADMIN));
    });
}
