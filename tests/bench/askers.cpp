// Many pods asking for credentials at once: binds one loopback source address per pod, sends one GET each,
// spread evenly over a window, and checks every answer's RoleArn. Prints one JSON line with the last answer's
// time and every wrong or failed answer, and exits 1 if there was one.
//
// askers PORT PODS WINDOW_MS: standard input has one line per pod: SOURCE_ADDRESS EXPECTED_ROLE_ARN

#include "runtime/async.hpp"
#include "runtime/json.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

namespace {

using namespace credlet;
using asio::ip::tcp;
using steady = std::chrono::steady_clock;

struct asker {
    std::string address;
    std::string role_arn;
    std::string failure = "no answer";
    std::chrono::duration<double, std::milli> took{};
    steady::time_point answered;
};

awaitable<void> ask(asker& self, std::uint16_t port, steady::time_point when) {
    const auto executor = co_await asio::this_coro::executor;
    asio::steady_timer start(executor, when);
    co_await start.async_wait(as_result);
    tcp::socket socket(executor, tcp::v4());
    socket.set_option(asio::socket_base::reuse_address(true));
    boost::system::error_code ec;
    socket.bind(tcp::endpoint(asio::ip::make_address(self.address), 0), ec);
    if (ec) {
        self.failure = "bind: " + ec.message();
        co_return;
    }
    const auto begun = steady::now();
    const auto [connected] =
        co_await socket.async_connect(tcp::endpoint(asio::ip::address_v4::loopback(), port), as_result);
    if (connected) {
        self.failure = "connect: " + connected.message();
        co_return;
    }
    const std::string request = "GET /v1/credentials HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(port) +
                                "\r\nAccept: application/json\r\nConnection: close\r\n\r\n";
    co_await asio::async_write(socket, asio::buffer(request), as_result);
    std::string answer;
    std::array<char, 4096> piece{};
    for (;;) {
        const auto [failed, n] = co_await socket.async_read_some(asio::buffer(piece), as_result);
        answer.append(piece.data(), n);
        if (failed)
            break;
    }
    self.answered = steady::now();
    self.took = self.answered - begun;
    const auto body = answer.find("\r\n\r\n");
    if (!answer.starts_with("HTTP/1.1 200 ") || body == std::string::npos) {
        self.failure = "answer: " + answer.substr(0, answer.find('\r'));
        co_return;
    }
    const auto document = json_document::parse(std::string_view(answer).substr(body + 4), 64 * 1024);
    const auto role = document ? json_string(document->root(), "RoleArn") : std::nullopt;
    if (!role || *role != self.role_arn)
        self.failure = "WRONG ROLE: " + std::string(role.value_or("none")) + " instead of " + self.role_arn;
    else
        self.failure.clear();
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: askers PORT PODS WINDOW_MS < LINES\n");
        return 2;
    }
    const auto number = [&](int i) {
        unsigned value = 0;
        const std::string_view text = argv[i];
        std::from_chars(text.data(), text.data() + text.size(), value);
        return value;
    };
    const auto port = static_cast<std::uint16_t>(number(1));
    std::vector<asker> askers(number(2));
    for (auto& a : askers)
        std::cin >> a.address >> a.role_arn;

    asio::io_context loop(1);
    const auto first = steady::now() + std::chrono::milliseconds(50);
    const auto window = std::chrono::milliseconds(number(3));
    for (std::size_t i = 0; i < askers.size(); ++i)
        asio::co_spawn(loop, ask(askers[i], port, first + window * i / askers.size()), asio::detached);
    loop.run_for(std::chrono::seconds(60));

    std::size_t failed = 0;
    std::vector<double> took;
    auto last = first;
    for (const auto& a : askers) {
        if (!a.failure.empty()) {
            ++failed;
            std::fprintf(stderr, "%s: %s\n", a.address.c_str(), a.failure.c_str());
            continue;
        }
        took.push_back(a.took.count());
        last = std::max(last, a.answered);
    }
    std::sort(took.begin(), took.end());
    const auto at = [&](double q) {
        return took.empty() ? 0.0 : took[static_cast<std::size_t>(q * static_cast<double>(took.size() - 1))];
    };
    std::printf(
        "{\"answers\":%zu,\"wrong_or_failed\":%zu,\"last_answer_ms\":%.0f,\"p50_ms\":%.1f,\"p99_ms\":%.1f,"
        "\"max_ms\":%.1f}\n",
        took.size(), failed, std::chrono::duration<double, std::milli>(last - first).count(), at(0.5),
        at(0.99), at(1));
    return failed == 0 ? 0 : 1;
}
