#include "daemon/admin_address.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::app;

namespace {

admin_address tcp(const char* address, std::uint16_t port) {
    return asio::ip::tcp::endpoint(asio::ip::make_address(address), port);
}

} // namespace

TEST_CASE("an admin address is an address with a port, or a socket's path") {
    for (const auto& [text, address] : std::vector<std::pair<std::string, admin_address>>{
             {"127.0.0.1:9797", tcp("127.0.0.1", 9797)},
             {"[::1]:0", tcp("::1", 0)},
             {"unix:/run/credlet/admin.sock", unix_path{"/run/credlet/admin.sock"}},
             {"unix:/" + std::string(105, 'x'), unix_path{"/" + std::string(105, 'x')}},
         }) {
        const auto parsed = parse_admin_address(text);
        REQUIRE_MESSAGE(parsed.has_value(), parsed.error().message);
        CHECK(*parsed == address);
        CHECK(text_of(*parsed) == text);
    }
    for (const auto& text :
         {std::string("unix:"), std::string("unix:run/admin"), std::string("unix:/run/"),
          std::string("unix:/"), "unix:/" + std::string(106, 'x'), std::string("unix:/a\0b", 9),
          std::string("/run/admin.sock"), std::string("unix"), std::string("localhost:80")})
        CHECK_MESSAGE(parse_admin_address(text).has_error(), text);
    CHECK(parse_admin_address("x").error().message.find("unix:/PATH") != std::string::npos);
}

TEST_CASE("who listens on every address is reached on loopback") {
    CHECK(reachable(tcp("0.0.0.0", 1)) == tcp("127.0.0.1", 1));
    CHECK(reachable(tcp("::", 1)) == tcp("::1", 1));
    CHECK(reachable(tcp("10.0.0.1", 1)) == tcp("10.0.0.1", 1));
    CHECK(reachable(unix_path{"/a"}) == admin_address(unix_path{"/a"}));
    CHECK(endpoint_of(unix_path{"/a"}).protocol().family() == AF_UNIX);
    CHECK(endpoint_of(tcp("::1", 1)).protocol().family() == AF_INET6);
}
