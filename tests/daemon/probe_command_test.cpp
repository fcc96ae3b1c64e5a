#include "daemon/admin.hpp"
#include "daemon/probe_command.hpp"
#include "runtime/http_server.hpp"
#include "tests/support/manual_clock.hpp"
#include "tests/support/temporary_directory.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <doctest/doctest.h>

#include <sstream>
#include <thread>

using namespace credlet;
using namespace credlet::app;

namespace {

struct outputs {
    int code;
    std::string out, err;
};

outputs probe(probed what, const admin_address& admin) {
    std::ostringstream out, err;
    const int code = run_probe({what, admin}, out, err);
    return {code, out.str(), err.str()};
}

// The admin endpoints of a daemon in this state, on a unix socket; both of its loops turn.
struct daemon_at_path {
    explicit daemon_at_path(readiness state) {
        admin_sources sources;
        sources.ready = [state = std::move(state)] { return state; };
        handler = make_admin_handler(loop, {{loop, "serves pods"}}, time, sources);
        server = make_http_server(loop, time, *handler, {});
        REQUIRE(server->listen(unix_path{path}).has_value());
        thread = std::thread([this] { loop.run(); });
    }
    daemon_at_path(const daemon_at_path&) = delete;
    daemon_at_path& operator=(const daemon_at_path&) = delete;
    ~daemon_at_path() {
        loop.stop();
        thread.join();
    }
    test::temporary_directory dir;
    const std::string path = dir.path + "/admin";
    asio::io_context loop{1};
    asio::executor_work_guard<asio::io_context::executor_type> work{loop.get_executor()};
    test::manual_clock time;
    std::unique_ptr<request_handler> handler;
    std::unique_ptr<http_server> server;
    std::thread thread;
};

} // namespace

TEST_CASE("a daemon that is ready and healthy is told so through its socket") {
    const daemon_at_path daemon({true, {}});
    auto answered = probe(probed::readyz, unix_path{daemon.path});
    CHECK(answered.code == 0);
    CHECK(answered.out == "ready\n");
    answered = probe(probed::healthz, unix_path{daemon.path});
    CHECK(answered.code == 0);
    CHECK(answered.out == "ok\n");
    CHECK(answered.err.empty());
}

TEST_CASE("why a daemon is not ready stands on one line") {
    const daemon_at_path daemon({false, {"no listener for pods is open yet", "draining"}});
    const auto answered = probe(probed::readyz, unix_path{daemon.path});
    CHECK(answered.code == 1);
    CHECK(answered.out == "not ready: no listener for pods is open yet; draining\n");
}

TEST_CASE("a daemon that cannot be asked is told from one that is not ready") {
    const test::temporary_directory dir;
    const auto answered = probe(probed::healthz, unix_path{dir.path + "/none"});
    CHECK(answered.code == 2);
    CHECK(answered.out.empty());
    CHECK(answered.err.find("unix:" + dir.path + "/none") != std::string::npos);
}
