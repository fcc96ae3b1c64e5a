#include "metadata/kubernetes/probe_policy.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::metadata::kubernetes;
using namespace std::chrono_literals;

namespace {

// Always in the middle of the range.
class middle final : public random_source {
public:
    std::uint64_t next() override { return std::uint64_t{1} << 63; }
};

} // namespace

TEST_CASE("F26: nodes that fall silent together ask at different times") {
    seeded_random random(1);
    probe_policy policy(35s, 5s, random);
    auto shortest = 100000ms;
    auto longest = 0ms;
    for (int i = 0; i < 10000; ++i) {
        const auto silence = policy.silence();
        shortest = std::min(shortest, silence);
        longest = std::max(longest, silence);
    }
    CHECK(shortest >= 28s);
    CHECK(shortest < 28100ms);
    CHECK(longest <= 42s);
    CHECK(longest > 41900ms);
}

TEST_CASE("F26: a question that is not answered is asked again ever less often, up to the silence itself") {
    middle random;
    probe_policy policy(35s, 5s, random);
    std::vector<std::int64_t> seconds;
    for (int i = 0; i < 6; ++i)
        seconds.push_back(policy.after_failure({}).count() / 1000);
    CHECK(seconds == std::vector<std::int64_t>{5, 10, 20, 35, 35, 35});
    policy.answered();
    CHECK(policy.after_failure({}) == 5s);
}

TEST_CASE("F22: a probe comes back no sooner than the server has asked for, within reason") {
    middle random;
    probe_policy policy(35s, 5s, random);
    CHECK(policy.after_failure(12s) == 12s);
    CHECK(policy.after_failure(1s) == 10s);
    CHECK(policy.after_failure(24h) == 60s);
}
