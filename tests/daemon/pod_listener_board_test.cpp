#include "daemon/pod_listener_board.hpp"
#include "tests/support/manual_clock.hpp"
#include "tests/support/recording_log.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::app;
using namespace std::chrono_literals;
using metadata::listener_failure;
using metadata::pod_listener_state;
using metadata::pod_listener_update;

namespace {

struct recording_metrics final : metrics::pod_listener_metrics {
    void pods(std::string_view state, std::size_t count) override { counts[std::string(state)] = count; }
    void failed(std::string_view reason) override { failures.emplace_back(reason); }
    void opened(std::chrono::nanoseconds after) override { open_durations.push_back(after); }
    std::map<std::string, std::size_t> counts;
    std::vector<std::string> failures;
    std::vector<std::chrono::nanoseconds> open_durations;
};

struct fixture {
    pod_listener_update web(std::optional<pod_listener_state> state) const {
        pod_listener_update u;
        u.pod_uid = "uid-web";
        u.namespace_name = "shop";
        u.pod_name = "web-0";
        u.state = std::move(state);
        return u;
    }
    pod_listener_update failing(listener_failure why, std::string detail) const {
        auto u = web(pod_listener_state{false, std::move(detail), "what to do"});
        u.failed = why;
        return u;
    }

    test::manual_clock time;
    recording_metrics metrics;
    test::recording_log log;
    pod_listener_board board{time, metrics, log};
};

const pod_listener_state open{true, "127.0.0.1:9799 in its network namespace", ""};
const pod_listener_state waiting{false, "it has no control group yet", ""};

} // namespace

TEST_CASE_FIXTURE(fixture, "the board knows what was told last of each pod that is here") {
    CHECK_FALSE(board.state_of("uid-web"));
    board.told(web(waiting));
    REQUIRE(board.state_of("uid-web"));
    CHECK(board.state_of("uid-web")->detail == "it has no control group yet");
    board.told(web(open));
    CHECK(board.state_of("uid-web")->open);
    CHECK_FALSE(board.state_of("uid-other"));
    board.told(web(std::nullopt));
    CHECK_FALSE(board.state_of("uid-web"));
}

TEST_CASE_FIXTURE(fixture,
                  "metrics are told how many listen, what begins to fail, and how long opening took") {
    auto u = web(waiting);
    u.now = {1, 2, 3};
    board.told(u);
    CHECK(metrics.counts ==
          std::map<std::string, std::size_t>{{"listening", 1}, {"waiting", 2}, {"failed", 3}});
    CHECK(metrics.failures.empty());
    CHECK(metrics.open_durations.empty());

    board.told(failing(listener_failure::port_taken, "127.0.0.1:9799 is taken"));
    CHECK(metrics.failures == std::vector<std::string>{"port_taken"});

    u = web(open);
    u.opened_after = 12ms;
    u.now = {2, 2, 2};
    board.told(u);
    CHECK(metrics.open_durations == std::vector<std::chrono::nanoseconds>{12ms});
    CHECK(metrics.counts.at("listening") == 2);
    u = web(std::nullopt);
    u.now = {1, 2, 2};
    board.told(u);
    CHECK(metrics.counts.at("listening") == 1);
}

TEST_CASE_FIXTURE(fixture, "that a listener opens or closes is a line each, for who looks closely") {
    board.told(web(waiting));
    CHECK(log.lines.empty());
    board.told(web(open));
    board.told(web(open)); // found otherwise
    REQUIRE(log.lines.size() == 1);
    CHECK(log.lines[0].level == log_level::debug);
    CHECK(log.lines[0].message == "pod listener open");
    CHECK(log.lines[0].field("namespace") == "shop");
    CHECK(log.lines[0].field("pod") == "web-0");
    board.told(web(waiting)); // a new sandbox
    board.told(web(std::nullopt));
    REQUIRE(log.lines.size() == 2);
    CHECK(log.lines[1].level == log_level::debug);
    CHECK(log.lines[1].message == "pod listener closed");
    board.told(web(open));
    board.told(web(std::nullopt));
    CHECK(log.lines.back().message == "pod listener closed");
    CHECK(log.lines.back().field("pod") == "web-0");
}

TEST_CASE_FIXTURE(fixture, "what fails is a warning with the pod, the reason and the error") {
    board.told(failing(listener_failure::port_taken, "127.0.0.1:9799 is taken"));
    REQUIRE(log.lines.size() == 1);
    const auto& line = log.lines[0];
    CHECK(line.level == log_level::warn);
    CHECK(line.message == "cannot listen in pod");
    CHECK(line.field("namespace") == "shop");
    CHECK(line.field("pod") == "web-0");
    CHECK(line.field("reason") == "port_taken");
    CHECK(line.field("error") == "127.0.0.1:9799 is taken");
    // That it fails still is no news.
    board.told(web(pod_listener_state{false, "127.0.0.1:9799 is taken", ""}));
    CHECK(log.lines.size() == 1);
}

TEST_CASE_FIXTURE(fixture,
                  "a pod that takes and leaves the port in turn writes a line in ten seconds, not more") {
    for (int i = 0; i < 100; ++i) {
        board.told(failing(listener_failure::port_taken, "taken"));
        board.told(web(waiting));
    }
    CHECK(log.lines.size() == 1);
    CHECK(metrics.failures.size() == 100);
    time.advance(10s);
    board.told(failing(listener_failure::port_taken, "taken"));
    REQUIRE(log.lines.size() == 2);
    CHECK(log.lines[1].field("suppressed") == "99");
}
