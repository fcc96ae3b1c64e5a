#include "runtime/connection_pool.hpp"

#include <utility>

namespace credlet {

connection_lease& connection_lease::operator=(connection_lease&& other) noexcept {
    if (this != &other) {
        end();
        pool_ = std::move(other.pool_);
        connection_ = std::move(other.connection_);
    }
    return *this;
}

void connection_lease::keep() {
    if (const auto pool = std::exchange(pool_, nullptr))
        pool->give_back(std::move(connection_));
}

void connection_lease::end() {
    connection_.reset();
    keep();
}

connection_pool::connection_pool(asio::io_context& loop, const clock& time, settings s)
    : time_(time),
      settings_(std::move(s)),
      sweep_(loop) {}

awaitable<result<connection_lease>> connection_pool::take(std::shared_ptr<asio::ssl::context> trust,
                                                          step_limit limit) {
    const auto self = shared_from_this();
    const auto cancelled = [&] {
        return fail(errc::cancelled, "waiting for a connection to " + settings_.server + " was cancelled");
    };
    if (stopped_)
        co_return cancelled();
    if (auto connection = newest_good(trust))
        co_return connection_lease(self, std::move(connection));
    if (open_ < settings_.max_connections) {
        ++open_;
        co_return connection_lease(self, nullptr);
    }
    if (waiting_.size() >= settings_.max_waiting)
        co_return fail(errc::overloaded, "all " + std::to_string(settings_.max_connections) +
                                             " connections to " + settings_.server + " are busy and " +
                                             std::to_string(settings_.max_waiting) +
                                             " requests wait already");
    const bool woken = co_await waiting_.wait(limit);
    if (woken && !granted_.empty()) {
        connection_lease lease(self, std::move(granted_.back()));
        granted_.pop_back();
        if (co_await caller_cancelled()) {
            lease.keep();
            co_return cancelled();
        }
        if (lease.connection() != nullptr && lease.connection()->trust() != trust)
            lease.close_connection();
        co_return lease;
    }
    if (woken || co_await caller_cancelled()) // woken with nothing: the pool has been stopped
        co_return cancelled();
    co_return fail(errc::timed_out, "no connection to " + settings_.server + " became free " + limit.text());
}

void connection_pool::give_back(std::unique_ptr<tls_connection> connection) {
    if (!stopped_ && waiting_.wake_one()) {
        granted_.push_back(std::move(connection));
    } else if (!stopped_ && connection) {
        idle_.push_back({std::move(connection), time_.now()});
        sweep_later();
    } else {
        --open_;
    }
}

std::unique_ptr<tls_connection>
connection_pool::newest_good(const std::shared_ptr<asio::ssl::context>& trust) {
    while (!idle_.empty()) {
        auto newest = std::move(idle_.back());
        idle_.pop_back();
        if (time_.now() - newest.since < settings_.idle_timeout && newest.connection->trust() == trust &&
            newest.connection->quiet())
            return std::move(newest.connection);
        --open_;
    }
    return nullptr;
}

void connection_pool::sweep_later() {
    if (sweeping_)
        return;
    sweeping_ = true;
    sweep_.expires_after(settings_.idle_timeout);
    sweep_.async_wait([weak = weak_from_this()](const boost::system::error_code&) {
        const auto self = weak.lock();
        if (!self)
            return;
        self->sweeping_ = false;
        const auto now = self->time_.now();
        self->open_ -= std::erase_if(self->idle_, [&](const idle_connection& one) {
            return now - one.since >= self->settings_.idle_timeout || !one.connection->quiet();
        });
        if (!self->idle_.empty())
            self->sweep_later();
    });
}

void connection_pool::stop() {
    stopped_ = true;
    open_ -= idle_.size();
    idle_.clear();
    sweep_.cancel();
    waiting_.wake_all();
}

} // namespace credlet
