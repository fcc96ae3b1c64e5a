#pragma once
// Owns the coroutines of one event loop. A child is spawned here and nowhere detached; before anything that a
// child uses is destroyed, cancel() and then await drained(). Lives on one executor, is not thread-safe, and
// must outlive drained().

#include "runtime/async.hpp"

#include <boost/asio/cancellation_signal.hpp>

#include <functional>
#include <list>
#include <memory>
#include <string>

namespace credlet {

class task_group {
public:
    explicit task_group(asio::any_io_executor executor);
    task_group(const task_group&) = delete;
    task_group& operator=(const task_group&) = delete;
    ~task_group();

    // Starts the task, or returns false: a cancelled group takes no more. An exception that escapes a task is
    // a bug: it is handed to on_exception, and the other tasks go on.
    bool spawn(awaitable<void> task);

    // Asks every task to stop (terminal cancellation) and refuses new ones. Call it on the thread of the
    // group's executor, within one of its handlers or while it does not run.
    void cancel();

    // Completes once no task is left.
    awaitable<void> drained();

    [[nodiscard]] std::size_t size() const { return running_.size(); }
    [[nodiscard]] bool cancelled() const { return cancelled_; }

    std::function<void(const std::string& what)> on_exception;

private:
    asio::any_io_executor executor_;
    // Shared with an emit() under way, which may end the very task it cancels.
    std::list<std::shared_ptr<asio::cancellation_signal>> running_;
    asio::steady_timer empty_;
    bool cancelled_ = false;
};

} // namespace credlet
