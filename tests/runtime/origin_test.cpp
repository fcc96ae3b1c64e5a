#include "runtime/https_client.hpp"

#include <doctest/doctest.h>

using namespace credlet;

TEST_CASE("an origin is taken apart into host, port and base path") {
    struct example {
        const char *url, *host;
        int port;
        const char *base, *header;
    };
    for (const auto& [url, host, port, base, header] : std::initializer_list<example>{
             {"https://sts.eu-west-1.amazonaws.com", "sts.eu-west-1.amazonaws.com", 443, "",
              "sts.eu-west-1.amazonaws.com"},
             {"https://sts.amazonaws.com/", "sts.amazonaws.com", 443, "", "sts.amazonaws.com"},
             {"HTTPS://STS.Example:8443/a/b//", "sts.example", 8443, "/a/b", "sts.example:8443"},
             {"https://10.0.0.1:6443", "10.0.0.1", 6443, "", "10.0.0.1:6443"},
             {"https://[fd00::1]", "fd00::1", 443, "", "[fd00::1]"},
             {"https://[fd00::1]:6443/k", "fd00::1", 6443, "/k", "[fd00::1]:6443"},
             {"https://sts.example.", "sts.example.", 443, "", "sts.example"},
             {"https://a_b-c.x1", "a_b-c.x1", 443, "", "a_b-c.x1"},
             {"https://h:443", "h", 443, "", "h"},
         }) {
        CAPTURE(url);
        const auto parsed = parse_origin(url);
        REQUIRE(parsed.has_value());
        CHECK(parsed->host == host);
        CHECK(parsed->port == port);
        CHECK(parsed->base_path == base);
        CHECK(authority(*parsed) == header);
    }
}

TEST_CASE("an origin that is not plainly https is refused") {
    for (const char* url : {
             "",
             "https",
             "https://",
             "http://sts.amazonaws.com",
             "sts.amazonaws.com",
             "https:///path",
             "https://user@host",
             "https://user:pw@host/",
             "https://host?q",
             "https://host/p?q",
             "https://host#f",
             "https://host:",
             "https://host:0",
             "https://host:65536",
             "https://host:x",
             "https://host:-1",
             "https://host:+1",
             "https://host:80:90",
             "https://ho st",
             "https://host\r\nX: y",
             "https://host/a b",
             "https://host\\evil",
             "https://-..-",
             "https://a..b",
             "https://.a",
             "https://1.2.3",
             "https://1.2.3.256",
             "https://0x7f.1",
             "https://[fd00::1",
             "https://[fd00::1]x",
             "https://[fd00::1]8443",
             "https://[::1%25lo]",
             "https://[1.2.3.4]",
             "https://fd00::1",
             "https://\xc3\xa4.de",
             "https://host/\xc3\xa4",
         }) {
        CAPTURE(url);
        const auto parsed = parse_origin(url);
        REQUIRE(parsed.has_error());
        CHECK(parsed.error().kind == errc::malformed);
        CHECK(parsed.error().message.find("is not a usable URL") != std::string::npos);
    }
    CHECK(parse_origin("https://" + std::string(64, 'a') + ".com").has_error());
    CHECK(parse_origin("https://" + std::string(63, 'a') + ".com").has_value());
}
