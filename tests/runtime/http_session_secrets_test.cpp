// What is left in memory of a request that has been answered. The sanitizers watch who reads which memory, so
// their builds leave this out.

#if !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)

#include "tests/support/runtime_http_server_fixture.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <fstream>
#include <sstream>

using namespace credlet;
using namespace credlet::test;

namespace {

constexpr std::size_t token_size = 200;

// Never in memory in one piece but where this puts it.
void append_token(secret_string& to) {
    for (std::size_t i = 0; i < token_size; ++i)
        to.push_back(static_cast<char>('A' + (i * i + 7 * i) % 57));
}

// How often the bytes stand in this process's writable memory.
std::size_t copies_of(const secret_string& bytes) {
    std::size_t found = 0;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        std::istringstream fields(line);
        std::uintptr_t from = 0;
        std::uintptr_t to = 0;
        char dash = 0;
        std::string rights;
        fields >> std::hex >> from >> dash >> to >> rights;
        if (rights != "rw-p")
            continue;
        const char* at = reinterpret_cast<const char*>(from);      // NOLINT
        const char* const end = reinterpret_cast<const char*>(to); // NOLINT
        while (true) {
            const void* const hit =
                ::memmem(at, static_cast<std::size_t>(end - at), bytes.reveal().data(), bytes.size());
            if (hit == nullptr)
                break;
            ++found;
            at = static_cast<const char*>(hit) + 1;
        }
    }
    return found;
}

} // namespace

TEST_CASE("a connection at rest holds nothing of the requests before, nor one that lingers") {
    http_server_fixture f;
    secret_string token;
    append_token(token);
    REQUIRE(copies_of(token) == 1);
    for (const std::string_view before : {"", "GET /now/a HTTP/1.1\r\nHost: a\r\n\r\n"}) {
        for (const std::string_view path : {"/now/x", "*"}) {
            CAPTURE(before);
            CAPTURE(path);
            auto peer = f.connect();
            {
                secret_string request(before);
                request.append("GET ");
                request.append(path);
                request.append(" HTTP/1.1\r\nHost: a\r\nAuthorization: ");
                append_token(request);
                request.append("\r\n\r\n");
                peer.send(request.reveal());
            }
            f.settle();
            CHECK(is_status(peer.receive(), before.empty() && path == "*" ? 400 : 200));
            CHECK(f.server->connections() >= 1);
            CHECK(copies_of(token) == 1);
        }
    }
}

#endif
