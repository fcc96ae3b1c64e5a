#include "runtime/task_group.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>

#include <cassert>
#include <exception>

namespace credlet {

task_group::task_group(asio::any_io_executor executor)
    : executor_(std::move(executor)),
      empty_(executor_, asio::steady_timer::time_point::max()) {}

task_group::~task_group() { assert(running_.empty() && "cancel and drain a task group before it goes"); }

bool task_group::spawn(awaitable<void> task) {
    if (cancelled_)
        return false;
    const auto signal = running_.insert(running_.end(), std::make_shared<asio::cancellation_signal>());
    asio::co_spawn(
        executor_, std::move(task),
        asio::bind_cancellation_slot((*signal)->slot(), [this, signal](const std::exception_ptr& failure) {
            running_.erase(signal);
            if (running_.empty())
                empty_.cancel();
            if (!failure || cancelled_ || !on_exception)
                return;
            try {
                std::rethrow_exception(failure);
            } catch (const std::exception& e) {
                on_exception(e.what());
            } catch (...) {
                on_exception("unknown exception");
            }
        }));
    return true;
}

void task_group::cancel() {
    cancelled_ = true;
    const auto signals = running_; // emitting may end a task and so erase its element
    for (const auto& signal : signals)
        signal->emit(asio::cancellation_type::terminal);
    // Outside of a handler Asio carries out an emit later, by a bare pointer into the signal
    // (chriskohlhoff/asio#1332): the signals live until that has been done, whatever ends before it.
    if (!signals.empty())
        asio::post(executor_, [signals] {});
}

awaitable<void> task_group::drained() {
    while (!running_.empty())
        co_await empty_.async_wait(as_result);
}

} // namespace credlet
