#include "runtime/tls_policy.hpp"
#include "tests/support/manual_clock.hpp"
#include "tests/support/runtime_certificates.hpp"
#include "tests/support/runtime_no_more_descriptors.hpp"
#include "tests/support/temporary_directory.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::test;
using namespace std::chrono_literals;

TEST_CASE("a new CA file that cannot be read for a while is read once it can be") {
    const temporary_directory directory;
    const certificate_authority first, second;
    manual_clock time;
    auto policy = tls_policy::load(directory.write("ca.pem", first.pem()), time).value();
    const auto before = policy->current();
    int failures = 0;
    int reloads = 0;
    policy->on_failure = [&](const error& why) {
        ++failures;
        CHECK(why.kind == errc::io_failed);
    };
    policy->on_reload = [&] { ++reloads; };
    directory.write("ca.pem", second.pem());
    {
        const no_more_descriptors none;
        time.advance(1s);
        CHECK(policy->current() == before);
        CHECK(failures == 1);
    }
    time.advance(1s);
    CHECK(policy->current() != before);
    CHECK(reloads == 1);
    CHECK(failures == 1);
}
