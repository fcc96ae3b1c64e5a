#pragma once
// An https_client that talks to nobody: it keeps the requests and answers from a script, one answer per
// exchange.

#include "runtime/https_client.hpp"

#include <deque>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace credlet::test {

class scripted_https final : public https_client {
public:
    std::vector<http_request> requests;
    std::chrono::milliseconds last_limit{};
    std::function<void()> before_answer; // time passes, for instance

    void answer(unsigned status, std::string body,
                std::vector<std::pair<std::string, std::string>> headers = {}) {
        http_response r;
        r.status = status;
        r.headers = std::move(headers);
        r.body = secret_string(body);
        script_.emplace_back(std::move(r));
    }
    void answer(error e) { script_.emplace_back(std::move(e)); }

    awaitable<result<http_response>> exchange(http_request request,
                                              std::chrono::milliseconds limit) override {
        requests.push_back(std::move(request));
        last_limit = limit;
        if (script_.empty())
            throw std::logic_error("a request that the script has no answer for");
        auto next = std::move(script_.front());
        script_.pop_front();
        if (before_answer)
            before_answer();
        co_return next;
    }
    awaitable<result<std::unique_ptr<http_stream>>> open(http_request, std::chrono::milliseconds) override {
        co_return fail(errc::internal, "the script has no streams");
    }
    void stop() override {}

private:
    std::deque<result<http_response>> script_;
};

} // namespace credlet::test
