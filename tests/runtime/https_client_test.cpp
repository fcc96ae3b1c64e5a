// The client against a well-behaved server: exchanges, reuse, the bound of the pool, names and addresses.

#include "tests/support/runtime_https_fixture.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::test;
using namespace std::chrono_literals;

TEST_CASE_FIXTURE(https_fixture, "an exchange brings status, headers and body") {
    tls_server server(trusted.issue(), [](tls_peer& peer) {
        peer.answer_all("HTTP/1.1 201 Created\r\nX-Request-Id: 7\r\nContent-Length: 5\r\n\r\nhello");
    });
    start(server);
    const auto response = exchange();
    REQUIRE_MESSAGE(response.has_value(), failure_of(response).message);
    CHECK(response->status == 201);
    CHECK(response->header("x-request-id") == "7");
    CHECK(response->body.reveal() == "hello");
}
