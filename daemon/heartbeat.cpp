#include "daemon/heartbeat.hpp"

#include <boost/asio/post.hpp>

#include <optional>

namespace credlet::app {

// Touched on the asker's loop alone; the messages carry weak pointers.
struct heartbeat::pulse {
    explicit pulse(const asio::any_io_executor& executor)
        : arrived(executor, asio::steady_timer::time_point::max()) {}

    bool under_way = false;
    std::optional<boot_time> last;
    asio::steady_timer arrived; // cancelled when the answer comes
};

namespace {

constexpr std::chrono::seconds recent{1};

awaitable<result<void>> cancelled(asio::steady_timer& timer) {
    co_await timer.async_wait(as_result);
    co_return result<void>();
}

} // namespace

heartbeat::heartbeat(const asio::any_io_executor& asker, asio::io_context& watched, const clock& time)
    : pulse_(std::make_shared<pulse>(asker)),
      watched_(watched),
      time_(time) {}

heartbeat::~heartbeat() = default;

awaitable<bool> heartbeat::beats(std::chrono::milliseconds limit) {
    const auto pulse = pulse_;
    if (pulse->last && time_.now() - *pulse->last < recent)
        co_return true;
    if (!pulse->under_way) {
        pulse->under_way = true;
        auto answer = [weak = std::weak_ptr(pulse), &time = time_] {
            if (const auto alive = weak.lock()) {
                alive->under_way = false;
                alive->last = time.now();
                alive->arrived.cancel();
            }
        };
        auto message = [asker = pulse->arrived.get_executor(), answer = std::move(answer)]() mutable {
            asio::post(asker, std::move(answer));
        };
        asio::post(watched_, std::move(message));
    }
    const auto came = co_await with_deadline(cancelled(pulse->arrived), limit, "the heartbeat");
    co_return came.has_value();
}

} // namespace credlet::app
