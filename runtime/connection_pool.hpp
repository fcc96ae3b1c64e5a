#pragma once
// The open connections to one server: a bound on how many there are, the idle ones for reuse, and the queue
// of those who wait for one. Lives on one event loop.

#include "runtime/clock.hpp"
#include "runtime/tls_connection.hpp"
#include "runtime/waiters.hpp"

#include <boost/asio/io_context.hpp>

#include <memory>
#include <string>
#include <vector>

namespace credlet {

class connection_pool;

// The right to have one of the pool's connections open, with or without the connection itself. Gives the
// right back when it goes, and the connection too if it was kept; else the connection is closed.
class connection_lease {
public:
    connection_lease() = default;
    connection_lease(std::shared_ptr<connection_pool> pool, std::unique_ptr<tls_connection> connection)
        : pool_(std::move(pool)),
          connection_(std::move(connection)) {}
    connection_lease(connection_lease&& other) noexcept = default;
    connection_lease& operator=(connection_lease&& other) noexcept;
    ~connection_lease() { end(); }

    // nullptr: none is open yet.
    [[nodiscard]] tls_connection* connection() const { return connection_.get(); }
    void fill(std::unique_ptr<tls_connection> connection) { connection_ = std::move(connection); }
    void close_connection() { connection_.reset(); }
    // Hands the connection back for reuse and ends the lease.
    void keep();

private:
    void end();
    std::shared_ptr<connection_pool> pool_;
    std::unique_ptr<tls_connection> connection_;
};

class connection_pool : public std::enable_shared_from_this<connection_pool> {
public:
    struct settings {
        std::string server; // for errors
        std::size_t max_connections;
        std::size_t max_waiting;
        std::chrono::milliseconds idle_timeout;
    };
    // The clock and the loop outlive the pool.
    connection_pool(asio::io_context& loop, const clock& time, settings s);

    // The connection that became idle last, if it is still good and was checked by `trust`; else the right to
    // open one. Waits while max_connections are open: first come first served. Errors: overloaded at
    // max_waiting, timed_out, cancelled.
    awaitable<result<connection_lease>> take(std::shared_ptr<asio::ssl::context> trust, step_limit limit);

    // Closes the idle ones, ends the waits and takes nothing back any more.
    void stop();

private:
    friend class connection_lease;
    struct idle_connection {
        std::unique_ptr<tls_connection> connection;
        boot_time since;
    };
    void give_back(std::unique_ptr<tls_connection> connection);
    std::unique_ptr<tls_connection> newest_good(const std::shared_ptr<asio::ssl::context>& trust);
    void sweep_later();

    const clock& time_;
    settings settings_;
    asio::steady_timer sweep_; // closes what has been idle too long; armed only while something is idle
    bool sweeping_ = false;
    bool stopped_ = false;
    std::size_t open_ = 0; // rights given out, idle connections included
    std::vector<idle_connection> idle_;
    waiters waiting_;
    std::vector<std::unique_ptr<tls_connection>>
        granted_; // for waiters that are woken; null: the right alone
};

} // namespace credlet
