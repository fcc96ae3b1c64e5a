#include "runtime/https_client.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace std::chrono_literals;

namespace {

// RFC 9110 section 5.6.7 gives this moment in all three forms.
constexpr wall_time example{std::chrono::seconds(784111777)};

http_response with_retry_after(std::string value) {
    http_response response;
    response.headers.emplace_back("retry-AFTER", std::move(value));
    return response;
}

} // namespace

TEST_CASE("a date is read in each form of RFC 9110") {
    CHECK(http_date("Sun, 06 Nov 1994 08:49:37 GMT") == example);
    CHECK(http_date("Sunday, 06-Nov-94 08:49:37 GMT") == example);
    CHECK(http_date("Sun Nov  6 08:49:37 1994") == example);
    CHECK(http_date("Wed Nov 16 08:49:37 1994") == example + 240h);
    CHECK(http_date("Thu, 29 Feb 2024 23:59:60 GMT") == wall_time(std::chrono::seconds(1709251200)));
    CHECK(http_date("Tuesday, 01-Jan-30 00:00:00 GMT") == wall_time(std::chrono::seconds(1893456000)));
}

TEST_CASE("what is no date is none") {
    for (const char* text : {"",
                             "Sun",
                             "Sun,",
                             "Sun, ",
                             "Sun, 06 Nov 1994 08:49:37",
                             "Sun, 06 Nov 1994 08:49:37 UTC",
                             "Sun, 06 Nov 1994 08:49:37 GMT ",
                             "Sun, 6 Nov 1994 08:49:37 GMT",
                             "Sun, 31 Nov 1994 08:49:37 GMT",
                             "Sun, 29 Feb 2023 08:49:37 GMT",
                             "Sun, 06 nov 1994 08:49:37 GMT",
                             "Sun, 06 Nov 1994 24:49:37 GMT",
                             "Sun, 06 Nov 1994 08:60:37 GMT",
                             "Sun, 06 Nov 1994 08:49:61 GMT",
                             "Sun, 06 Nov 94 08:49:37 GMT",
                             "Son, 06 Nov 1994 08:49:37 GMT",
                             "Sun, 06 Nov -994 08:49:37 GMT",
                             "Sun, 06-Nov 1994 08:49:37 GMT",
                             "Sun Nov 6 08:49:37 1994",
                             "Sun Nov  6 08:49:37 94",
                             "Sun Nov",
                             "784111777"}) {
        CAPTURE(text);
        CHECK_FALSE(http_date(text));
    }
}

TEST_CASE("Retry-After is seconds or a date, never negative, and absent when it is nonsense") {
    CHECK(retry_after(with_retry_after("0"), example) == 0ms);
    CHECK(retry_after(with_retry_after("120"), example) == 120s);
    CHECK(retry_after(with_retry_after("Sun, 06 Nov 1994 08:49:40 GMT"), example) == 3s);
    CHECK(retry_after(with_retry_after("Sun, 06 Nov 1994 08:49:30 GMT"), example) == 0ms);
    for (const char* nonsense : {"", "-1", "1.5", "1s", "soon", "99999999999999999999"})
        CHECK_FALSE(retry_after(with_retry_after(nonsense), example));
    CHECK_FALSE(retry_after(http_response(), example));
}
