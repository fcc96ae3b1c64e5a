#include "runtime/http_server.hpp"

#include "runtime/http_listener.hpp"
#include "runtime/http_server_core.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include <unordered_map>

namespace credlet {

namespace {

using namespace std::chrono_literals;

// For the handshakes that have begun when the last one was let in. Between a pod and its node they take less
// than a millisecond.
constexpr std::chrono::milliseconds handshake_time = 100ms;

// Keeps the core while coroutines of it are still ending.
awaitable<void> outlive_answers(std::shared_ptr<http_server_core> core) { co_await core->answers.drained(); }

awaitable<void> point_away(const std::vector<std::shared_ptr<http_listener>>& listeners) {
    for (const auto& listener : listeners)
        co_await listener->point_away();
}

awaitable<std::size_t> drain_all(std::shared_ptr<http_server_core> core,
                                 std::vector<std::shared_ptr<http_listener>> listeners,
                                 std::chrono::milliseconds grace) {
    const auto begun = std::chrono::steady_clock::now();
    core->start_draining();
    co_await point_away(listeners);
    co_await core->emptied(begun + grace / 2);
    co_await point_away(listeners); // a newcomer has set the first place again
    core->close_idle();
    for (const auto& listener : listeners)
        listener->begin_no_more();
    co_await sleep_for(std::min(grace / 4, handshake_time));
    for (const auto& listener : listeners)
        listener->finish();
    co_await core->emptied(begun + grace);
    const std::size_t owed = core->cut_all();
    co_await core->answers.drained();
    co_return owed;
}

class asio_http_server final : public http_server {
public:
    asio_http_server(asio::io_context& loop, const clock& time, request_handler& handler,
                     const http_server_limits& limits, http_server_events events)
        : core_(std::make_shared<http_server_core>(loop, time, handler, limits, std::move(events))),
          reserve_(std::make_shared<reserve_descriptor>()) {}
    asio_http_server(const asio_http_server&) = delete;
    asio_http_server& operator=(const asio_http_server&) = delete;

    ~asio_http_server() override {
        for (const auto& listener : all_listeners())
            listener->close();
        core_->cut_all();
        if (core_->answers.size() > 0)
            asio::co_spawn(core_->loop, outlive_answers(core_), asio::detached);
    }

    result<std::size_t> listen(const asio::ip::tcp::endpoint& where) override { return open(where); }
    result<std::size_t> listen_shared(const asio::ip::tcp::endpoint& where) override {
        return open(where, sharing::yes);
    }
    result<std::size_t> listen(const unix_path& where) override { return open(where); }

    result<void> listen(std::uint64_t key, private_listener listener) override {
        if (core_->draining())
            return fail(errc::cancelled, "the server is draining");
        if (!listener.owner || private_listeners_.contains(key))
            return fail(errc::internal, "a private listener needs an owner and a key of its own");
        auto opened = http_listener::open(core_, reserve_, std::move(listener), key);
        if (opened.has_error())
            return opened.error();
        private_listeners_.emplace(key, std::move(*opened));
        return {};
    }

    void close_listener(std::uint64_t key) override {
        const auto node = private_listeners_.extract(key);
        if (node.empty())
            return;
        node.mapped()->close();
        core_->close_through(key);
    }

    [[nodiscard]] std::vector<asio::ip::tcp::endpoint> endpoints() const override {
        std::vector<asio::ip::tcp::endpoint> all;
        all.reserve(listeners_.size());
        for (const auto& listener : listeners_)
            all.push_back(listener->endpoint());
        return all;
    }

    [[nodiscard]] std::size_t connections() const override { return core_->connections.size(); }

    void close_peer(const asio::ip::address& peer) override { core_->close_peer(peer); }

    awaitable<std::size_t> drain(std::chrono::milliseconds grace) override {
        // A coroutine of its own: the listeners are those of the moment at which it runs.
        co_return co_await drain_all(core_, all_listeners(), grace);
    }

private:
    template <class Address, class... How>
    result<std::size_t> open(const Address& where, How... how) {
        if (core_->draining())
            return fail(errc::cancelled, "the server is draining");
        auto opened = http_listener::open(core_, reserve_, where, listeners_.size(), how...);
        if (opened.has_error())
            return opened.error();
        listeners_.push_back(std::move(*opened));
        return listeners_.size() - 1;
    }

    [[nodiscard]] std::vector<std::shared_ptr<http_listener>> all_listeners() const {
        auto all = listeners_;
        all.reserve(all.size() + private_listeners_.size());
        for (const auto& [key, listener] : private_listeners_)
            all.push_back(listener);
        return all;
    }

    std::shared_ptr<http_server_core> core_;
    std::shared_ptr<reserve_descriptor> reserve_;
    std::vector<std::shared_ptr<http_listener>> listeners_;
    std::unordered_map<std::uint64_t, std::shared_ptr<http_listener>> private_listeners_; // by key
};

// The same part of a copy.
std::string_view moved(std::string_view part, std::string_view original, std::string_view copy) {
    if (part.empty())
        return {};
    return copy.substr(static_cast<std::size_t>(part.begin() - original.begin()), part.size());
}

// A head begins with its method.
std::string_view bytes_of(const request_head& head) { return {head.method.begin(), head.size}; }

} // namespace

owned_request::owned_request(const request_head& original) : bytes(bytes_of(original)), head(original) {
    const auto from = bytes_of(original);
    const auto to = bytes.reveal();
    for (auto* view : {&head.method, &head.target, &head.path, &head.query, &head.host})
        *view = moved(*view, from, to);
    for (std::size_t i = 0; i < head.header_count; ++i) {
        auto& header = head.storage[i];
        header = {moved(header.name, from, to), moved(header.value, from, to)};
    }
}

std::unique_ptr<http_server> make_http_server(asio::io_context& loop, const clock& time,
                                              request_handler& handler, http_server_limits limits,
                                              http_server_events events) {
    return std::make_unique<asio_http_server>(loop, time, handler, limits, std::move(events));
}

} // namespace credlet
