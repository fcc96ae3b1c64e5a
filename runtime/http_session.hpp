#pragma once
// One connection of the HTTP server: reads heads, asks the handler, writes replies, strictly in turn.
// Callbacks rather than a coroutine: on the warm path a request costs a read, a parse and one write that is
// tried at once.
//
// An open session always awaits exactly one thing (bytes, room to write, an answer, or its next turn), and
// the handler of that wait owns the session.

#include "runtime/http_server_core.hpp"

#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>

namespace credlet {

class http_session final : public open_connection,
                           public boost::intrusive_ref_counter<http_session, boost::thread_unsafe_counter> {
public:
    // Takes the connection into the core's table and begins to read. private_listener: the key of the one it
    // came through.
    static void start(std::shared_ptr<http_server_core> core, loop_socket socket, connection_info info,
                      std::optional<std::uint64_t> private_listener);
    // Not for use: start() makes sessions.
    http_session(std::shared_ptr<http_server_core> core, loop_socket socket, connection_info info,
                 std::optional<std::uint64_t> private_listener);

    void cut() override;
    void expire(boot_time now) override;
    void retire() override;
    void wind_down(boot_time now) override;

private:
    using pointer = boost::intrusive_ptr<http_session>;
    using error_code = boost::system::error_code;

    enum class phase {
        idle,         // no byte of the next request has come
        reading_head, // its end has not come
        answering,    // between the end of a head and the last byte of its answer
        writing,      // likewise, but the caller does not take the answer
        lingering,    // the last answer is out and the caller knows; its unread input is being dropped
        closed,
    };
    void enter(phase next, boot_time deadline);

    // Input.
    void read();
    void on_read(const error_code& ec, std::size_t bytes);
    void make_room();
    void forget_input();
    void rest(boot_time now);

    // Requests. Each returns whether the next request may be looked at.
    void serve(boot_time now);
    void serve_waiting(boot_time now);
    bool answer(boot_time now);
    bool refuse(request_fault fault, boot_time now);
    void ask_later();
    static awaitable<void> wait_for_answer(pointer self, std::unique_ptr<owned_request> request);
    void deliver(reply_ptr reply);
    void take_turn();

    // Output. Each returns whether the next request may be looked at.
    bool send(reply_ptr reply, boot_time now);
    bool flush(boot_time now);
    std::size_t write_some(error_code& ec);
    void on_writable(const error_code& ec);
    bool finish(boot_time now);
    void linger(boot_time now);

    std::shared_ptr<http_server_core> core_;
    loop_socket socket_;
    connection_info info_;

    phase phase_ = phase::idle;
    bool caller_keeps_ = true; // as the request at hand says
    bool keeps_ = true;        // as the reply at hand says
    bool is_head_method_ = false;
    bool retired_ = false;
    std::size_t requests_ = 0;

    secret_string buffer_; // unread input is [begin_, end_)
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    std::size_t scanned_ = 0; // of it, by the parser
    std::size_t dropped_ = 0; // bytes read while lingering

    reply_ptr reply_; // being written
    std::size_t sent_ = 0;
    std::size_t to_send_ = 0;
    boot_time request_deadline_{};
};

} // namespace credlet
