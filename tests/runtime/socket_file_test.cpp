#include "runtime/socket_file.hpp"
#include "tests/support/runtime_http_server_fixture.hpp"
#include "tests/support/temporary_directory.hpp"

#include <doctest/doctest.h>

#include <sys/stat.h>
#include <sys/un.h>

using namespace credlet;
using namespace credlet::test;

namespace {

// A unix socket that is closed at the end of the test.
struct unix_socket {
    unix_socket() : descriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
    unix_socket(const unix_socket&) = delete;
    unix_socket& operator=(const unix_socket&) = delete;
    ~unix_socket() { ::close(descriptor); }

    static sockaddr_un address(const std::string& path) {
        sockaddr_un a{};
        a.sun_family = AF_UNIX;
        path.copy(a.sun_path, sizeof a.sun_path - 1);
        return a;
    }
    [[nodiscard]] bool connects(const std::string& path) const {
        const auto a = address(path);
        return ::connect(descriptor, reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0;
    }
    // As a process does that dies: its file stays, and nobody listens.
    void leave_behind(const std::string& path) const {
        const auto a = address(path);
        REQUIRE(::bind(descriptor, reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0);
    }
    int descriptor;
};

bool reaches(const std::string& path) { return unix_socket().connects(path); }

mode_t mode_of(const std::string& path) {
    struct stat s{};
    REQUIRE(::lstat(path.c_str(), &s) == 0);
    return s.st_mode & 0777;
}

bool exists(const std::string& path) {
    struct stat s{};
    return ::lstat(path.c_str(), &s) == 0;
}

} // namespace

TEST_CASE("a socket's file is for its owner only, and goes with the socket") {
    const temporary_directory dir;
    const auto path = dir.path + "/admin";
    const unix_socket socket;
    auto file = socket_file::show(socket.descriptor, path, 8);
    REQUIRE_MESSAGE(file.has_value(), file.error().message);
    CHECK(mode_of(path) == 0600);
    CHECK(reaches(path));
    CHECK_FALSE(exists(path + "~"));
    file->reset();
    CHECK_FALSE(exists(path));
}

TEST_CASE("what a process left behind when it died is replaced") {
    const temporary_directory dir;
    const auto path = dir.path + "/admin";
    const unix_socket dead, dead_early, socket;
    dead.leave_behind(path);
    dead_early.leave_behind(path + "~");
    REQUIRE_FALSE(reaches(path));
    const auto file = socket_file::show(socket.descriptor, path, 8);
    REQUIRE_MESSAGE(file.has_value(), file.error().message);
    CHECK(reaches(path));
}

TEST_CASE("who has taken the place keeps it when its predecessor goes") {
    const temporary_directory dir;
    const auto path = dir.path + "/admin";
    const unix_socket first, second;
    auto old_file = socket_file::show(first.descriptor, path, 8);
    auto new_file = socket_file::show(second.descriptor, path, 8);
    REQUIRE((old_file.has_value() && new_file.has_value()));
    old_file->reset();
    CHECK(reaches(path));
    new_file->reset();
    CHECK_FALSE(exists(path));
}

TEST_CASE("a file that is no socket is not removed") {
    const temporary_directory dir;
    const auto path = dir.write("precious", "content");
    const unix_socket socket;
    const auto file = socket_file::show(socket.descriptor, path, 8);
    REQUIRE(file.has_error());
    CHECK(file.error().kind == errc::io_failed);
    CHECK(file.error().message.find("no socket") != std::string::npos);
    CHECK(exists(path));
}

TEST_CASE("a path without its directory, and one too long for a socket, are refused") {
    const temporary_directory dir;
    const unix_socket first, second, third;
    const auto missing = socket_file::show(first.descriptor, dir.path + "/none/admin", 8);
    REQUIRE(missing.has_error());
    CHECK(missing.error().message.find("/none/admin") != std::string::npos);

    const auto padded = dir.path + "/" + std::string(socket_file::longest_path - dir.path.size() - 1, 'x');
    CHECK(socket_file::show(second.descriptor, padded, 8).has_value());
    CHECK(socket_file::show(third.descriptor, padded + "x", 8).error().kind == errc::malformed);
}

TEST_CASE("a server answers on a unix socket as on TCP, and all its callers count as one peer") {
    const temporary_directory dir;
    const auto path = dir.path + "/admin";
    auto limits = http_server_fixture::quick();
    limits.max_connections_per_peer = 2;
    http_server_fixture f(limits);
    const auto index = f.server->listen(unix_path{path});
    REQUIRE_MESSAGE(index.has_value(), index.error().message);
    CHECK(f.server->endpoints().at(*index) == asio::ip::tcp::endpoint());

    const unix_socket caller;
    REQUIRE(caller.connects(path));
    const std::string request = "GET /now/hello HTTP/1.1\r\nHost: localhost\r\n\r\n";
    REQUIRE(::send(caller.descriptor, request.data(), request.size(), MSG_NOSIGNAL) > 0);
    std::string answer;
    CHECK(f.until([&] {
        char bytes[4096];
        const auto n = ::recv(caller.descriptor, bytes, sizeof bytes, MSG_DONTWAIT);
        answer.append(bytes, n > 0 ? static_cast<std::size_t>(n) : 0);
        return answer.ends_with("hello");
    }));
    CHECK(answer.starts_with("HTTP/1.1 200 "));
    CHECK(f.handler.last_connection.listener == *index);
    CHECK(f.handler.last_connection.peer.is_unspecified());

    const unix_socket second, third;
    CHECK(second.connects(path));
    CHECK(third.connects(path));
    f.settle();
    CHECK(f.server->connections() == 2);
}
