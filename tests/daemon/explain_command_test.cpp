#include "daemon/admin.hpp"
#include "daemon/explain_command.hpp"
#include "runtime/http_server.hpp"
#include "tests/support/manual_clock.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <doctest/doctest.h>

#include <future>
#include <sstream>
#include <thread>

using namespace credlet;
using namespace credlet::app;
using namespace std::chrono_literals;

namespace {

explain_options web(admin_address admin = {}) {
    return {"shop", "web-0", std::move(admin), output_format::text};
}

std::string json_of(const std::vector<metadata::explain_step>& steps) {
    return render_explanation("shop", "web-0", steps);
}

struct outputs {
    int code;
    std::string out, err;
};

outputs explain(const explain_options& o) {
    std::ostringstream out, err;
    const int code = run_explain(o, out, err);
    return {code, out.str(), err.str()};
}

// Answers one connection with these bytes, whatever it asks.
struct canned_daemon {
    explicit canned_daemon(std::string bytes)
        : acceptor(loop, {asio::ip::address_v4::loopback(), 0}),
          endpoint(acceptor.local_endpoint()),
          thread([this, answer = std::move(bytes)] {
              asio::ip::tcp::socket peer(loop);
              acceptor.accept(peer);
              std::array<char, 4096> request{};
              boost::system::error_code ignored;
              (void)peer.read_some(asio::buffer(request), ignored);
              asio::write(peer, asio::buffer(answer), ignored);
          }) {}
    ~canned_daemon() { thread.join(); }
    canned_daemon(const canned_daemon&) = delete;
    canned_daemon& operator=(const canned_daemon&) = delete;
    asio::io_context loop{1};
    asio::ip::tcp::acceptor acceptor;
    options::endpoint endpoint;
    std::thread thread;
};

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

} // namespace

TEST_CASE("steps are aligned, and the first that failed is told with what to do") {
    const auto e =
        render_explanation_text(json_of({{"pod", true, true, "running, uid u-1", ""},
                                         {"service account", false, true, "there is none", "create it"},
                                         {"sts", false, false, "", ""}}),
                                web());
    CHECK(e.outcome == explained::failed);
    CHECK(e.text == "shop/web-0\n"
                    "\n"
                    "  ok           pod              running, uid u-1\n"
                    "  FAILED       service account  there is none\n"
                    "  not reached  sts\n"
                    "\n"
                    "It fails at: service account: there is none\n"
                    "What to do: create it\n");
}

TEST_CASE("when every step is ok the pod gets its credentials") {
    const auto e = render_explanation_text(json_of({{"pod", true, true, "running", ""}}), web());
    CHECK(e.outcome == explained::ok);
    CHECK(holds(e.text, "The pod gets its credentials."));
}

TEST_CASE("what others wrote cannot control the terminal") {
    const auto e = render_explanation_text(
        json_of({{"sts", false, true, "\x1b[2Jdenied\nok  pod\xc2\x9b", "\x1b]0;x\x07 do"}}), web());
    CHECK(e.outcome == explained::failed);
    CHECK_FALSE(holds(e.text, "\x1b"));
    CHECK_FALSE(holds(e.text, "\x07"));
    CHECK_FALSE(holds(e.text, "\xc2\x9b"));
    CHECK_FALSE(holds(e.text, "\nok  pod"));
}

TEST_CASE("an answer that is none is not taken for one") {
    for (const auto* answer :
         {"", "{", "{}", "[]", R"({"steps":[]})", R"({"steps":[{}]})", R"({"steps":[1]})",
          R"({"steps":{"a":1}})", R"({"steps":[{"name":"pod","ok":1,"reached":true}]})"})
        CHECK(render_explanation_text(answer, web()).outcome == explained::not_answered);
}

TEST_CASE("a running daemon is asked over HTTP") {
    asio::io_context loop{1}, serving{1};
    const test::manual_clock time;
    admin_sources sources;
    std::vector<metadata::explain_step> steps{{"pod", true, true, "running", ""}};
    auto explain_it = [&](const std::string& namespace_name,
                          const std::string& pod) -> awaitable<std::vector<metadata::explain_step>> {
        CHECK(namespace_name == "shop");
        CHECK(pod == "web-0");
        co_return steps;
    };
    sources.explain = explain_it;
    const auto handler = make_admin_handler(loop, {{serving, "serves pods"}}, time, sources);
    const auto server = make_http_server(loop, time, *handler, {});
    const auto index = server->listen({asio::ip::address_v4::loopback(), 0});
    REQUIRE_MESSAGE(index.has_value(), index.error().message);
    const auto where = server->endpoints().at(*index);
    std::thread daemon([&] { loop.run(); });

    auto answered = explain(web(where));
    CHECK(answered.code == 0);
    CHECK(holds(answered.out, "ok           pod  running"));
    CHECK(answered.err.empty());

    std::promise<void> changed;
    asio::post(loop, [&] {
        steps = {{"pod", false, true, "unknown", "look"}};
        changed.set_value();
    });
    changed.get_future().wait();
    auto as_json = web(where);
    as_json.output = output_format::json;
    answered = explain(as_json);
    CHECK(answered.code == 1);
    CHECK(answered.out == json_of(steps));

    loop.stop();
    daemon.join();
}

TEST_CASE("a daemon that cannot be asked is told from a pod that gets nothing") {
    asio::io_context loop;
    asio::ip::tcp::acceptor closed(loop, {asio::ip::address_v4::loopback(), 0});
    const auto nobody = closed.local_endpoint();
    closed.close();
    auto answered = explain(web(nobody));
    CHECK(answered.code == 2);
    CHECK(answered.out.empty());
    CHECK(holds(answered.err, "127.0.0.1:" + std::to_string(nobody.port())));

    const canned_daemon refusing("HTTP/1.1 503 X\r\nContent-Length: 21\r\n\r\n{\"message\":\"b\\u0007\"}");
    answered = explain(web(refusing.endpoint));
    CHECK(answered.code == 2);
    CHECK(holds(answered.err, "status 503: b "));

    const canned_daemon stranger("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    CHECK(explain(web(stranger.endpoint)).code == 2);
    const canned_daemon cut("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello");
    CHECK(explain(web(cut.endpoint)).code == 2);
    const canned_daemon noise("SSH-2.0-x\r\n");
    CHECK(explain(web(noise.endpoint)).code == 2);
}
