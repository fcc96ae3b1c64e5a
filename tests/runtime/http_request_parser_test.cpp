#include "runtime/http_request_parser.hpp"
#include "runtime/http_server.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

using namespace credlet;
using namespace std::string_literals;

namespace {

constexpr std::size_t max_head = std::size_t{24} * 1024;

struct parsed {
    std::unique_ptr<const std::string> bytes; // what the views of head point into
    parse_outcome outcome{};
    request_head head;
};

parsed parse(std::string_view bytes, std::size_t bound = max_head) {
    parsed p;
    p.bytes = std::make_unique<const std::string>(bytes);
    std::size_t scanned = 0;
    p.outcome = parse_request_head(*p.bytes, bound, scanned, p.head);
    return p;
}

// A request with these header lines besides its Host.
std::string with_lines(std::string_view lines) {
    return "GET / HTTP/1.1\r\nHost: a\r\n" + std::string(lines) + "\r\n";
}

struct row {
    std::string bytes;
    request_fault fault;
};

void check_refused(const std::vector<row>& rows) {
    for (const auto& r : rows) {
        CAPTURE(r.bytes);
        const auto p = parse(r.bytes);
        CHECK(p.outcome.state == parse_state::refused);
        CHECK(to_string(p.outcome.fault) == to_string(r.fault));
    }
}

void check_accepted(const std::vector<std::string>& rows) {
    for (const auto& bytes : rows) {
        CAPTURE(bytes);
        const auto p = parse(bytes);
        CHECK(p.outcome.state == parse_state::complete);
        CHECK(p.head.size == bytes.size());
    }
}

} // namespace

TEST_CASE("the parts of a request are views of what was received") {
    const std::string bytes = "GET /v1/credentials/a?x=1?2 HTTP/1.1\r\nHost: 169.254.170.23:80\r\n"
                              "X-Empty:\r\nX-Spaced: \t two  words \t\r\naccept:*/*\r\n\r\nGET /next";
    const auto p = parse(bytes);
    REQUIRE(p.outcome.state == parse_state::complete);
    CHECK(p.head.method == "GET");
    CHECK(p.head.target == "/v1/credentials/a?x=1?2");
    CHECK(p.head.path == "/v1/credentials/a");
    CHECK(p.head.query == "x=1?2");
    CHECK(p.head.host == "169.254.170.23:80");
    CHECK(p.head.keep_alive);
    CHECK(bytes.substr(p.head.size) == "GET /next");
    REQUIRE(p.head.headers().size() == 4);
    CHECK(p.head.headers()[1].name == "X-Empty");
    CHECK(p.head.headers()[1].value.empty());
    CHECK(p.head.headers()[2].value == "two  words");
    CHECK(p.head.method.data() == p.bytes->data());
}

TEST_CASE("headers are found by name whatever their case, and counted") {
    const auto p = parse(with_lines("aUTHorization: one\r\nAuthorization: two\r\nAuthorizatio: three\r\n"));
    REQUIRE(p.outcome.state == parse_state::complete);
    REQUIRE(p.head.find("authorization") != nullptr);
    CHECK(p.head.find("authorization")->value == "one");
    CHECK(p.head.count("authorization") == 2);
    CHECK(p.head.find("x-absent") == nullptr);
    CHECK(p.head.count("x-absent") == 0);
}

TEST_CASE("methods are tokens and keep their case") {
    for (const auto* method : {"GET", "get", "PUT", "HEAD", "M-SEARCH", "x!#$%&'*+-.^_`|~9"}) {
        const auto bytes = std::string(method) + " / HTTP/1.1\r\nHost: a\r\n\r\n";
        const auto p = parse(bytes);
        CHECK(p.outcome.state == parse_state::complete);
        CHECK(p.head.method == method);
    }
}

TEST_CASE("a request line that is not METHOD SP /target SP version CRLF is refused") {
    using enum request_fault;
    check_refused({
        {"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", bad_request_line},
        {" GET / HTTP/1.1\r\nHost: a\r\n\r\n", bad_request_line},
        {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", bad_request_line},
        {"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", bad_request_line},
        {"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", bad_request_line},
        {"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", bad_request_line},
        {"GET / HTTP/1.1x\r\nHost: a\r\n\r\n", bad_request_line},
        {"GET /\r\nHost: a\r\n\r\n", bad_request_line},
        {"GET\r\nHost: a\r\n\r\n", bad_request_line},
        {"GET / \r\n\r\n", bad_request_line},
        {"GET / HTT\r\n\r\n", bad_request_line},
        {"GET / http/1.1\r\nHost: a\r\n\r\n", bad_request_line},
        {"GET / HTTP/1.\r\nHost: a\r\n\r\n", bad_request_line},
        {"GET / HTTP/11\r\nHost: a\r\n\r\n", bad_request_line},
        {"GET / HTTP/1.10\r\nHost: a\r\n\r\n", bad_request_line},
        {"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", bad_request_line},
        {"G\0T / HTTP/1.1\r\nHost: a\r\n\r\n"s, bad_request_line},
        {"/ HTTP/1.1\r\nHost: a\r\n\r\n", bad_request_line},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bad_request_line},
    });
}

TEST_CASE("T2: a target is origin-form, of visible ASCII without a fragment, and is not rewritten") {
    using enum request_fault;
    check_refused({
        {"GET http://169.254.169.254/latest HTTP/1.1\r\nHost: a\r\n\r\n", bad_request_line},
        {"GET a HTTP/1.1\r\nHost: a\r\n\r\n", bad_request_line},
        {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", bad_request_line},
        {"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", bad_request_line},
        {"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", bad_request_line},
        {"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", bad_request_line},
        {"GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", bad_request_line},
        {"GET /a\x7f HTTP/1.1\r\nHost: a\r\n\r\n", bad_request_line},
        {"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", bad_request_line},
        {"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"s, bad_request_line},
        {"GET /a\rb HTTP/1.1\r\nHost: a\r\n\r\n", bad_request_line},
    });
    for (const auto* target : {"/", "//", "/./a/../b", "/%2e%2e/%2F", "/a;b=c", "/a?b#"}) {
        CAPTURE(target);
        const std::string bytes = "GET " + std::string(target) + " HTTP/1.1\r\nHost: a\r\n\r\n";
        const auto p = parse(bytes);
        if (std::string_view(target).find('#') == std::string_view::npos)
            CHECK(p.head.target == target);
        else
            CHECK(p.outcome.fault == bad_request_line);
    }
}

TEST_CASE("versions other than 1.1 and 1.0 are refused as such") {
    check_refused({
        {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", request_fault::bad_version},
        {"GET / HTTP/1.2\r\nHost: a\r\n\r\n", request_fault::bad_version},
        {"GET / HTTP/0.9\r\nHost: a\r\n\r\n", request_fault::bad_version},
    });
    CHECK(status_of(request_fault::bad_version) == 505);
}

TEST_CASE("T16: two headers that frame a body, in any combination, are refused") {
    using enum request_fault;
    check_refused({
        {with_lines("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"), has_body},
        {with_lines("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"), has_body},
        {with_lines("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"), has_body},
        {with_lines("Content-Length: 0\r\nContent-Length: 0\r\n"), has_body},
        {with_lines("Content-Length: 0\r\nContent-Length: 5\r\n"), has_body},
    });
}

TEST_CASE("T16: any Transfer-Encoding is refused, known or not") {
    for (const auto* coding :
         {"chunked", "xchunked", "identity", "chunked, gzip", "gzip, chunked", "", "\tchunked"}) {
        check_refused(
            {{with_lines("Transfer-Encoding: " + std::string(coding) + "\r\n"), request_fault::has_body},
             {with_lines("tRANSFER-eNCODING:" + std::string(coding) + "\r\n"), request_fault::has_body}});
    }
    check_refused({{"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", request_fault::has_body}});
}

TEST_CASE("T16: Content-Length is absent or exactly 0") {
    for (const auto* length :
         {"1", "00", "+0", "-0", "0x0", "0,0", "0, 0", "0 0", "", "10", "18446744073709551616"})
        check_refused(
            {{with_lines("Content-Length: " + std::string(length) + "\r\n"), request_fault::has_body}});
    check_accepted({with_lines("Content-Length: 0\r\n"), with_lines("content-length:0 \r\n")});
}

TEST_CASE("T16: an expectation of a body is refused") {
    check_refused({{with_lines("Expect: 100-continue\r\n"), request_fault::has_body}});
}

TEST_CASE("T16: a line folded into the next is refused") {
    check_refused({
        {with_lines("X-A: b\r\n c\r\n"), request_fault::bad_header},
        {with_lines("X-A: b\r\n\tc\r\n"), request_fault::bad_header},
        {with_lines("X-A:\r\n Transfer-Encoding: chunked\r\n"), request_fault::bad_header},
        {"GET / HTTP/1.1\r\n Host: a\r\n\r\n", request_fault::bad_header},
    });
}

TEST_CASE("T16: a bare LF or CR does not end a line") {
    using enum request_fault;
    check_refused({
        {"GET / HTTP/1.1\nHost: a\n\n", bad_request_line},
        {"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", bad_request_line},
        {"GET / HTTP/1.1\r\nHost: a\nX-A: b\r\n\r\n", bad_header},
        {"GET / HTTP/1.1\r\nHost: a\r\n\nGET /x HTTP/1.1\r\n\r\n", bad_header},
        {"GET / HTTP/1.1\r\nHost: a\n\r\n", bad_header},
        {"GET / HTTP/1.1\rHost: a\r\n\r\n", bad_request_line},
        {with_lines("X-A: b\rX-C: d\r\n"), bad_header},
        {with_lines("X-A: b\r\r\n"), bad_header},
        {with_lines("\rX-A: b\r\n"), bad_header},
        {with_lines("X-A\r: b\r\n"), bad_header},
    });
}

TEST_CASE("T16: white space before the colon and names that are no tokens are refused") {
    for (const auto* line : {"Transfer-Encoding : chunked", "Content-Length\t: 0", "X A: b", ": b", "X-A",
                             "X(A): b", "X\x80: b", "X\"A\": b", "Host;: b", "=: b\x01"})
        check_refused({{with_lines(std::string(line) + "\r\n"), request_fault::bad_header}});
    check_refused({{with_lines("X\0A: b\r\n"s), request_fault::bad_header}});
}

TEST_CASE("T16: control bytes in a value are refused wherever they stand, other bytes are taken") {
    for (unsigned c = 0; c < 256; ++c) {
        if (c == '\r' || c == '\n')
            continue;
        for (const std::size_t at : {0U, 1U, 7U, 8U, 15U, 16U, 20U}) {
            std::string value(21, 'v');
            value[at] = static_cast<char>(c);
            CAPTURE(c);
            CAPTURE(at);
            const auto bytes = with_lines("X-A: a" + value + "a\r\n");
            const bool fine = c == '\t' || (c >= 0x20 && c != 0x7f);
            const auto p = parse(bytes);
            CHECK(p.outcome.state == (fine ? parse_state::complete : parse_state::refused));
            if (fine)
                CHECK(p.head.find("x-a")->value == "a" + value + "a");
            else
                CHECK(p.outcome.fault == request_fault::bad_header);
        }
    }
}

TEST_CASE("T16: HTTP/1.1 needs exactly one Host, HTTP/1.0 at most one") {
    using enum request_fault;
    check_refused({
        {"GET / HTTP/1.1\r\n\r\n", bad_host},
        {"GET / HTTP/1.1\r\nX-Host: a\r\n\r\n", bad_host},
        {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", bad_host},
        {"GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n", bad_host},
        {"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", bad_host},
        {"GET / HTTP/1.1\r\nHost:\r\n\r\n", bad_host},
        {"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", bad_host},
        {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", bad_host},
        {"GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", bad_host},
        {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", bad_host},
        {"GET / HTTP/1.1\r\nHost: a\x80\r\n\r\n", bad_host},
    });
    check_accepted({"GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
                    "GET / HTTP/1.1\r\nHost: [fd00:ec2::23]:80\r\n\r\n",
                    "GET / HTTP/1.1\r\nHost: under_score.example.\r\n\r\n"});
}

TEST_CASE("a connection is kept by version and Connection header") {
    const auto kept = [](std::string_view bytes) {
        const auto p = parse(bytes);
        REQUIRE(p.outcome.state == parse_state::complete);
        return p.head.keep_alive;
    };
    CHECK(kept(with_lines("")));
    CHECK(kept(with_lines("Connection: keep-alive\r\n")));
    CHECK(kept(with_lines("Connection: closed, x-close, \r\n")));
    CHECK_FALSE(kept(with_lines("Connection: close\r\n")));
    CHECK_FALSE(kept(with_lines("cONNECTION: Keep-Alive ,\tCLOSE\r\n")));
    CHECK_FALSE(kept(with_lines("Connection: keep-alive\r\nConnection: close\r\n")));
    CHECK_FALSE(kept(with_lines("Connection: close\r\nConnection: keep-alive\r\n")));
    CHECK_FALSE(kept("GET / HTTP/1.0\r\n\r\n"));
    CHECK_FALSE(kept("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
}

TEST_CASE("T26: as many headers as fit the bound are taken, one more is not") {
    const auto with_headers = [](std::size_t n) {
        std::string lines;
        for (std::size_t i = 1; i < n; ++i) // Host is one
            lines += "X-" + std::to_string(i) + ": a\r\n";
        return with_lines(lines);
    };
    const auto most = parse(with_headers(request_head::max_headers));
    CHECK(most.outcome.state == parse_state::complete);
    check_refused({{with_headers(request_head::max_headers + 1), request_fault::too_many_headers}});
    CHECK(status_of(request_fault::too_many_headers) == 431);
}

TEST_CASE(
    "T26: a head of exactly the bound is taken, one of a byte more is not, whether or not its end is there") {
    for (const std::size_t bound : {std::size_t{100}, std::size_t{2048}, max_head}) {
        const auto of_size = [](std::size_t size) {
            return with_lines("X-A: " + std::string(size - with_lines("X-A: \r\n").size(), 'a') + "\r\n");
        };
        const auto exact = of_size(bound);
        REQUIRE(exact.size() == bound);
        CHECK(parse(exact, bound).outcome.state == parse_state::complete);
        CHECK(parse(exact + "GET", bound).outcome.state == parse_state::complete);
        const auto over = of_size(bound + 1);
        for (const auto& bytes : {over, over.substr(0, bound)}) {
            const auto p = parse(bytes, bound);
            CHECK(p.outcome.state == parse_state::refused);
            CHECK(p.outcome.fault == request_fault::head_too_large);
        }
        CHECK(parse(over.substr(0, bound - 1), bound).outcome.state == parse_state::need_more);
    }
    CHECK(status_of(request_fault::head_too_large) == 431);
}

TEST_CASE("a head that comes byte by byte is the same head, and no byte is looked at twice") {
    const std::string bytes = with_lines("X-A: b\r\nAuthorization: abc\r\n");
    request_head head;
    std::size_t scanned = 0;
    for (std::size_t n = 0; n < bytes.size(); ++n) {
        CAPTURE(n);
        const std::size_t before = scanned;
        const auto outcome =
            parse_request_head(std::string_view(bytes).substr(0, n), max_head, scanned, head);
        CHECK(outcome.state == parse_state::need_more);
        CHECK(scanned == n);
        CHECK(scanned >= before);
    }
    CHECK(parse_request_head(bytes, max_head, scanned, head).state == parse_state::complete);
    CHECK(head.size == bytes.size());
    CHECK(head.find("authorization")->value == "abc");
}

TEST_CASE("what an earlier head left does not show in the next") {
    request_head head;
    std::size_t scanned = 0;
    const auto first = with_lines("Connection: close\r\nX-A: b\r\n");
    REQUIRE(parse_request_head(first, max_head, scanned, head).state == parse_state::complete);
    scanned = 0;
    const std::string second = "GET /two HTTP/1.1\r\nHost: b\r\n\r\n";
    REQUIRE(parse_request_head(second, max_head, scanned, head).state == parse_state::complete);
    CHECK(head.keep_alive);
    CHECK(head.query.empty());
    CHECK(head.headers().size() == 1);
    CHECK(head.find("x-a") == nullptr);
}

TEST_CASE("every fault has a name and a status") {
    using enum request_fault;
    for (const auto fault :
         {bad_request_line, bad_header, bad_host, has_body, bad_version, too_many_headers, head_too_large}) {
        CHECK(to_string(fault) != "unknown");
        CHECK(status_of(fault) >= 400);
    }
}

TEST_CASE("an owned request reads the same after its buffer has gone") {
    auto bytes = with_lines("X-A: b\r\nX-Empty:\r\n");
    bytes.replace(4, 1, "/p?q=1");
    request_head head;
    std::size_t scanned = 0;
    REQUIRE(parse_request_head(bytes, max_head, scanned, head).state == parse_state::complete);
    const owned_request owned(head);
    std::fill(bytes.begin(), bytes.end(), '!');
    CHECK(owned.head.method == "GET");
    CHECK(owned.head.target == "/p?q=1");
    CHECK(owned.head.path == "/p");
    CHECK(owned.head.query == "q=1");
    CHECK(owned.head.host == "a");
    CHECK(owned.head.keep_alive);
    REQUIRE(owned.head.find("x-a") != nullptr);
    CHECK(owned.head.find("x-a")->value == "b");
    CHECK(owned.head.find("x-empty")->value.empty());
}
