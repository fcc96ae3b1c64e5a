#include "metadata/imds_session.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::metadata;
using namespace std::chrono_literals;

namespace {

const imds_sessions::key some_key{1, 2, 3};
constexpr boot_time now{1234567890123ns};
constexpr std::string_view usual_uid = "64b5aa36-8dbe-4a3c-ab12-8e8c356e23e4";

} // namespace

TEST_CASE("a session token has room in the AWS C SDK: 64 characters") {
    imds_sessions sessions(some_key);
    CHECK(sessions.issue(usual_uid, true, now + imds_sessions::max_ttl).size() <= 64);
}

TEST_CASE("a session token carries its pod, and how the pod proved itself") {
    imds_sessions sessions(some_key);
    for (const std::string_view uid :
         {usual_uid, std::string_view("64B5AA36-8dbe-4a3c-ab12-8e8c356e23e4"), std::string_view("shop/web-0"),
          std::string_view("64b5aa3608dbe-4a3c-ab12-8e8c356e23e4"), std::string_view("")})
        for (const bool by_token : {false, true}) {
            const auto token = sessions.issue(uid, by_token, now + 60s);
            const auto session = sessions.check(token, now);
            REQUIRE(session);
            CHECK(session->pod_uid == uid);
            CHECK(session->by_token == by_token);
        }
}

TEST_CASE("a session token is good for its time, less a second at most") {
    imds_sessions sessions(some_key);
    const auto token = sessions.issue(usual_uid, false, now + 60s);
    CHECK(sessions.check(token, now + 59s));
    CHECK_FALSE(sessions.check(token, now + 60s));
    CHECK(sessions.check(sessions.issue(usual_uid, false, now + 1s), now));
}

TEST_CASE("T14: a session token that was altered anywhere, cut, or made with another key is none") {
    imds_sessions sessions(some_key);
    imds_sessions others({4, 5, 6});
    const auto token = sessions.issue(usual_uid, false, now + 60s);
    CHECK_FALSE(others.check(token, now));
    for (std::size_t i = 0; i < token.size(); ++i) {
        auto altered = token;
        altered[i] = altered[i] == 'A' ? 'B' : 'A';
        CHECK_FALSE(sessions.check(altered, now));
        CHECK_FALSE(sessions.check(std::string_view(token).substr(0, i), now));
    }
    CHECK_FALSE(sessions.check(token + "A", now));
    CHECK_FALSE(sessions.check(token + "AAAA", now));
    CHECK(sessions.check(token, now));
}
