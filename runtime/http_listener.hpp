#pragma once
// One listening socket of the HTTP server. Accepts whatever happens: running out of descriptors costs a
// pause, never the listener.

#include "runtime/http_server_core.hpp"

#include <boost/asio/basic_socket_acceptor.hpp>

namespace credlet {

// A descriptor kept to be given up when there are no others, so that callers can be turned away instead of
// hanging in the accept queue. One for all listeners of a server.
class reserve_descriptor {
public:
    reserve_descriptor();
    reserve_descriptor(const reserve_descriptor&) = delete;
    reserve_descriptor& operator=(const reserve_descriptor&) = delete;
    ~reserve_descriptor();
    // Accepts and closes one connection.
    void turn_away_one(int listening_socket);

private:
    int descriptor_;
};

class http_listener : public std::enable_shared_from_this<http_listener> {
public:
    // index: connection_info::listener of its connections.
    static result<std::shared_ptr<http_listener>> open(std::shared_ptr<http_server_core> core,
                                                       std::shared_ptr<reserve_descriptor> reserve,
                                                       const asio::ip::tcp::endpoint& where,
                                                       std::size_t index);
    // Not for use: open() makes listeners.
    http_listener(std::shared_ptr<http_server_core> core, std::shared_ptr<reserve_descriptor> reserve,
                  std::size_t index);

    [[nodiscard]] const asio::ip::tcp::endpoint& endpoint() const { return endpoint_; }
    // Takes what is queued, then closes.
    void finish();
    void close();

private:
    enum class accepted { one, none_waiting, failed };

    boost::system::error_code bind(const asio::ip::tcp::endpoint& where);
    void wait();
    void accept_waiting();
    accepted accept_one();
    void admit(int descriptor, const asio::ip::tcp::endpoint& peer);
    void pause();

    std::shared_ptr<http_server_core> core_;
    std::shared_ptr<reserve_descriptor> reserve_;
    asio::basic_socket_acceptor<asio::ip::tcp, loop_executor> acceptor_;
    loop_timer pause_;
    asio::ip::tcp::endpoint endpoint_;
    std::size_t index_;
};

} // namespace credlet
