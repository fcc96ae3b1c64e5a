#include "runtime/network_namespace.hpp"
#include "tests/support/runtime_network_namespaces.hpp"
#include "tests/support/temporary_directory.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <csignal>
#include <fcntl.h>
#include <stdexcept>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace credlet;
using namespace credlet::test;

namespace {

namespace_id where_i_am() { return network_namespace::open("/proc/thread-self/ns/net").value().id(); }

errc kind_of_failure(const std::string& path) {
    const auto opened = network_namespace::open(path);
    REQUIRE(opened.has_error());
    CHECK(opened.error().message.find("'" + path + "'") != std::string::npos);
    return opened.error().kind;
}

std::vector<std::string> sorted_text(const std::vector<asio::ip::address>& addresses) {
    std::vector<std::string> text;
    for (const auto& address : addresses)
        text.push_back(address.to_string());
    std::sort(text.begin(), text.end());
    return text;
}

} // namespace

TEST_CASE("a namespace is the same however it was opened, and another is not") {
    const auto here = network_namespace::open("/proc/self/ns/net").value();
    CHECK(here.id() == where_i_am());
    CHECK(here.id() ==
          network_namespace::open("/proc/" + std::to_string(::getpid()) + "/ns/net").value().id());
    CHECK(here.id() ==
          network_namespace::open("/proc/self/fd/" + std::to_string(here.file().get())).value().id());
    descriptor file(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    CHECK(here.id() == network_namespace::from(std::move(file)).value().id());
    if (!namespaces_can_be_made())
        return;
    const auto first = make_network_namespace(), second = make_network_namespace();
    CHECK(first.id() != here.id());
    CHECK(first.id() != second.id());
}

TEST_CASE("a namespace is the same where it is pinned by a bind mount") {
    if (!namespaces_can_be_made())
        return;
    const temporary_directory dir;
    const auto pin = dir.write("pin", "");
    const auto there = make_network_namespace();
    const auto file = "/proc/self/fd/" + std::to_string(there.file().get());
    on_a_thread([&] { // in a mount namespace that goes with it
        REQUIRE(::unshare(CLONE_NEWNS) == 0);
        REQUIRE(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
        CHECK(kind_of_failure(pin) == errc::malformed);
        REQUIRE(::mount(file.c_str(), pin.c_str(), nullptr, MS_BIND, nullptr) == 0);
        CHECK(network_namespace::open(pin).value().id() == there.id());
    });
}

TEST_CASE("what is no network namespace is not taken for one") {
    const temporary_directory dir;
    CHECK(kind_of_failure(dir.write("file", "text")) == errc::malformed);
    CHECK(kind_of_failure(dir.path) == errc::malformed);
    CHECK(kind_of_failure("/dev/null") == errc::malformed);
    CHECK(kind_of_failure("/proc/self/ns/mnt") == errc::malformed); // a namespace, but of another kind
    CHECK(kind_of_failure("/proc/self/ns/user") == errc::malformed);
    const auto pipe = dir.path + "/pipe";
    REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
    CHECK(kind_of_failure(pipe) == errc::malformed); // and nobody is waited for
    CHECK(kind_of_failure(dir.path + "/none") == errc::not_found);
    CHECK(network_namespace::from(descriptor()).error().kind == errc::malformed);
}

TEST_CASE("a visitor is in the other namespace while it works there, and at home afterwards") {
    if (!namespaces_can_be_made())
        return;
    const auto there = make_network_namespace();
    const auto visitor = namespace_visitor::make().value();
    const auto home = where_i_am();
    CHECK(visitor.home().id() == home);
    const auto seen = visitor.inside(there, []() -> result<namespace_id> { return where_i_am(); });
    REQUIRE(seen.has_value());
    CHECK(*seen == there.id());
    CHECK(where_i_am() == home);
    const auto failed = visitor.inside(there, []() -> result<int> { return fail(errc::in_use, "taken"); });
    REQUIRE(failed.has_error());
    CHECK(failed.error().kind == errc::in_use);
    CHECK(where_i_am() == home);
}

TEST_CASE("a visitor is at home, too, when something was thrown on its visit") {
    if (!namespaces_can_be_made())
        return;
    const auto there = make_network_namespace();
    const auto visitor = namespace_visitor::make().value();
    const auto home = where_i_am();
    const auto throwing = []() -> result<void> { throw std::runtime_error("a bug"); };
    CHECK_THROWS_WITH((void)visitor.inside(there, throwing), "a bug");
    CHECK(where_i_am() == home);
}

TEST_CASE("without CAP_SYS_ADMIN nobody enters a namespace, and nothing is done") {
    if (!namespaces_can_be_made())
        return;
    const auto there = make_network_namespace();
    on_a_thread([&there] {
        const auto home = where_i_am();
        const auto visitor = namespace_visitor::make().value();
        REQUIRE(give_up_capabilities({CAP_SYS_ADMIN}).has_value());
        bool called = false;
        const auto gone = visitor.inside(there, [&called]() -> result<void> {
            called = true;
            return {};
        });
        REQUIRE(gone.has_error());
        CHECK(gone.error().kind == errc::denied);
        CHECK(gone.error().message.find("CAP_SYS_ADMIN") != std::string::npos);
        CHECK_FALSE(called);
        CHECK(where_i_am() == home);
    });
}

TEST_CASE("a process whose thread cannot return home ends") {
    if (!namespaces_can_be_made())
        return;
    const auto there = make_network_namespace();
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        ::signal(SIGABRT, SIG_DFL); // not the test framework's
        const rlimit no_core{0, 0};
        ::setrlimit(RLIMIT_CORE, &no_core);
        ::close(STDERR_FILENO);
        const auto visitor = namespace_visitor::make();
        const auto stranded = [] { return give_up_capabilities({CAP_SYS_ADMIN}); };
        if (visitor)
            (void)visitor->inside(there, stranded);
        ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == SIGABRT);
}

TEST_CASE("the addresses of a namespace are those of all its links but the loopback, bare") {
    if (!namespaces_can_be_made())
        return;
    const auto there = make_network_namespace();
    const auto visitor = namespace_visitor::make().value();
    const auto at_first = visitor.inside(there, [] { return addresses_here(); });
    REQUIRE(at_first.has_value());
    CHECK(at_first->empty());
    const auto later = visitor.inside(there, [] {
        links::set_up("lo");
        links::add_address("lo", "10.9.9.9");
        links::make("eth0");
        links::make("net1");
        links::add_address("eth0", "10.1.2.3");
        links::add_address("eth0", "fd00::1");
        links::add_address("eth0", "fe80::1");
        links::add_address("eth0", "::ffff:10.1.2.4");
        links::add_address("net1", "10.1.2.5"); // down, and still its own
        links::set_up("eth0");
        return addresses_here();
    });
    REQUIRE(later.has_value());
    auto found = sorted_text(*later);
    // The kernel gives a link that is up a link-local address of its own.
    std::erase_if(found, [](const std::string& a) { return a.starts_with("fe80::") && a != "fe80::1"; });
    CHECK(found == std::vector<std::string>{"10.1.2.3", "10.1.2.4", "10.1.2.5", "fd00::1", "fe80::1"});
}
