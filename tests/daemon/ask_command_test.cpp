#include "daemon/ask_command.hpp"

#include <doctest/doctest.h>

#include <array>
#include <sstream>
#include <string>

using namespace credlet;
using namespace credlet::app;

TEST_CASE("the URI of a container is an address, perhaps a port, and a path") {
    const auto v4 = parse_container_uri("http://169.254.170.23/v1/credentials");
    REQUIRE(v4.has_value());
    CHECK(v4->where.address().to_string() == "169.254.170.23");
    CHECK(v4->where.port() == 80);
    CHECK(v4->host == "169.254.170.23");
    CHECK(v4->target == "/v1/credentials");

    const auto v6 = parse_container_uri("http://[fd00:ec2::23]:8080/v1/credentials/name?x");
    REQUIRE(v6.has_value());
    CHECK(v6->where.address().to_string() == "fd00:ec2::23");
    CHECK(v6->where.port() == 8080);
    CHECK(v6->host == "[fd00:ec2::23]:8080");
    CHECK(v6->target == "/v1/credentials/name?x");

    for (const char* wrong :
         {"", "169.254.170.23", "https://169.254.170.23/", "http://169.254.170.23", "http:///v1",
          "http://name/v1", "http://fd00:ec2::23/v1", "http://[169.254.170.23]/", "http://127.0.0.1:0/",
          "http://127.0.0.1:65536/", "http://127.0.0.1:/", "http://127.0.0.1:8o/", "http://127.0.0.1/a b",
          "http://127.0.0.1/\r\nX: y", "http://user@127.0.0.1/", "http://[]/", "http://[::1/"})
        CHECK_MESSAGE(parse_container_uri(wrong).has_error(), wrong);
}

namespace {

constexpr auto given = R"({"Code":"Success","AccessKeyId":"ASIA","SecretAccessKey":"secret","Token":"token",
    "RoleArn":"arn:aws:iam::111122223333:role/app","Expiration":"2026-01-01T00:00:00Z"})";
constexpr auto no_role = R"({"code":"NoRoleAssociated","message":"no annotation"})";

} // namespace

TEST_CASE("credentials are told without their secrets") {
    for (const auto expected : {expected_answer::credentials, expected_answer::identity}) {
        const auto j = judge(200, given, expected);
        CHECK(j.as_expected);
        CHECK(j.text == "credentials of arn:aws:iam::111122223333:role/app until 2026-01-01T00:00:00Z");
    }
    CHECK_FALSE(judge(200, "{}", expected_answer::identity).as_expected);
    CHECK_FALSE(judge(200, "<html>", expected_answer::identity).as_expected);
}

TEST_CASE("that there is no role proves that the daemon knows who asks") {
    const auto j = judge(403, no_role, expected_answer::identity);
    CHECK(j.as_expected);
    CHECK(j.text == "403 NoRoleAssociated: no annotation");
    CHECK_FALSE(judge(403, no_role, expected_answer::credentials).as_expected);
    CHECK_FALSE(judge(403, R"({"code":"AccessDenied","message":"of no pod"})", expected_answer::identity)
                    .as_expected);
    CHECK_FALSE(judge(404, "not found", expected_answer::identity).as_expected);
}

TEST_CASE("only what may pass is asked again") {
    for (const auto& [status, again] : std::array<std::pair<unsigned, bool>, 7>{
             {{200, false}, {400, false}, {403, false}, {404, false}, {429, true}, {500, true}, {503, true}}})
        CHECK(judge(status, R"({"code":"X","message":"y"})", expected_answer::credentials).may_change ==
              again);
}

TEST_CASE("nobody there is another exit code than a refusal") {
    ask_options o;
    o.uri = *parse_container_uri("http://127.0.0.1:1/v1/credentials");
    o.patience = {};
    std::ostringstream out, err;
    CHECK(run_ask(o, out, err) == 2);
    CHECK(out.str().empty());
    CHECK(err.str().starts_with("credlet ask: no answer from 127.0.0.1:1: "));

    o.token_file = "/nonexistent/token";
    CHECK(run_ask(o, out, err) == 2);
    CHECK(err.str().find("/nonexistent/token") != std::string::npos);
}
