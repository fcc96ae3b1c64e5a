#include "runtime/http_session.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>

namespace credlet {

namespace {

using namespace std::chrono_literals;

// Most heads fit; one with a token makes the buffer grow until it has been answered.
constexpr std::size_t initial_buffer = 2048;
// Pipelined requests answered before others have their turn.
constexpr std::size_t requests_per_turn = 16;
// RFC 9112 section 9.6: closing with unread input resets the connection, which may destroy the answer on its
// way.
constexpr std::size_t linger_bytes = std::size_t{64} * 1024;
constexpr auto linger_time = 1s;
// What a connection accepted just before a server closes gets to bring its request.
constexpr auto first_request_time = 1s;

constexpr std::string_view closing_end = "Connection: close\r\n\r\n";

} // namespace

void http_session::start(std::shared_ptr<http_server_core> core, loop_socket socket, connection_info info,
                         std::optional<std::uint64_t> private_listener) {
    const pointer self(
        new http_session(std::move(core), std::move(socket), std::move(info), private_listener));
    const auto now = self->core_->time.now();
    self->core_->opened(*self);
    self->rest(now);
}

http_session::http_session(std::shared_ptr<http_server_core> core, loop_socket socket, connection_info info,
                           std::optional<std::uint64_t> private_listener)
    : open_connection(peer_of(info), private_listener),
      core_(std::move(core)),
      socket_(std::move(socket)),
      info_(std::move(info)) {
    buffer_.resize(std::min(initial_buffer, core_->limits.max_head));
}

void http_session::enter(phase next, boot_time deadline) {
    phase_ = next;
    deadline_ = deadline;
    is_idle_ = next == phase::idle || next == phase::lingering;
}

void http_session::cut() {
    if (phase_ == phase::closed)
        return;
    phase_ = phase::closed;
    error_code ignored;
    socket_.close(ignored);
    reply_.reset();
    core_->closed(*this);
}

void http_session::expire(boot_time now) {
    if (now < deadline_)
        return;
    switch (phase_) {
    case phase::idle:
        core_->count_rejected("idle_timeout");
        break;
    case phase::reading_head:
        core_->count_rejected("head_timeout");
        break;
    case phase::answering:
        core_->count_rejected("request_timeout");
        break;
    case phase::writing:
        core_->count_rejected(deadline_ == request_deadline_ ? "request_timeout" : "write_timeout");
        break;
    case phase::lingering:
    case phase::closed:
        break;
    }
    cut();
}

void http_session::retire() {
    retired_ = true;
    if (phase_ != phase::answering && phase_ != phase::writing)
        cut();
}

void http_session::wind_down(boot_time now) {
    if (phase_ != phase::idle)
        return; // what is under way ends with its answer, which closes
    error_code ec;
    if (requests_ > 0 && socket_.available(ec) == 0)
        cut();
    else
        deadline_ = std::min(deadline_, now + first_request_time);
}

// Input.

void http_session::read() {
    socket_.async_read_some(
        asio::buffer(buffer_.data() + end_, buffer_.size() - end_),
        [self = pointer(this)](const error_code& ec, std::size_t n) { self->on_read(ec, n); });
}

void http_session::on_read(const error_code& ec, std::size_t bytes) {
    if (phase_ == phase::closed)
        return;
    if (phase_ == phase::lingering) {
        dropped_ += bytes;
        if (ec || dropped_ > linger_bytes)
            cut();
        else
            read();
        return;
    }
    if (ec) { // the end between two requests or within one, or a reset: nobody waits for an answer
        cut();
        return;
    }
    end_ += bytes;
    serve(core_->time.now());
}

// Called with a head that is not whole and shorter than max_head.
void http_session::make_room() {
    if (end_ < buffer_.size())
        return;
    if (begin_ > 0) {
        end_ -= begin_;
        std::memmove(buffer_.data(), buffer_.data() + begin_, end_);
        OPENSSL_cleanse(buffer_.data() + end_, begin_);
        begin_ = 0;
    } else {
        buffer_.resize(std::min(2 * buffer_.size(), core_->limits.max_head));
    }
}

// Heads carry tokens, and a connection may be open for long after them.
void http_session::forget_input() {
    if (buffer_.size() > initial_buffer) {
        buffer_ = secret_string();
        buffer_.resize(initial_buffer);
    } else {
        OPENSSL_cleanse(buffer_.data(), end_); // no more has been written to
    }
    begin_ = end_ = 0;
}

void http_session::rest(boot_time now) {
    forget_input();
    enter(phase::idle, now + core_->limits.idle_timeout);
    // Before it reads: what has been read is not seen to be waiting any more.
    if (core_->closing_idle())
        wind_down(now);
    if (phase_ != phase::closed)
        read();
}

// Requests.

void http_session::serve(boot_time now) {
    try {
        serve_waiting(now);
    } catch (const std::exception& e) {
        core_->count_failed(e.what());
        cut();
    }
}

void http_session::serve_waiting(boot_time now) {
    for (std::size_t served = 0; served < requests_per_turn; ++served) {
        if (begin_ == end_)
            return rest(now);
        const auto input = buffer_.reveal().substr(begin_, end_ - begin_);
        const auto parsed = parse_request_head(input, core_->limits.max_head, scanned_, core_->head);
        if (parsed.state == parse_state::need_more) {
            if (phase_ != phase::reading_head)
                enter(phase::reading_head, now + core_->limits.head_timeout);
            make_room();
            return read();
        }
        scanned_ = 0;
        request_deadline_ = now + core_->limits.request_timeout;
        enter(phase::answering, request_deadline_);
        const bool go_on = parsed.state == parse_state::complete ? answer(now) : refuse(parsed.fault, now);
        if (!go_on)
            return;
    }
    take_turn();
}

bool http_session::answer(boot_time now) {
    const request_head& head = core_->head;
    ++requests_;
    begin_ += head.size;
    caller_keeps_ = head.keep_alive;
    is_head_method_ = head.method == "HEAD";
    reply_ptr reply = core_->handler.answer_now(head, info_);
    if (phase_ == phase::closed)
        return false;
    if (reply)
        return send(std::move(reply), now);
    ask_later();
    return false;
}

bool http_session::refuse(request_fault fault, boot_time now) {
    retired_ = true;
    is_head_method_ = false; // whatever it was, the method was not understood
    return send(core_->handler.answer_fault(fault, info_), now);
}

void http_session::ask_later() {
    const bool asked =
        core_->answers.spawn(wait_for_answer(pointer(this), std::make_unique<owned_request>(core_->head)));
    if (!asked) // the server has stopped for good: nothing would ever wake this session again
        cut();
}

awaitable<void> http_session::wait_for_answer(pointer self, std::unique_ptr<owned_request> request) {
    reply_ptr reply;
    try {
        reply = co_await self->core_->handler.answer_later(std::move(request), self->info_);
        self->deliver(std::move(reply));
    } catch (...) {
        self->cut();
        throw;
    }
}

void http_session::deliver(reply_ptr reply) {
    if (phase_ == phase::closed)
        return;
    if (send(std::move(reply), core_->time.now()))
        take_turn();
}

// Gives way to other sessions, or leaves the frames of a coroutine.
void http_session::take_turn() {
    enter(phase::answering, request_deadline_);
    asio::post(core_->loop, [self = pointer(this)] {
        if (self->phase_ == phase::closed)
            return;
        if (self->retired_)
            self->cut();
        else
            self->serve(self->core_->time.now());
    });
}

// Output.

bool http_session::send(reply_ptr reply, boot_time now) {
    if (!reply)
        throw std::logic_error("a request handler gave no reply");
    keeps_ = caller_keeps_ && !retired_ && !core_->draining() &&
             requests_ < core_->limits.max_requests_per_connection;
    reply_ = std::move(reply);
    sent_ = 0;
    to_send_ = reply_->head().size() + (keeps_ ? rendered_reply::blank_line : closing_end).size() +
               (is_head_method_ ? 0 : reply_->body().size());
    return flush(now);
}

bool http_session::flush(boot_time now) {
    while (sent_ < to_send_) {
        error_code ec;
        sent_ += write_some(ec);
        if (ec == asio::error::would_block) {
            enter(phase::writing, std::min(request_deadline_, now + core_->limits.write_timeout));
            socket_.async_wait(loop_socket::wait_write, [self = pointer(this)](const error_code& failure) {
                self->on_writable(failure);
            });
            return false;
        }
        if (ec) { // the caller has gone
            cut();
            return false;
        }
    }
    reply_.reset();
    return finish(now);
}

// Hands over what the kernel takes at once. Asio writes with MSG_NOSIGNAL.
std::size_t http_session::write_some(error_code& ec) {
    if (keeps_ && !is_head_method_)
        return socket_.write_some(asio::buffer(reply_->whole().substr(sent_)), ec);
    std::array parts{reply_->head(), keeps_ ? rendered_reply::blank_line : closing_end,
                     is_head_method_ ? std::string_view() : reply_->body()};
    std::array<asio::const_buffer, 3> buffers;
    std::size_t skip = sent_;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        const auto skipped = std::min(skip, parts[i].size());
        skip -= skipped;
        buffers[i] = asio::buffer(parts[i].substr(skipped));
    }
    return socket_.write_some(buffers, ec);
}

void http_session::on_writable(const error_code& ec) {
    if (phase_ == phase::closed)
        return;
    const auto now = core_->time.now();
    if (ec)
        cut();
    else if (flush(now))
        serve(now);
}

// The reply is with the kernel.
bool http_session::finish(boot_time now) {
    if (keeps_ && !retired_) // also in a drain that began meanwhile: the caller has been told to come again
        return true;
    // A caller who announced the close and sent nothing behind it has no more to say.
    if (!caller_keeps_ && !retired_ && begin_ == end_)
        cut();
    else
        linger(now);
    return false;
}

void http_session::linger(boot_time now) {
    error_code ec;
    socket_.shutdown(loop_socket::shutdown_send, ec);
    if (ec)
        return cut();
    forget_input();
    enter(phase::lingering, now + linger_time);
    read();
}

} // namespace credlet
