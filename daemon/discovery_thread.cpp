#include "daemon/discovery_thread.hpp"

#include <boost/asio/post.hpp>

#include <utility>

namespace credlet::app {

discovery_thread::discovery_thread()
    : thread_([this] {
          loop_.run();
          at_end_.set_value();
      }) {}

discovery_thread::~discovery_thread() {
    (void)join(std::chrono::milliseconds(0));
    if (thread_.joinable())
        thread_.join();
}

result<void> discovery_thread::start(maker make) {
    std::promise<result<void>> promise;
    auto made = promise.get_future();
    asio::post(loop_, [this, make = std::move(make), promise = std::move(promise)]() mutable {
        auto listeners = make(loop_);
        if (listeners)
            listeners_ = std::move(*listeners);
        promise.set_value(listeners ? result<void>() : result<void>(listeners.error()));
    });
    return made.get();
}

bool discovery_thread::ask(std::function<bool()> question) {
    std::packaged_task<bool()> task(std::move(question));
    auto answer = task.get_future();
    asio::post(loop_, std::move(task));
    return answer.get();
}

void discovery_thread::pods(std::vector<metadata::listened_pod> all) {
    asio::post(loop_, [this, all = std::move(all)]() mutable {
        if (listeners_)
            listeners_->pods(std::move(all));
    });
}

void discovery_thread::stop() {
    asio::post(loop_, [this] {
        if (listeners_)
            listeners_->stop();
    });
}

bool discovery_thread::join(std::chrono::milliseconds limit) {
    if (!std::exchange(ending_, true))
        asio::post(loop_, [this] {
            listeners_.reset();
            // Behind the handlers that this has cancelled.
            asio::post(loop_, [this] { loop_.stop(); });
        });
    if (!thread_.joinable())
        return true;
    if (ended_.wait_for(limit) != std::future_status::ready)
        return false;
    thread_.join();
    return true;
}

} // namespace credlet::app
