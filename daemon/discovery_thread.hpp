#pragma once
// The discovery loop with its thread, on which the listeners inside of pods are made (metadata/pod_network).
// Make it before any other thread and before the process gives up the capabilities that this takes: this
// thread alone keeps them.

#include "metadata/pod_network/pod_listeners.hpp"
#include "runtime/error.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <thread>
#include <vector>

namespace credlet::app {

namespace asio = boost::asio;

// Used by one other thread.
class discovery_thread {
public:
    discovery_thread();
    discovery_thread(const discovery_thread&) = delete;
    discovery_thread& operator=(const discovery_thread&) = delete;
    // Waits until the thread has ended.
    ~discovery_thread();

    using maker = std::function<result<std::unique_ptr<metadata::pod_listeners>>(asio::io_context&)>;
    // Has the listeners made, on that thread, and waits for it.
    result<void> start(maker make);
    // Answers a question on that thread, and waits for it.
    [[nodiscard]] bool ask(std::function<bool()> question);
    // These two are messages: what they bring about comes later.
    void pods(std::vector<metadata::listened_pod> all);
    void stop();

    // Has the listeners destroyed, on that thread, and the thread ended. False: it does not come to that in
    // time. Then it sits in the kernel, and what it uses must stay until the process ends.
    [[nodiscard]] bool join(std::chrono::milliseconds limit);

    [[nodiscard]] asio::io_context& loop() { return loop_; }

private:
    asio::io_context loop_{1};
    asio::executor_work_guard<asio::io_context::executor_type> work_{loop_.get_executor()};
    std::unique_ptr<metadata::pod_listeners> listeners_; // of that thread, once started
    std::promise<void> at_end_;
    std::future<void> ended_ = at_end_.get_future();
    bool ending_ = false;
    std::thread thread_;
};

} // namespace credlet::app
