#include "runtime/https_client.hpp"

#include "runtime/address_book.hpp"
#include "runtime/connect.hpp"
#include "runtime/connection_pool.hpp"
#include "runtime/https_request.hpp"
#include "runtime/https_response_parser.hpp"
#include "runtime/tls_connection.hpp"
#include "runtime/tls_policy.hpp"

#include <utility>

namespace credlet {
namespace {

// What exchanges and streams share and keep alive, whether the client still exists or not.
struct client_core {
    client_core(asio::io_context& loop, const clock& time, std::shared_ptr<name_resolver> names,
                https_client_settings s, https_client_events e, std::unique_ptr<tls_policy> policy)
        : settings(std::move(s)),
          server(authority(settings.server)),
          events(std::move(e)),
          tls(std::move(policy)),
          addresses(loop, time, std::move(names), settings.server.host, settings.stale_addresses,
                    [this](const error& why) {
                        if (events.resolve_failed)
                            events.resolve_failed(why);
                    }),
          pool(std::make_shared<connection_pool>(loop, time,
                                                 connection_pool::settings{server, settings.max_connections,
                                                                           settings.max_waiting,
                                                                           settings.idle_timeout})) {
        tls->on_reload = [this] {
            if (events.ca_reloaded)
                events.ca_reloaded();
        };
        tls->on_failure = [this](const error& why) {
            if (events.ca_failed)
                events.ca_failed(why);
        };
    }

    // A new connection to the address came to nothing before its first answer.
    void note_failure(const asio::ip::address& address, errc kind) {
        if (kind == errc::tls_failed || kind == errc::connection_lost || kind == errc::timed_out)
            addresses.failed(address);
    }

    const https_client_settings settings;
    const std::string server; // host:port, for errors
    https_client_events events;
    std::unique_ptr<tls_policy> tls;
    address_book addresses;
    std::shared_ptr<connection_pool> pool;
};
using core_ptr = std::shared_ptr<client_core>;

using connection_ptr = std::unique_ptr<tls_connection>;

struct fresh_connection {
    connection_ptr connection;
    asio::ip::address address;
};

// A connection that has proved who it is, from nothing.
awaitable<result<fresh_connection>> open_connection(core_ptr core, step_limit whole) {
    const auto& settings = core->settings;
    const auto addresses = co_await core->addresses.addresses(whole.step(settings.resolve_timeout));
    if (addresses.has_error())
        co_return addresses.error();

    std::vector<asio::ip::tcp::endpoint> candidates;
    candidates.reserve(addresses->size());
    for (const auto& address : *addresses)
        candidates.emplace_back(address, settings.server.port);
    const connect_settings how{settings.attempt_delay, settings.tcp_user_timeout};
    auto socket =
        co_await connect_any(core->server, std::move(candidates), how, whole.step(settings.connect_timeout));
    if (socket.has_error())
        co_return socket.error();
    boost::system::error_code gone;
    const auto address = socket->remote_endpoint(gone).address();
    if (gone)
        co_return fail(errc::connection_lost, "connecting to " + core->server + ": " + gone.message());

    auto connection =
        co_await tls_connection::shake_hands(std::move(*socket), core->tls->current(), settings.server.host,
                                             core->server + " (" + address.to_string() + ")",
                                             core->tls->trusted(), whole.step(settings.handshake_timeout));
    if (connection.has_error()) {
        core->note_failure(address, connection.error().kind);
        co_return connection.error();
    }
    core->addresses.worked(address);
    co_return fresh_connection{std::move(*connection), address};
}

awaitable<result<void>> read_more(tls_connection& from, https_response_parser& parser, step_limit limit) {
    const auto n = co_await from.read_some(parser.space(), limit);
    if (n.has_error())
        co_return n.error();
    auto parsed = *n == 0 ? parser.closed() : parser.received(*n);
    if (parsed.has_error())
        co_return in_context("the answer of " + from.peer(), parsed.error());
    co_return parsed;
}

// Writes a request and reads the head of its answer.
awaitable<result<void>> ask(const https_client_settings& settings, tls_connection& connection,
                            std::string_view request, https_response_parser& parser, step_limit whole) {
    auto done = co_await connection.write(request, whole.step(settings.write_timeout));
    while (done.has_value() && !parser.head_complete())
        done = co_await read_more(connection, parser, whole.step(settings.read_timeout));
    co_return done;
}

// An answer whose head has come, and the connection its body comes over.
struct pending_answer {
    connection_lease lease;
    https_response_parser parser;
};

awaitable<result<pending_answer>> begin(core_ptr core, http_request request, bool stream, step_limit whole) {
    const auto bytes = render_request(core->settings.server, core->settings.user_agent, request);
    if (bytes.has_error())
        co_return bytes.error();
    https_response_parser::options options;
    options.answers_head = request.method == "HEAD";
    if (!stream)
        options.max_body = request.max_response_body;

    auto lease = co_await core->pool->take(core->tls->current(), whole);
    if (lease.has_error())
        co_return lease.error();
    for (;;) {
        std::optional<asio::ip::address> fresh_from; // none: the connection has served before
        if (lease->connection() == nullptr) {
            auto fresh = co_await open_connection(core, whole);
            if (fresh.has_error())
                co_return fresh.error();
            lease->fill(std::move(fresh->connection));
            fresh_from = fresh->address;
        }
        https_response_parser parser(options);
        const auto asked = co_await ask(core->settings, *lease->connection(), bytes->reveal(), parser, whole);
        if (asked.has_value())
            co_return pending_answer{std::move(*lease), std::move(parser)};
        if (fresh_from)
            core->note_failure(*fresh_from, asked.error().kind);
        // The server may close an idle connection at any time, also just now: that costs one more connection.
        if (fresh_from || asked.error().kind != errc::connection_lost || parser.started())
            co_return asked.error();
        lease->close_connection();
    }
}

awaitable<result<http_response>> run_exchange(core_ptr core, http_request request,
                                              std::chrono::milliseconds limit) {
    const auto whole = step_limit::of_whole(limit);
    auto answer = co_await begin(core, std::move(request), false, whole);
    if (answer.has_error())
        co_return answer.error();
    auto& [lease, parser] = *answer;
    while (!parser.complete()) {
        const auto more =
            co_await read_more(*lease.connection(), parser, whole.step(core->settings.read_timeout));
        if (more.has_error())
            co_return more.error();
    }
    auto response = parser.take_head();
    response.body = parser.take_body();
    if (parser.reusable())
        lease.keep();
    co_return response;
}

// In here a cancelled caller is an error value: Asio's default, an exception at the next co_await, would come
// anywhere.
template <class T>
awaitable<result<T>> by_value(awaitable<result<T>> operation) {
    const bool throws = co_await asio::this_coro::throw_if_cancelled();
    co_await asio::this_coro::throw_if_cancelled(false);
    auto outcome = co_await std::move(operation);
    co_await asio::this_coro::throw_if_cancelled(throws);
    co_return outcome;
}

class answer_stream final : public http_stream {
public:
    explicit answer_stream(pending_answer answer)
        : lease_(std::move(answer.lease)),
          parser_(std::move(answer.parser)),
          head_(parser_.take_head()) {}

    [[nodiscard]] const http_response& head() const override { return head_; }
    awaitable<result<std::string>> read_some(std::chrono::milliseconds silence) override {
        return by_value(read(silence));
    }

private:
    awaitable<result<std::string>> read(std::chrono::milliseconds silence) {
        if (failure_)
            co_return *failure_;
        auto bytes = parser_.take_body();
        while (bytes.empty() && !parser_.complete()) {
            const auto more = co_await read_more(*lease_.connection(), parser_, step_limit::after(silence));
            if (more.has_error()) {
                failure_ = more.error();
                lease_ = {};
                co_return *failure_;
            }
            bytes = parser_.take_body();
        }
        if (bytes.empty() && parser_.reusable())
            lease_.keep();
        co_return std::string(bytes.reveal());
    }

    connection_lease lease_;
    https_response_parser parser_;
    http_response head_;
    std::optional<error> failure_;
};

awaitable<result<std::unique_ptr<http_stream>>> run_open(core_ptr core, http_request request,
                                                         std::chrono::milliseconds limit) {
    auto answer = co_await begin(core, std::move(request), true, step_limit::of_whole(limit));
    if (answer.has_error())
        co_return answer.error();
    co_return std::make_unique<answer_stream>(std::move(*answer));
}

class pooled_client final : public https_client {
public:
    explicit pooled_client(core_ptr core) : core_(std::move(core)) {}
    pooled_client(const pooled_client&) = delete;
    pooled_client& operator=(const pooled_client&) = delete;
    ~pooled_client() override {
        core_->events = {};
        core_->pool->stop();
        core_->addresses.close();
    }

    awaitable<result<http_response>> exchange(http_request request,
                                              std::chrono::milliseconds limit) override {
        return by_value(run_exchange(core_, std::move(request), limit));
    }
    awaitable<result<std::unique_ptr<http_stream>>> open(http_request request,
                                                         std::chrono::milliseconds limit) override {
        return by_value(run_open(core_, std::move(request), limit));
    }
    void stop() override { core_->pool->stop(); }

private:
    core_ptr core_;
};

} // namespace

result<std::unique_ptr<https_client>> make_https_client(asio::io_context& loop, const clock& time,
                                                        std::shared_ptr<name_resolver> names,
                                                        https_client_settings settings,
                                                        https_client_events events) {
    auto policy = tls_policy::load(settings.ca_file, time);
    if (policy.has_error())
        return policy.error();
    return std::make_unique<pooled_client>(std::make_shared<client_core>(
        loop, time, std::move(names), std::move(settings), std::move(events), std::move(*policy)));
}

} // namespace credlet
