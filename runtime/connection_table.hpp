#pragma once
// Who is connected, and who may connect: the limits in total and per peer, and who gives way when all places
// are taken. Plain decisions without I/O. A walk over all connections takes some ten microseconds and happens
// only when a limit is reached, once per sweep, when an address changes hands, or in a drain.

#include "runtime/clock.hpp"

#include <boost/asio/ip/address.hpp>

#include <cstddef>
#include <unordered_map>
#include <vector>

namespace credlet {

namespace asio = boost::asio;

// A connection as the table and the server see it. It leaves the table as it closes.
class open_connection {
public:
    explicit open_connection(const asio::ip::address& peer) : peer_(peer) {}
    open_connection(const open_connection&) = delete;
    open_connection& operator=(const open_connection&) = delete;

    [[nodiscard]] const asio::ip::address& peer() const { return peer_; }
    // When what it is doing must have ended. Among idle connections the earliest has been idle longest.
    [[nodiscard]] boot_time deadline() const { return deadline_; }
    // Whether it owes nobody an answer and may give way to another.
    [[nodiscard]] bool is_idle() const { return is_idle_; }

    // Closes at once, whatever is under way.
    virtual void cut() = 0;
    // Closes if its deadline has passed.
    virtual void expire(boot_time now) = 0;
    // Closes, behind the answer that is under way if there is one.
    virtual void retire() = 0;
    // The server is about to end: closes if idle, else behind the next answer.
    virtual void wind_down(boot_time now) = 0;

protected:
    ~open_connection() = default;
    boot_time deadline_{};
    bool is_idle_ = false;

private:
    friend class connection_table;
    asio::ip::address peer_;
    std::size_t place_ = 0;                 // in the table
    const std::size_t* siblings_ = nullptr; // how many connections its peer holds, in the table's count
};

class connection_table {
public:
    connection_table(std::size_t max_total, std::size_t max_per_peer)
        : max_total_(max_total),
          max_per_peer_(max_per_peer) {}

    enum class verdict {
        welcome,
        after_eviction, // once gives_way is cut
        peer_limit,     // the peer holds as many as a peer may, all of them busy
        server_full,    // and nobody can be asked to give way
    };
    struct admission {
        verdict what = verdict::welcome;
        open_connection* gives_way = nullptr;
    };
    // Whether a connection of this peer may be added. A peer at its limit gives up its own longest idle
    // connection: a client that forgot it has no use for it. When all places are taken, the longest idle
    // connection of the peer that holds most gives way; but nobody displaces a peer that holds fewer
    // connections than himself.
    [[nodiscard]] admission admit(const asio::ip::address& peer) const;

    void add(open_connection& connection);
    void remove(open_connection& connection);

    [[nodiscard]] std::size_t size() const { return all_.size(); }
    [[nodiscard]] bool empty() const { return all_.empty(); }
    [[nodiscard]] std::size_t held_by(const asio::ip::address& peer) const;

    // Calls f for every connection; f may remove the one it is given.
    template <class F>
    void for_each(F f) {
        for (std::size_t i = all_.size(); i > 0; --i) {
            if (i <= all_.size())
                f(*all_[i - 1]);
        }
    }

private:
    [[nodiscard]] open_connection* longest_idle_of(const asio::ip::address& peer) const;

    std::size_t max_total_;
    std::size_t max_per_peer_;
    std::vector<open_connection*> all_;
    std::unordered_map<asio::ip::address, std::size_t> held_;
};

} // namespace credlet
