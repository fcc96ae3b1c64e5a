#include "tests/support/runtime_https_fixture.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <doctest/doctest.h>

namespace credlet::test {
namespace {

// For what takes milliseconds where nothing is wrong.
constexpr std::chrono::seconds time_limit{30};

template <class T>
awaitable<void> keep(awaitable<result<T>> operation, std::optional<result<T>>& outcome) {
    outcome.emplace(co_await std::move(operation));
}

} // namespace

https_fixture::https_fixture() { write_ca_file(trusted.pem()); }

https_fixture::~https_fixture() {
    client.reset();
    loop.restart();
    loop.run_for(time_limit);
    CHECK_MESSAGE(loop.stopped(), "something is left that keeps the loop going");
}

void https_fixture::write_ca_file(const std::string& pem) const { files.write("ca.pem", pem); }

https_client_settings https_fixture::settings_for(const tls_server& server) const {
    https_client_settings settings;
    settings.server.host = "sts.test";
    settings.server.port = server.port();
    settings.ca_file = ca_file();
    settings.user_agent = "credlet/test";
    return settings;
}

void https_fixture::start(https_client_settings settings) {
    https_client_events events;
    events.resolve_failed = [this](const error& why) { resolve_failures.push_back(why.kind); };
    events.ca_reloaded = [this] { ++ca_reloads; };
    events.ca_failed = [this](const error& why) { ca_failures.push_back(why.message); };
    auto made = make_https_client(loop, time, names, std::move(settings), std::move(events));
    if (made.has_error())
        throw std::runtime_error(made.error().message);
    client = std::move(*made);
}

result<http_response> https_fixture::exchange(http_request request, std::chrono::milliseconds limit) {
    std::optional<result<http_response>> outcome;
    run(loop, keep(client->exchange(std::move(request), limit), outcome));
    return std::move(*outcome);
}

std::shared_ptr<std::optional<result<http_response>>>
https_fixture::begin_exchange(std::chrono::milliseconds limit) {
    auto outcome = std::make_shared<std::optional<result<http_response>>>();
    asio::co_spawn(loop, keep(client->exchange({}, limit), *outcome),
                   [outcome](const std::exception_ptr&) {});
    return outcome;
}

std::vector<result<http_response>> https_fixture::exchange_many(std::size_t count,
                                                                std::chrono::milliseconds limit) {
    std::vector<std::shared_ptr<std::optional<result<http_response>>>> outcomes;
    for (std::size_t i = 0; i < count; ++i)
        outcomes.push_back(begin_exchange(limit));
    std::vector<result<http_response>> all;
    for (const auto& outcome : outcomes) {
        if (!run_until([&] { return outcome->has_value(); }))
            throw std::runtime_error("an exchange did not end");
        all.push_back(std::move(outcome->value()));
    }
    return all;
}

result<http_response> https_fixture::exchange_cancelled_when(const std::function<bool()>& when) {
    std::optional<result<http_response>> outcome;
    asio::cancellation_signal signal;
    bool ended = false;
    std::exception_ptr failure;
    asio::co_spawn(loop, keep(client->exchange({}, std::chrono::seconds(30)), outcome),
                   asio::bind_cancellation_slot(signal.slot(), [&](const std::exception_ptr& e) {
                       failure = e;
                       ended = true;
                   }));
    if (!run_until(when))
        throw std::runtime_error("the moment to cancel never came");
    signal.emit(asio::cancellation_type::terminal);
    if (!run_until([&] { return ended; }))
        throw std::runtime_error("a cancelled exchange did not end");
    if (failure)
        std::rethrow_exception(failure);
    return std::move(outcome.value());
}

result<std::unique_ptr<http_stream>> https_fixture::open(http_request request,
                                                         std::chrono::milliseconds limit) {
    std::optional<result<std::unique_ptr<http_stream>>> outcome;
    run(loop, keep(client->open(std::move(request), limit), outcome));
    return std::move(*outcome);
}

result<std::string> https_fixture::read(http_stream& stream, std::chrono::milliseconds silence) {
    std::optional<result<std::string>> outcome;
    run(loop, keep(stream.read_some(silence), outcome));
    return std::move(*outcome);
}

bool https_fixture::run_until(const std::function<bool()>& holds) {
    const auto limit = std::chrono::steady_clock::now() + time_limit;
    while (!holds() && std::chrono::steady_clock::now() < limit) {
        loop.restart();
        loop.run_one_for(std::chrono::milliseconds(5));
    }
    return holds();
}

std::string plain_answer(std::string_view body, std::string_view status) {
    return "HTTP/1.1 " + std::string(status) + "\r\nContent-Length: " + std::to_string(body.size()) +
           "\r\n\r\n" + std::string(body);
}

} // namespace credlet::test
