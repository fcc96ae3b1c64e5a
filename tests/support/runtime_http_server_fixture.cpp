#include "tests/support/runtime_http_server_fixture.hpp"

#include "tests/support/coroutine.hpp"

#include <boost/asio/detached.hpp>
#include <doctest/doctest.h>

namespace credlet::test {

using namespace std::chrono_literals;

namespace {

reply_ptr text(std::string_view body) {
    return std::make_shared<const rendered_reply>(200, "text/plain", body);
}

awaitable<void> drain_into(http_server& server, std::chrono::milliseconds grace,
                           std::optional<std::size_t>& cut) {
    cut = co_await server.drain(grace);
}

} // namespace

path_handler::path_handler(asio::io_context& loop)
    : gate_(loop, asio::steady_timer::time_point::max()),
      big_(text(std::string(8U << 20U, 'b'))) {}

reply_ptr path_handler::answer_now(const request_head& head, const connection_info& connection) {
    ++asked;
    last_connection = connection;
    if (during_answer)
        during_answer();
    if (head.path == "/throw")
        throw std::runtime_error("thrown at once");
    if (head.path == "/big")
        return big_;
    if (head.path.starts_with("/now/"))
        return text(head.path.substr(5));
    if (head.path.starts_with("/later/") || head.path == "/throw/later" || head.path == "/null")
        return nullptr;
    return render_error(404, "NotFound", "no such path");
}

awaitable<reply_ptr> path_handler::answer_later(std::unique_ptr<owned_request> request, connection_info) {
    if (request->head.path == "/throw/later")
        throw std::runtime_error("thrown later");
    if (request->head.path == "/null")
        co_return nullptr;
    ++waiting;
    co_await gate_.async_wait(as_result);
    --waiting;
    const auto state = co_await asio::this_coro::cancellation_state;
    cancelled += state.cancelled() != asio::cancellation_type::none ? 1 : 0;
    co_return text(request->head.path.substr(7));
}

reply_ptr path_handler::answer_fault(request_fault fault, const connection_info&) {
    ++faults[std::string(to_string(fault))];
    return render_error(status_of(fault), "BadRequest", to_string(fault));
}

http_server_limits http_server_fixture::quick() {
    http_server_limits limits;
    limits.head_timeout = 40ms; // the smallest limit sets the pace of the sweep
    return limits;
}

http_server_fixture::http_server_fixture(http_server_limits limits) {
    http_server_events events;
    events.opened = [this] { ++opened; };
    events.closed = [this] { ++closed; };
    events.rejected = [this](std::string_view reason) { ++rejected[std::string(reason)]; };
    events.handler_failed = [this](const std::string& what) { handler_failures.push_back(what); };
    server = make_http_server(loop, time, handler, limits, std::move(events));
    const auto listening = server->listen({asio::ip::make_address("127.0.0.1"), 0});
    REQUIRE(listening.has_value());
    port = server->endpoints().front().port();
}

http_server_fixture::~http_server_fixture() {
    server.reset();
    handler.release();
    loop.restart();
    loop.run_for(10s); // what was cut ends
}

bool http_server_fixture::until(const std::function<bool()>& holds) {
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (!holds()) {
        if (std::chrono::steady_clock::now() > end)
            return false;
        loop.restart();
        loop.run_one_for(2ms);
        loop.poll();
    }
    return true;
}

void http_server_fixture::settle() {
    do
        loop.restart();
    while (loop.poll() > 0);
}

void http_server_fixture::run_for(std::chrono::milliseconds d) {
    loop.restart();
    loop.run_for(d);
}

std::string http_server_fixture::ask(loopback_peer& peer, std::string_view request) {
    peer.clear();
    peer.send(request);
    CHECK(until([&] { return body_of(peer.receive()).has_value() || peer.ended(); }));
    return peer.receive();
}

std::string http_server_fixture::get(loopback_peer& peer, std::string_view path, std::string_view lines) {
    return ask(peer, get_request(path, lines));
}

bool http_server_fixture::until_closed(loopback_peer& peer) {
    return until([&] { return peer.ended(); });
}

void http_server_fixture::begin_drain(std::chrono::milliseconds grace) {
    asio::co_spawn(loop, drain_into(*server, grace, cut), asio::detached);
}

std::size_t http_server_fixture::drain(std::chrono::milliseconds grace) {
    run(loop, drain_into(*server, grace, cut));
    return cut.value();
}

std::string get_request(std::string_view path, std::string_view lines) {
    return "GET " + std::string(path) + " HTTP/1.1\r\nHost: a\r\n" + std::string(lines) + "\r\n";
}

std::optional<std::string> body_of(std::string_view received) {
    const auto end = received.find("\r\n\r\n");
    const auto length = received.find("Content-Length: ");
    if (end == std::string_view::npos || length == std::string_view::npos || length > end)
        return std::nullopt;
    const auto size = std::stoull(std::string(received.substr(length + 16, 10)));
    const auto body = received.substr(end + 4);
    if (body.size() < size)
        return std::nullopt;
    return std::string(body.substr(0, size));
}

bool is_status(std::string_view received, unsigned status) {
    return received.starts_with("HTTP/1.1 " + std::to_string(status) + " ");
}

bool says_close(std::string_view received) {
    return received.substr(0, received.find("\r\n\r\n")).find("\r\nConnection: close") !=
           std::string_view::npos;
}

} // namespace credlet::test
