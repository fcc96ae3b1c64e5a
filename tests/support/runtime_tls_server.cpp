#include "tests/support/runtime_tls_server.hpp"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <arpa/inet.h>
#include <array>
#include <charconv>
#include <csignal>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdexcept>
#include <sys/socket.h>
#include <unistd.h>

namespace credlet::test {
namespace {

void require(bool good, const char* what) {
    if (!good)
        throw std::runtime_error(std::string("test server: ") + what);
}

sockaddr_in address_of(const std::string& address, std::uint16_t port) {
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_port = htons(port);
    require(::inet_pton(AF_INET, address.c_str(), &where.sin_addr) == 1, "bad address");
    return where;
}

// NOLINTBEGIN(cppcoreguidelines-pro-type-reinterpret-cast)
int listen_on(const std::string& address, std::uint16_t port, int backlog) {
    const auto where = address_of(address, port);
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int one = 1;
    ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    require(::bind(listener, reinterpret_cast<const sockaddr*>(&where), sizeof where) == 0, "bind");
    require(::listen(listener, backlog) == 0, "listen");
    return listener;
}

std::uint16_t port_of(int listener) {
    sockaddr_in bound{};
    socklen_t size = sizeof bound;
    require(::getsockname(listener, reinterpret_cast<sockaddr*>(&bound), &size) == 0, "getsockname");
    return ntohs(bound.sin_port);
}
// NOLINTEND(cppcoreguidelines-pro-type-reinterpret-cast)

std::size_t content_length(std::string_view head) {
    constexpr std::string_view name = "\r\nContent-Length: ";
    const auto at = head.find(name);
    std::size_t length = 0;
    if (at != std::string_view::npos)
        std::from_chars(head.data() + at + name.size(), head.data() + head.size(), length);
    return length;
}

} // namespace

tls_peer::tls_peer(tls_server& server, int socket, std::size_t number)
    : server_(server),
      socket_(socket),
      number_(number),
      session_(::SSL_new(server.context_.get()), &::SSL_free) {
    const int one = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    ::SSL_set_fd(session_.get(), socket);
}

tls_peer::~tls_peer() { ::ERR_clear_error(); }

bool tls_peer::shake_hands() {
    if (::SSL_accept(session_.get()) != 1)
        return false;
    ++server_.handshakes_;
    return true;
}

std::string tls_peer::read_request() {
    for (;;) {
        const auto end = buffered_.find("\r\n\r\n");
        if (end != std::string::npos) {
            const auto size = end + 4 + content_length(std::string_view(buffered_).substr(0, end));
            if (buffered_.size() >= size) {
                std::string request = buffered_.substr(0, size);
                buffered_.erase(0, size);
                const std::lock_guard lock(server_.mutex_);
                server_.requests_.push_back(request);
                return request;
            }
        }
        std::array<char, 4096> chunk{};
        const int n = ::SSL_read(session_.get(), chunk.data(), chunk.size());
        if (n <= 0)
            return {};
        server_.bytes_received_ += static_cast<std::size_t>(n);
        buffered_.append(chunk.data(), static_cast<std::size_t>(n));
    }
}

bool tls_peer::write(std::string_view bytes) {
    return bytes.empty() || ::SSL_write(session_.get(), bytes.data(), static_cast<int>(bytes.size())) > 0;
}

void tls_peer::write_at_once(std::initializer_list<std::string_view> records) {
    BIO* const socket = ::SSL_get_wbio(session_.get());
    ::BIO_up_ref(socket);
    BIO* const gathering = ::BIO_push(::BIO_new(::BIO_f_buffer()), socket);
    ::SSL_set0_wbio(session_.get(), gathering);
    for (const auto record : records)
        write(record);
    BIO_flush(gathering);
}

void tls_peer::write_plain(std::string_view bytes) {
    ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

void tls_peer::close_notify() { ::SSL_shutdown(session_.get()); }

void tls_peer::reset() {
    const linger at_once{1, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    // Closing is the server's; connecting a TCP socket to nowhere sends the RST now.
    sockaddr nowhere{};
    nowhere.sa_family = AF_UNSPEC;
    ::connect(socket_, &nowhere, sizeof nowhere);
}

void tls_peer::wait_for_bytes() const {
    char byte = 0;
    ::recv(socket_, &byte, 1, MSG_PEEK);
}

void tls_peer::wait_for_close() {
    std::array<char, 4096> chunk{};
    while (::recv(socket_, chunk.data(), chunk.size(), 0) > 0) {
    }
}

void tls_peer::park() const {
    pollfd gone{socket_, POLLRDHUP, 0};
    while (::poll(&gone, 1, -1) != 1) {
    }
}

void tls_peer::answer_all(std::string_view answer) {
    if (!shake_hands())
        return;
    while (!read_request().empty() && write(answer)) {
    }
}

tls_server::tls_server(const identity& who, script what) : tls_server(who, std::move(what), options{}) {}

tls_server::tls_server(const identity& who, script what, const options& how)
    : script_(std::move(what)),
      context_(::SSL_CTX_new(::TLS_server_method()), &::SSL_CTX_free) {
    ::signal(SIGPIPE, SIG_IGN); // OpenSSL writes with write()
    // A bad server is as lax as it can be: what is refused, the client refuses.
    ::SSL_CTX_set_security_level(context_.get(), 0);
    if (how.only_tls_1_1) {
        SSL_CTX_set_min_proto_version(context_.get(), TLS1_1_VERSION);
        SSL_CTX_set_max_proto_version(context_.get(), TLS1_1_VERSION);
    }
    require(::SSL_CTX_use_certificate(context_.get(), who.certificate.get()) == 1, "certificate");
    require(::SSL_CTX_use_PrivateKey(context_.get(), who.key.get()) == 1, "key");
    listener_ = listen_on(how.address, how.port, 64);
    port_ = port_of(listener_);
    acceptor_ = std::thread([this] { accept_all(); });
}

tls_server::~tls_server() {
    stopping_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    ::close(listener_);
    {
        const std::lock_guard lock(mutex_);
        for (const int socket : sockets_)
            ::shutdown(socket, SHUT_RDWR);
    }
    for (auto& thread : threads_)
        thread.join();
}

void tls_server::accept_all() {
    for (;;) {
        const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        if (socket < 0 || stopping_) {
            if (socket >= 0)
                ::close(socket);
            return;
        }
        const auto number = accepted_++;
        const auto now_open = ++open_;
        if (now_open > most_open_)
            most_open_ = now_open;
        const std::lock_guard lock(mutex_);
        sockets_.push_back(socket);
        threads_.emplace_back([this, socket, number] { serve(socket, number); });
    }
}

void tls_server::serve(int socket, std::size_t number) {
    {
        tls_peer peer(*this, socket, number);
        script_(peer);
    }
    --open_;
    const std::lock_guard lock(mutex_);
    sockets_.remove(socket);
    ::close(socket);
}

std::vector<std::string> tls_server::requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
}

silent_address::silent_address(const std::string& address, std::uint16_t port) {
    sockets_.push_back(listen_on(address, port, 0));
    const auto where = address_of(address, port);
    for (int i = 0; i < 16; ++i) {
        const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        sockets_.push_back(socket);
        // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast)
        ::connect(socket, reinterpret_cast<const sockaddr*>(&where), sizeof where);
        pollfd waiting{socket, POLLOUT, 0};
        if (::poll(&waiting, 1, 50) == 0)
            return; // this one hangs, and so will those who come after it
    }
    throw std::runtime_error("test server: the accept queue never filled");
}

silent_address::~silent_address() {
    for (const int socket : sockets_)
        ::close(socket);
}

} // namespace credlet::test
