#include "runtime/http_listener.hpp"

#include "runtime/canonical_address.hpp"
#include "runtime/http_session.hpp"
#include "runtime/shared_address.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>
#include <system_error>

namespace credlet {

namespace {

using namespace std::chrono_literals;
using asio::generic::stream_protocol;
using asio::ip::tcp;

// Connections accepted before others have their turn.
constexpr int accepted_per_turn = 64;
constexpr auto pause_after_failure = 100ms;

// accept(2) reports what befell a connection while it was queued; the next one may be fine.
bool concerns_one_connection(int error) {
    switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case EOPNOTSUPP:
    case EPERM:
        return true;
    default:
        return false;
    }
}

// The TCP endpoint that a generic one holds; of another family, a default one.
tcp::endpoint tcp_endpoint(const stream_protocol::endpoint& e) {
    const int family = e.protocol().family();
    tcp::endpoint tcp(family == AF_INET6 ? tcp::v6() : tcp::v4(), 0);
    if ((family != AF_INET && family != AF_INET6) || e.size() > tcp.capacity())
        return {};
    std::memcpy(tcp.data(), e.data(), e.size());
    return tcp;
}

descriptor open_spare() { return descriptor(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }

} // namespace

reserve_descriptor::reserve_descriptor() : spare_(open_spare()) {}

void reserve_descriptor::turn_away_one(int listening_socket) {
    spare_.close();
    descriptor(::accept4(listening_socket, nullptr, nullptr, SOCK_CLOEXEC)).close();
    spare_ = open_spare();
}

result<std::shared_ptr<http_listener>> http_listener::open(std::shared_ptr<http_server_core> core,
                                                           std::shared_ptr<reserve_descriptor> reserve,
                                                           const tcp::endpoint& where, std::size_t index,
                                                           sharing shares) {
    auto socket = make_listening_socket(where, {.backlog = core->limits.backlog, .shares = shares});
    if (!socket)
        return socket.error();
    auto self = std::make_shared<http_listener>(std::move(core), std::move(reserve), origin{index});
    if (const auto taken = self->take(std::move(*socket)); !taken)
        return taken.error();
    if (shares == sharing::yes)
        self->trial_.emplace(self->core_->loop.get_executor());
    self->wait();
    return self;
}

result<std::shared_ptr<http_listener>> http_listener::open(std::shared_ptr<http_server_core> core,
                                                           std::shared_ptr<reserve_descriptor> reserve,
                                                           const unix_path& where, std::size_t index) {
    auto self = std::make_shared<http_listener>(std::move(core), std::move(reserve), origin{index});
    if (const auto bound = self->bind(where); !bound)
        return bound.error();
    self->wait();
    return self;
}

result<std::shared_ptr<http_listener>> http_listener::open(std::shared_ptr<http_server_core> core,
                                                           std::shared_ptr<reserve_descriptor> reserve,
                                                           private_listener listener, std::uint64_t key) {
    auto self = std::make_shared<http_listener>(std::move(core), std::move(reserve),
                                                origin{0, key, std::move(listener.owner)});
    if (const auto taken = self->take(std::move(listener.socket)); !taken)
        return taken.error();
    self->wait();
    return self;
}

http_listener::http_listener(std::shared_ptr<http_server_core> core,
                             std::shared_ptr<reserve_descriptor> reserve, origin mark)
    : core_(std::move(core)),
      reserve_(std::move(reserve)),
      acceptor_(core_->loop.get_executor()),
      pause_(core_->loop.get_executor()),
      mark_(std::move(mark)) {}

boost::system::error_code http_listener::assign(const stream_protocol& protocol, descriptor socket) {
    boost::system::error_code ec;
    acceptor_.assign(protocol, socket.get(), ec);
    if (ec)
        return ec;
    (void)socket.release();
    acceptor_.non_blocking(true, ec);
    return ec;
}

result<void> http_listener::take(descriptor socket) {
    const auto where = endpoint_of(socket);
    if (!where)
        return where.error();
    endpoint_ = *where;
    if (const auto ec = assign(where->protocol(), std::move(socket)))
        return fail(errc::io_failed, "cannot wait for callers: " + ec.message());
    return {};
}

result<void> http_listener::bind(const unix_path& where) {
    descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket)
        return fail(errc::io_failed,
                    "cannot listen on unix:" + where.path + ": " + std::system_category().message(errno));
    auto file = socket_file::show(socket.get(), where.path, core_->limits.backlog);
    if (!file)
        return file.error();
    file_ = std::move(*file);
    if (const auto ec = assign({AF_UNIX, 0}, std::move(socket)))
        return fail(errc::io_failed, "cannot listen on unix:" + where.path + ": " + ec.message());
    return {};
}

// Others may have come and gone since we joined the row: whether we stand first, a trial tells. Then the next
// one is called. A private listener cannot be called from here. Those who share its address come and go in
// turn, so the first place is ours; were it not, who calls us meanwhile would be answered all the same.
awaitable<void> http_listener::point_away() {
    const auto self = shared_from_this();
    if (mark_.key && acceptor_.is_open())
        call_at(acceptor_.native_handle(), first_place + 1);
    if (!trial_ || !acceptor_.is_open())
        co_return;
    call_at(acceptor_.native_handle(), first_place);
    const bool ours = co_await trial_->arrives(endpoint_, [this] { take_waiting(); });
    if (ours && acceptor_.is_open())
        call_at(acceptor_.native_handle(), first_place + 1);
}

// Who connects between the last accept and the close would be reset; and so would he whose handshake is not
// complete by then.
void http_listener::begin_no_more() {
    if (file_)
        file_.reset(); // from here on nobody finds it
    else if (acceptor_.is_open())
        begin_no_handshakes(acceptor_.native_handle());
}

void http_listener::take_waiting() {
    for (int i = 0; acceptor_.is_open() && i < core_->limits.backlog; ++i) {
        if (accept_one() != accepted::one)
            return;
    }
}

void http_listener::finish() {
    pause_.cancel();
    take_waiting();
    close();
}

void http_listener::close() {
    pause_.cancel();
    file_.reset();
    boost::system::error_code ignored;
    acceptor_.close(ignored);
}

void http_listener::wait() {
    acceptor_.async_wait(
        asio::socket_base::wait_read,
        [self = shared_from_this()](const boost::system::error_code&) { self->accept_waiting(); });
}

void http_listener::accept_waiting() {
    if (!acceptor_.is_open())
        return;
    for (int i = 0; i < accepted_per_turn; ++i) {
        switch (accept_one()) {
        case accepted::one:
            break;
        case accepted::none_waiting:
            return wait();
        case accepted::failed:
            return pause();
        }
    }
    wait(); // which returns at once if more are queued
}

http_listener::accepted http_listener::accept_one() {
    stream_protocol::endpoint peer;
    auto length = static_cast<socklen_t>(peer.capacity());
    descriptor connection(::accept4(acceptor_.native_handle(), peer.data(), &length, SOCK_CLOEXEC));
    if (connection) {
        peer.resize(length);
        admit(std::move(connection), peer);
        return accepted::one;
    }
    const int error = errno;
    if (error == EAGAIN || error == EWOULDBLOCK)
        return accepted::none_waiting;
    if (concerns_one_connection(error))
        return accepted::one;
    core_->count_rejected("accept_failed");
    if (error == EMFILE || error == ENFILE)
        reserve_->turn_away_one(acceptor_.native_handle());
    return accepted::failed;
}

void http_listener::admit(descriptor connection, const stream_protocol::endpoint& caller) {
    loop_socket socket(core_->loop.get_executor());
    boost::system::error_code ec;
    socket.assign(caller.protocol(), connection.get(), ec);
    if (!ec) {
        (void)connection.release();
        socket.non_blocking(true, ec);
    }
    if (ec)
        return core_->count_rejected("accept_failed");

    const auto peer = tcp_endpoint(caller);
    if (trial_ && trial_->recognizes(peer))
        return;
    connection_info info{canonical(peer.address()), peer.port(), endpoint_, mark_.index, mark_.owner};
    const auto admission = core_->connections.admit(peer_of(info));
    switch (admission.what) {
    case connection_table::verdict::welcome:
        break;
    case connection_table::verdict::after_eviction:
        core_->count_rejected("evicted");
        admission.gives_way->cut();
        break;
    case connection_table::verdict::peer_limit:
        return core_->count_rejected("peer_limit");
    case connection_table::verdict::server_full:
        return core_->count_rejected("server_full");
    }
    if (endpoint_.address().is_unspecified() && !file_) {
        info.local = tcp_endpoint(socket.local_endpoint(ec));
        if (ec)
            return; // it has gone already
    }
    http_session::start(core_, std::move(socket), std::move(info), mark_.key);
}

void http_listener::pause() {
    pause_.expires_after(pause_after_failure);
    pause_.async_wait(
        [self = shared_from_this()](const boost::system::error_code&) { self->accept_waiting(); });
}

} // namespace credlet
