#include "runtime/https_response_parser.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace credlet;

namespace {

result<void> feed(https_response_parser& parser, std::string_view bytes) {
    while (!bytes.empty()) {
        const auto room = parser.space();
        const auto n = std::min(room.size(), bytes.size());
        std::ranges::copy(bytes.substr(0, n), room.begin());
        bytes.remove_prefix(n);
        if (auto parsed = parser.received(n); parsed.has_error())
            return parsed;
    }
    return {};
}

constexpr std::string_view with_length = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
constexpr std::string_view chunked =
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
    "1;x=\"y\"\r\na\r\n002\r\nbc\r\n0\r\nT: v\r\n\r\n";

} // namespace

TEST_CASE("an answer means the same however its bytes are divided among reads") {
    for (const auto answer : {with_length, chunked}) {
        for (std::size_t cut = 0; cut <= answer.size(); ++cut) {
            CAPTURE(cut);
            https_response_parser parser({.max_body = 3, .answers_head = false});
            REQUIRE(feed(parser, answer.substr(0, cut)).has_value());
            CHECK(parser.complete() == (cut == answer.size()));
            REQUIRE(feed(parser, answer.substr(cut)).has_value());
            REQUIRE(parser.complete());
            CHECK(parser.reusable());
            CHECK(parser.take_head().status == 200);
            CHECK(parser.take_body().reveal() == "abc");
        }
        https_response_parser parser({.max_body = 3, .answers_head = false});
        for (std::size_t i = 0; i < answer.size(); ++i)
            REQUIRE(feed(parser, answer.substr(i, 1)).has_value());
        CHECK(parser.complete());
        CHECK(parser.take_body().reveal() == "abc");
    }
}

TEST_CASE("F6: an end before the answer is whole is a lost connection at any byte") {
    for (const auto answer : {with_length, chunked}) {
        for (std::size_t cut = 0; cut < answer.size(); ++cut) {
            CAPTURE(cut);
            https_response_parser parser({.max_body = 3, .answers_head = false});
            REQUIRE(feed(parser, answer.substr(0, cut)).has_value());
            CHECK(parser.started() == (cut > 0));
            const auto ended = parser.closed();
            REQUIRE(ended.has_error());
            CHECK(ended.error().kind == errc::connection_lost);
        }
    }
}

TEST_CASE("an answer that lasts until the connection closes is complete then, and not reusable") {
    https_response_parser parser({.max_body = 3, .answers_head = false});
    REQUIRE(feed(parser, "HTTP/1.1 200 OK\r\n\r\nabc").has_value());
    CHECK_FALSE(parser.complete());
    CHECK(parser.closed().has_value());
    CHECK(parser.complete());
    CHECK_FALSE(parser.reusable());
    CHECK(parser.take_body().reveal() == "abc");
}

TEST_CASE("T33: a head of exactly its bound is taken, one byte more is not") {
    const auto parse = [](std::size_t size) {
        const std::string before = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: ";
        const std::string after = "\r\n\r\n";
        https_response_parser parser({.max_body = 3, .answers_head = false});
        return feed(parser, before + std::string(size - before.size() - after.size(), 'x') + after);
    };
    CHECK(parse(https_response_parser::max_head).has_value());
    const auto refused = parse(https_response_parser::max_head + 1);
    REQUIRE(refused.has_error());
    CHECK(refused.error().kind == errc::too_large);
}
