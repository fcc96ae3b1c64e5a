#include "metrics/metrics.hpp"
#include "runtime/clock.hpp"
#include "tests/support/exposition.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

using namespace credlet;
using namespace credlet::metrics;
using test::parse_exposition;

TEST_CASE("the process metrics are those of this process") {
    const system_clock time;
    const auto r = make_registry(time);
    const auto before = parse_exposition(r->expose());
    CHECK(before.at("process_cpu_seconds_total") > 0);
    CHECK(before.at("process_resident_memory_bytes") > 1e6);
    CHECK(before.at("process_resident_memory_bytes") < 1e10);
    CHECK(before.at("process_max_fds") >= before.at("process_open_fds"));
    const double now = std::chrono::duration<double>(time.wall().time_since_epoch()).count();
    CHECK(before.at("process_start_time_seconds") <= now + 1);
    CHECK(before.at("process_start_time_seconds") > now - 3600);

    const int extra = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    REQUIRE(extra >= 0);
    CHECK(parse_exposition(r->expose()).at("process_open_fds") == before.at("process_open_fds") + 1);
    ::close(extra);
}

TEST_CASE("the start of a process does not change: each change is taken for a restart") {
    const system_clock time;
    const auto r = make_registry(time);
    const auto started = parse_exposition(r->expose()).at("process_start_time_seconds");
    for (int i = 0; i < 20; ++i)
        CHECK(parse_exposition(r->expose()).at("process_start_time_seconds") == started);
}

TEST_CASE("a process that may not be dumped can still count its own files") {
    REQUIRE(::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0);
    const system_clock time;
    const auto e = parse_exposition(make_registry(time)->expose());
    ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    CHECK(e.at("process_open_fds") >= 3);
    CHECK(e.at("process_resident_memory_bytes") > 1e6);
}
