#pragma once
// Who is connected, and who may connect: the limits in total and per peer, and who gives way when all places
// are taken. Plain decisions without I/O. A walk over all connections takes some ten microseconds and happens
// only when a limit is reached, once per sweep, when an address changes hands, when a private listener
// closes, or in a drain.

#include "runtime/clock.hpp"

#include <boost/asio/ip/address.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace credlet {

namespace asio = boost::asio;

// Those whose connections count together: all who come from an address, or through the private listeners of
// one owner. An address and an owner are never the same peer, nor are owners for sharing an address: in a
// network namespace of its own everybody is 127.0.0.1.
class peer_id {
public:
    explicit peer_id(const asio::ip::address& address) : address_(address) {}
    // Not nullptr. Equal texts are the same owner.
    explicit peer_id(std::shared_ptr<const std::string> owner) : owner_(std::move(owner)) {}

    friend bool operator==(const peer_id& a, const peer_id& b) {
        if (a.owner_ == b.owner_)
            return a.address_ == b.address_;
        return a.owner_ != nullptr && b.owner_ != nullptr && *a.owner_ == *b.owner_;
    }
    struct hash {
        std::size_t operator()(const peer_id& peer) const {
            return peer.owner_ ? std::hash<std::string>()(*peer.owner_)
                               : std::hash<asio::ip::address>()(peer.address_);
        }
    };

private:
    asio::ip::address address_; // the default one, if there is an owner
    std::shared_ptr<const std::string> owner_;
};

// A connection as the table and the server see it. It leaves the table as it closes.
class open_connection {
public:
    explicit open_connection(peer_id peer, std::optional<std::uint64_t> private_listener = std::nullopt)
        : peer_(std::move(peer)),
          private_listener_(private_listener) {}
    open_connection(const open_connection&) = delete;
    open_connection& operator=(const open_connection&) = delete;

    [[nodiscard]] const peer_id& peer() const { return peer_; }
    // The key of the private listener it came through.
    [[nodiscard]] std::optional<std::uint64_t> private_listener() const { return private_listener_; }
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
    peer_id peer_;
    std::optional<std::uint64_t> private_listener_;
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
    [[nodiscard]] admission admit(const peer_id& peer) const;

    void add(open_connection& connection);
    void remove(open_connection& connection);

    [[nodiscard]] std::size_t size() const { return all_.size(); }
    [[nodiscard]] bool empty() const { return all_.empty(); }
    [[nodiscard]] std::size_t held_by(const peer_id& peer) const;

    // Calls f for every connection; f may remove the one it is given.
    template <class F>
    void for_each(F f) {
        for (std::size_t i = all_.size(); i > 0; --i) {
            if (i <= all_.size())
                f(*all_[i - 1]);
        }
    }

private:
    [[nodiscard]] open_connection* longest_idle_of(const peer_id& peer) const;

    std::size_t max_total_;
    std::size_t max_per_peer_;
    std::vector<open_connection*> all_;
    std::unordered_map<peer_id, std::size_t, peer_id::hash> held_;
};

} // namespace credlet
