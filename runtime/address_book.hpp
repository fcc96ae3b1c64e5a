#pragma once
// The addresses of one host: the last good answer of the resolver, kept fresh behind the callers' backs.
// Lives on one event loop; only the resolver is on another thread, and nobody waits for it beyond a limit.

#include "runtime/clock.hpp"
#include "runtime/https_client.hpp"
#include "runtime/waiters.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <vector>

namespace credlet {

class address_book {
public:
    static constexpr std::chrono::seconds fresh_for{30};  // then the resolver is asked again
    static constexpr std::chrono::seconds retry_after{1}; // after a failure, while an older answer serves
    static constexpr std::size_t max_addresses = 16;

    // stale_for: how long an answer serves when the resolver has no new one. on_failure: a lookup failed,
    // also one in the background. The clock outlives the book; so does the loop.
    address_book(asio::io_context& loop, const clock& time, std::shared_ptr<name_resolver> names,
                 std::string host, std::chrono::seconds stale_for,
                 std::function<void(const error&)> on_failure);
    address_book(const address_book&) = delete;
    address_book& operator=(const address_book&) = delete;
    ~address_book();

    // The addresses in the order to try them, never none: the one that worked last, then by turns of the
    // families, and those that failed since they last worked at the end. At once if an answer younger than
    // stale_for is known; else errc::resolve_failed, timed_out or cancelled.
    awaitable<result<std::vector<asio::ip::address>>> addresses(step_limit limit);

    // What listens at this address has proved who it is.
    void worked(const asio::ip::address& address);
    // It accepted a connection but did not shake hands or did not answer: others have their turn first.
    void failed(const asio::ip::address& address);

    // From now on the resolver's answers are ignored. Required before the loop goes.
    void close();

private:
    struct mailbox;
    void look_up();
    void answered(result<std::vector<asio::ip::address>> answer);
    [[nodiscard]] std::vector<asio::ip::address> in_order() const;

    const clock& time_;
    std::shared_ptr<name_resolver> names_;
    std::string host_;
    std::chrono::seconds stale_for_;
    std::function<void(const error&)> on_failure_;
    std::shared_ptr<mailbox> mailbox_;
    waiters waiting_;
    bool literal_ = false;
    bool looking_up_ = false;
    std::vector<asio::ip::address> known_;
    std::optional<boot_time> known_since_;
    std::optional<boot_time> failed_at_;
    std::optional<error> failure_; // of the lookup that ended last
    std::optional<asio::ip::address> preferred_;
    std::vector<asio::ip::address> failed_; // in the order in which they failed
};

// The addresses so that IPv6 and IPv4 alternate, beginning with the family of the first (RFC 8305 section 4),
// each once.
std::vector<asio::ip::address> by_turns(const std::vector<asio::ip::address>& addresses);

} // namespace credlet
