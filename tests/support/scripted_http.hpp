#pragma once
// An https_client whose answers a test writes: one function for whole exchanges, one for streams. Records
// what was asked.

#include "runtime/https_client.hpp"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace credlet::test {

struct seen_request {
    std::string method, target, body;
    std::map<std::string, std::string> headers;
};

inline http_response answer_with(unsigned status, std::string_view body,
                                 std::vector<std::pair<std::string, std::string>> headers = {}) {
    http_response r;
    r.status = status;
    r.headers = std::move(headers);
    r.body = secret_string(body);
    return r;
}

// The far end of a stream; the test keeps it and pushes.
class scripted_feed {
public:
    explicit scripted_feed(asio::io_context& loop, unsigned status = 200)
        : arrived_(loop, asio::steady_timer::time_point::max()) {
        head.status = status;
    }
    void push(std::string bytes) { put(std::move(bytes)); }
    void finish() { put(std::string()); }
    void break_with(errc kind) { put(fail(kind, "scripted")); }

    awaitable<result<std::string>> read(std::chrono::milliseconds silence) {
        if (chunks_.empty()) {
            arrived_.expires_after(silence);
            co_await arrived_.async_wait(as_result);
        }
        const auto state = co_await asio::this_coro::cancellation_state;
        if (state.cancelled() != asio::cancellation_type::none)
            co_return fail(errc::cancelled, "cancelled");
        if (chunks_.empty())
            co_return fail(errc::timed_out, "silence");
        auto next = std::move(chunks_.front());
        chunks_.pop_front();
        co_return next;
    }

    http_response head;
    bool dropped = false; // the reader let go of it

private:
    void put(result<std::string> chunk) {
        chunks_.push_back(std::move(chunk));
        arrived_.cancel();
    }
    std::deque<result<std::string>> chunks_;
    asio::steady_timer arrived_;
};

class scripted_http final : public https_client {
public:
    std::function<result<http_response>(const seen_request&)> on_exchange;
    std::function<result<std::shared_ptr<scripted_feed>>(const seen_request&)> on_open;
    std::chrono::milliseconds delay{0}; // before each answer
    std::vector<seen_request> exchanges, opened;
    bool stopped = false;

    awaitable<result<http_response>> exchange(http_request request, std::chrono::milliseconds) override {
        const auto seen = note(request);
        exchanges.push_back(seen);
        if (delay.count() > 0 && (co_await sleep_for(delay)).has_error())
            co_return fail(errc::cancelled, "cancelled");
        if (!on_exchange)
            co_return fail(errc::connect_failed, "nothing is scripted");
        co_return on_exchange(seen);
    }

    awaitable<result<std::unique_ptr<http_stream>>> open(http_request request,
                                                         std::chrono::milliseconds) override {
        const auto seen = note(request);
        opened.push_back(seen);
        if (!on_open)
            co_return fail(errc::connect_failed, "nothing is scripted");
        auto feed = on_open(seen);
        if (feed.has_error())
            co_return feed.error();
        co_return std::unique_ptr<http_stream>(std::make_unique<stream>(std::move(*feed)));
    }

    void stop() override { stopped = true; }

private:
    class stream final : public http_stream {
    public:
        explicit stream(std::shared_ptr<scripted_feed> feed) : feed_(std::move(feed)) {}
        stream(const stream&) = delete;
        stream& operator=(const stream&) = delete;
        ~stream() override { feed_->dropped = true; }
        [[nodiscard]] const http_response& head() const override { return feed_->head; }
        awaitable<result<std::string>> read_some(std::chrono::milliseconds silence) override {
            return feed_->read(silence);
        }

    private:
        std::shared_ptr<scripted_feed> feed_;
    };

    static seen_request note(const http_request& request) {
        seen_request seen{request.method, request.target, std::string(request.body.reveal()), {}};
        for (const auto& header : request.headers)
            seen.headers.insert_or_assign(header.name, std::string(header.value.reveal()));
        return seen;
    }
};

} // namespace credlet::test
