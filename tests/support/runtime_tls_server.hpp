#pragma once
// A TLS server on loopback whose every connection follows a script, good or bad: a function on a thread of
// its own, with blocking calls. Whatever a script waits for ends when the server is destroyed.

#include "tests/support/runtime_certificates.hpp"

#include <openssl/types.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace credlet::test {

class tls_server;

// The server's end of one connection.
class tls_peer {
public:
    tls_peer(tls_server& server, int socket, std::size_t number);
    tls_peer(const tls_peer&) = delete;
    tls_peer& operator=(const tls_peer&) = delete;
    ~tls_peer();

    [[nodiscard]] std::size_t number() const { return number_; } // of the connection, from 0
    // False: the client refused or left.
    bool shake_hands();
    // Head and body of the next request. Empty: the client left.
    std::string read_request();
    // False: the client left.
    bool write(std::string_view bytes);
    // Each a TLS record of its own, all of them in one segment.
    void write_at_once(std::initializer_list<std::string_view> records);
    void write_plain(std::string_view bytes); // past TLS
    void close_notify();                      // "nothing follows", as TLS says it
    void reset();                             // ends the connection with RST
    void wait_for_bytes() const;              // until the client has begun to speak
    void wait_for_close();                    // reads until the client leaves or the server stops
    void park() const;                        // until the client leaves or the server stops, without reading
    // Reads requests and gives each the same answer, until the client leaves.
    void answer_all(std::string_view answer);

private:
    friend class tls_server;
    tls_server& server_;
    int socket_;
    std::size_t number_;
    std::unique_ptr<SSL, void (*)(SSL*)> session_;
    std::string buffered_;
};

class tls_server {
public:
    using script = std::function<void(tls_peer&)>;
    struct options {
        // A second address with the port of the first is one of 127.0.1.0/24: where callers come from
        // 127.0.0.0/24, the port may be taken by one of them.
        std::string address = "127.0.0.1";
        std::uint16_t port = 0; // 0: any
        bool only_tls_1_1 = false;
    };
    tls_server(const identity& who, script what);
    tls_server(const identity& who, script what, const options& how);
    tls_server(const tls_server&) = delete;
    tls_server& operator=(const tls_server&) = delete;
    ~tls_server();

    [[nodiscard]] std::uint16_t port() const { return port_; }
    [[nodiscard]] std::size_t accepted() const { return accepted_; }
    [[nodiscard]] std::size_t handshakes() const { return handshakes_; }
    [[nodiscard]] std::size_t open() const { return open_; } // connections whose script still runs
    [[nodiscard]] std::size_t most_open() const { return most_open_; }
    [[nodiscard]] std::size_t bytes_received() const { return bytes_received_; } // of application data
    [[nodiscard]] std::vector<std::string> requests() const;

private:
    friend class tls_peer;
    void accept_all();
    void serve(int socket, std::size_t number);

    script script_;
    std::shared_ptr<SSL_CTX> context_;
    int listener_ = -1;
    std::uint16_t port_ = 0;
    std::atomic<bool> stopping_ = false;
    std::atomic<std::size_t> accepted_ = 0, handshakes_ = 0, open_ = 0, most_open_ = 0, bytes_received_ = 0;
    mutable std::mutex mutex_; // guards what follows
    std::vector<std::string> requests_;
    std::list<int> sockets_;
    std::vector<std::thread> threads_;
    std::thread acceptor_;
};

// An address that takes no connection and refuses none: its accept queue is full.
class silent_address {
public:
    silent_address(const std::string& address, std::uint16_t port);
    silent_address(const silent_address&) = delete;
    silent_address& operator=(const silent_address&) = delete;
    ~silent_address();

private:
    std::vector<int> sockets_;
};

} // namespace credlet::test
