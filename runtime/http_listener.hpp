#pragma once
// One listening socket of the HTTP server. Accepts whatever happens: running out of descriptors costs a
// pause, never the listener.

#include "runtime/http_server_core.hpp"
#include "runtime/listening_socket.hpp"
#include "runtime/socket_file.hpp"
#include "runtime/trial_call.hpp"

#include <boost/asio/basic_socket_acceptor.hpp>

namespace credlet {

// A descriptor kept to be given up when there are no others, so that callers can be turned away instead of
// hanging in the accept queue. One for all listeners of a server.
class reserve_descriptor {
public:
    reserve_descriptor();
    // Accepts and closes one connection.
    void turn_away_one(int listening_socket);

private:
    descriptor spare_;
};

class http_listener : public std::enable_shared_from_this<http_listener> {
public:
    // index: connection_info::listener of its connections.
    static result<std::shared_ptr<http_listener>> open(std::shared_ptr<http_server_core> core,
                                                       std::shared_ptr<reserve_descriptor> reserve,
                                                       const asio::ip::tcp::endpoint& where,
                                                       std::size_t index, sharing shares = sharing::no);
    static result<std::shared_ptr<http_listener>> open(std::shared_ptr<http_server_core> core,
                                                       std::shared_ptr<reserve_descriptor> reserve,
                                                       const unix_path& where, std::size_t index);
    // key: open_connection::private_listener() of its connections.
    static result<std::shared_ptr<http_listener>> open(std::shared_ptr<http_server_core> core,
                                                       std::shared_ptr<reserve_descriptor> reserve,
                                                       private_listener listener, std::uint64_t key);

    // What its connections are told by.
    struct origin {
        std::size_t index = 0;
        std::optional<std::uint64_t> key{}; // these two: of a private listener
        std::shared_ptr<const std::string> owner{};
    };
    // Not for use: open() makes listeners.
    http_listener(std::shared_ptr<http_server_core> core, std::shared_ptr<reserve_descriptor> reserve,
                  origin mark);

    [[nodiscard]] const asio::ip::tcp::endpoint& endpoint() const { return endpoint_; }
    // Has new callers come to another process that shares the address, if there is one.
    awaitable<void> point_away();
    // Lets nobody begin to connect. Who has begun is accepted, if finish() leaves a moment for that.
    void begin_no_more();
    // Takes what is queued, then closes.
    void finish();
    void close();

private:
    enum class accepted { one, none_waiting, failed };

    result<void> take(descriptor socket);
    result<void> bind(const unix_path& where);
    boost::system::error_code assign(const asio::generic::stream_protocol& protocol, descriptor socket);
    void wait();
    void accept_waiting();
    accepted accept_one();
    void take_waiting();
    void admit(descriptor connection, const asio::generic::stream_protocol::endpoint& caller);
    void pause();

    std::shared_ptr<http_server_core> core_;
    std::shared_ptr<reserve_descriptor> reserve_;
    asio::basic_socket_acceptor<asio::generic::stream_protocol, loop_executor> acceptor_;
    std::unique_ptr<socket_file> file_; // of a unix socket
    loop_timer pause_;
    std::optional<trial_call> trial_; // where others may share the address, and we can call it
    asio::ip::tcp::endpoint endpoint_;
    origin mark_;
};

} // namespace credlet
