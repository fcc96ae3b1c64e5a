#pragma once
// STS and the source of web identity tokens, played by the test: calls are recorded and held open until the
// test answers them, in any order, or answered at once where it says how.

#include "sts/client.hpp"
#include "sts/credential_service.hpp"

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace credlet::test {

// One answer that somebody waits for.
template <class T>
class held_answer {
public:
    explicit held_answer(asio::any_io_executor executor)
        : given_(std::move(executor), asio::steady_timer::time_point::max()) {}

    [[nodiscard]] bool open() const { return waiting_ && !value_; }
    void give(sts::outcome<T> value) {
        value_ = std::move(value);
        given_.cancel();
    }
    // The answer; a failure of kind cancelled where the waiter is cancelled first.
    awaitable<sts::outcome<T>> wait() {
        waiting_ = true;
        if (!value_)
            co_await given_.async_wait(as_result);
        waiting_ = false;
        if (value_)
            co_return std::move(*value_);
        sts::failure f;
        f.kind = sts::failure_kind::cancelled;
        f.code = "Cancelled";
        co_return f;
    }

private:
    asio::steady_timer given_;
    std::optional<sts::outcome<T>> value_;
    bool waiting_ = false;
};

class scripted_sts final : public sts::client {
public:
    struct request {
        std::string operation;
        sts::credential_spec spec;
        std::chrono::seconds duration;
        std::string credential; // the web identity token, or the access key id it is signed with
        std::shared_ptr<held_answer<sts::credentials>> answer;
    };
    std::deque<request> requests; // all there were, in order

    // What to answer at once; nothing: the call is held open. Unset: all are held open. May throw.
    std::function<std::optional<sts::outcome<sts::credentials>>(const request&)> script;
    // What to refuse before anything is sent. Unset: nothing.
    std::function<std::optional<sts::failure>(const sts::credential_spec&)> refusal;

    [[nodiscard]] std::optional<sts::failure> refuses(const sts::credential_spec& spec) const override {
        return refusal ? refusal(spec) : std::nullopt;
    }
    [[nodiscard]] std::size_t open() const {
        std::size_t n = 0;
        for (const auto& r : requests)
            n += r.answer->open() ? 1 : 0;
        return n;
    }

    awaitable<sts::outcome<sts::credentials>> assume_role_with_web_identity(const sts::credential_spec& spec,
                                                                            std::chrono::seconds duration,
                                                                            secret_string token) override {
        co_return co_await receive("AssumeRoleWithWebIdentity", spec, duration, std::string(token.reveal()));
    }
    awaitable<sts::outcome<sts::credentials>> assume_role(const sts::credential_spec& spec,
                                                          std::chrono::seconds duration,
                                                          const sts::credentials& with) override {
        co_return co_await receive("AssumeRole", spec, duration, with.access_key_id);
    }

private:
    awaitable<sts::outcome<sts::credentials>> receive(std::string operation, sts::credential_spec spec,
                                                      std::chrono::seconds duration, std::string credential) {
        auto held = std::make_shared<held_answer<sts::credentials>>(co_await asio::this_coro::executor);
        requests.push_back({std::move(operation), std::move(spec), duration, std::move(credential), held});
        if (script)
            if (auto now = script(requests.back()))
                held->give(std::move(*now));
        co_return co_await held->wait();
    }
};

class scripted_tokens final : public sts::web_identity_tokens {
public:
    struct request {
        std::shared_ptr<const sts::credential_spec> spec;
        bool fresh;
        std::shared_ptr<held_answer<sts::web_identity_token>> answer;
    };
    std::deque<request> requests;

    // As in scripted_sts, but unset: "token-1", "token-2" and so on, at once.
    std::function<std::optional<sts::outcome<sts::web_identity_token>>(const request&)> script;

    awaitable<sts::outcome<sts::web_identity_token>> obtain(std::shared_ptr<const sts::credential_spec> spec,
                                                            bool fresh) override {
        auto held =
            std::make_shared<held_answer<sts::web_identity_token>>(co_await asio::this_coro::executor);
        requests.push_back({std::move(spec), fresh, held});
        if (!script)
            held->give(token("token-" + std::to_string(requests.size())));
        else if (auto now = script(requests.back()))
            held->give(std::move(*now));
        co_return co_await held->wait();
    }

    static sts::web_identity_token token(const std::string& jwt) {
        sts::web_identity_token t;
        t.jwt = secret_string(jwt);
        t.source = "request";
        return t;
    }
};

} // namespace credlet::test
