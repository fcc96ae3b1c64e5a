#pragma once
// Coroutines of one event loop that wait, first come first served, until somebody wakes them. Not
// thread-safe; outlives those who wait.

#include "runtime/step_limit.hpp"

#include <list>

namespace credlet {

class waiters {
public:
    // True once woken; false if the limit passed or the caller was cancelled first.
    awaitable<bool> wait(step_limit limit) {
        entry self{asio::steady_timer(co_await asio::this_coro::executor, limit.at)};
        const presence here(*this, self);
        co_await self.timer.async_wait(as_result);
        co_return self.woken;
    }
    // False if nobody waits.
    bool wake_one() {
        if (waiting_.empty())
            return false;
        entry& first = *waiting_.front();
        waiting_.pop_front();
        first.woken = true;
        first.timer.cancel();
        return true;
    }
    void wake_all() {
        while (wake_one()) {
        }
    }
    [[nodiscard]] std::size_t size() const { return waiting_.size(); }

private:
    struct entry {
        asio::steady_timer timer;
        bool woken = false;
    };
    // Leaves the list also when the coroutine is destroyed where it waits.
    struct presence {
        presence(waiters& w, entry& e) : all(w), self(e) { all.waiting_.push_back(&self); }
        presence(const presence&) = delete;
        presence& operator=(const presence&) = delete;
        ~presence() {
            if (!self.woken)
                all.waiting_.remove(&self);
        }
        waiters& all;
        entry& self;
    };
    std::list<entry*> waiting_;
};

} // namespace credlet
