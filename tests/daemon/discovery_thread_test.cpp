#include "daemon/discovery_thread.hpp"

#include <boost/asio/post.hpp>
#include <doctest/doctest.h>

#include <mutex>
#include <string>

using namespace credlet;
using namespace credlet::app;
using namespace std::chrono_literals;

namespace {

// What happened, and on which thread. Outlives the thread.
struct history {
    void add(std::string what) {
        const std::lock_guard lock(mutex);
        events.push_back(std::move(what));
        threads.push_back(std::this_thread::get_id());
    }
    std::mutex mutex;
    std::vector<std::string> events;
    std::vector<std::thread::id> threads;
};

struct scripted_listeners final : metadata::pod_listeners {
    explicit scripted_listeners(history& h) : told(h) {}
    scripted_listeners(const scripted_listeners&) = delete;
    scripted_listeners& operator=(const scripted_listeners&) = delete;
    ~scripted_listeners() override {
        told.add("destroyed");
        if (on_destruction)
            on_destruction();
    }
    void pods(std::vector<metadata::listened_pod> all) override {
        told.add("pods " + std::to_string(all.size()));
        if (block)
            block->get_future().wait();
    }
    void stop() override { told.add("stop"); }
    history& told;
    std::function<void()> on_destruction;
    std::promise<void>* block = nullptr;
};

std::string started(discovery_thread& discovery, discovery_thread::maker make) {
    const auto outcome = discovery.start(std::move(make));
    return outcome ? "started" : outcome.error().message;
}

std::thread::id thread_of(asio::io_context& loop) {
    std::promise<std::thread::id> promise;
    auto id = promise.get_future();
    asio::post(loop,
               [promise = std::move(promise)]() mutable { promise.set_value(std::this_thread::get_id()); });
    return id.get();
}

} // namespace

TEST_CASE("the listeners in pods are made, used and destroyed on the discovery thread") {
    history told;
    discovery_thread discovery;
    const auto its_own = thread_of(discovery.loop());
    CHECK(its_own != std::this_thread::get_id());
    REQUIRE(started(discovery, [&](asio::io_context& loop) {
                CHECK(&loop == &discovery.loop());
                told.add("made");
                return result<std::unique_ptr<metadata::pod_listeners>>(
                    std::make_unique<scripted_listeners>(told));
            }) == "started");
    CHECK(told.events == std::vector<std::string>{"made"});
    discovery.pods(std::vector<metadata::listened_pod>(2));
    discovery.stop();
    REQUIRE(discovery.join(10s));
    CHECK(told.events == std::vector<std::string>{"made", "pods 2", "stop", "destroyed"});
    CHECK(told.threads == std::vector<std::thread::id>(4, its_own));
    CHECK(discovery.join(0ms)); // again is no harm
}

TEST_CASE("why no listeners can be made in pods is told, and the thread ends all the same") {
    discovery_thread discovery;
    const auto refuse = [](asio::io_context&) -> result<std::unique_ptr<metadata::pod_listeners>> {
        return fail(errc::denied, "listening in pods takes CAP_SYS_ADMIN");
    };
    CHECK(started(discovery, refuse) == "listening in pods takes CAP_SYS_ADMIN");
    discovery.pods({});
    discovery.stop();
    CHECK(discovery.join(10s));
}

TEST_CASE("what the end of the listeners sets off still runs, before the discovery loop stops") {
    history told;
    discovery_thread discovery;
    REQUIRE(started(discovery, [&](asio::io_context& loop) {
                auto listeners = std::make_unique<scripted_listeners>(told);
                listeners->on_destruction = [&] { asio::post(loop, [&] { told.add("cancelled"); }); };
                return result<std::unique_ptr<metadata::pod_listeners>>(std::move(listeners));
            }) == "started");
    REQUIRE(discovery.join(10s));
    CHECK(told.events == std::vector<std::string>{"destroyed", "cancelled"});
}

TEST_CASE("a discovery thread that is stuck is not waited for beyond the limit") {
    history told;
    std::promise<void> release;
    discovery_thread discovery;
    REQUIRE(started(discovery, [&](asio::io_context&) {
                auto listeners = std::make_unique<scripted_listeners>(told);
                listeners->block = &release;
                return result<std::unique_ptr<metadata::pod_listeners>>(std::move(listeners));
            }) == "started");
    discovery.pods({});
    CHECK_FALSE(discovery.join(10ms));
    release.set_value();
    CHECK(discovery.join(10s));
}

TEST_CASE("a question is answered on the discovery thread") {
    discovery_thread discovery;
    const auto its_own = thread_of(discovery.loop());
    CHECK(discovery.ask([&] { return std::this_thread::get_id() == its_own; }));
    CHECK(!discovery.ask([] { return false; }));
}
