#include "daemon/configuration_file.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::app;

namespace {

std::vector<configuration_entry> entries(std::string_view text) {
    auto parsed = parse_configuration(text);
    REQUIRE_MESSAGE(parsed.has_value(), parsed.error().message);
    return std::move(*parsed);
}

std::string refusal(std::string_view text) {
    const auto parsed = parse_configuration(text);
    REQUIRE(parsed.has_error());
    CHECK(parsed.error().kind == errc::malformed);
    return parsed.error().message;
}

} // namespace

TEST_CASE("values are texts in quotes, numbers, words, or lists of them") {
    const auto all = entries("\xef\xbb\xbf# head\r\n\r\n"
                             "a = \"with # and \\\"quotes\\\" and \\\\\" # comment\r\n"
                             "b='C:\\dir'\n"
                             "\tc = -1.5e3\n"
                             "d-e_F=true#comment\n"
                             "list = [ \"x\" , 'y',2, ]\n"
                             "empty = \"\"\n"
                             "none = []");
    REQUIRE(all.size() == 7);
    CHECK(all[0].key == "a");
    CHECK(all[0].line == 3);
    CHECK(all[0].values == std::vector<std::string>{"with # and \"quotes\" and \\"});
    CHECK(all[1].values == std::vector<std::string>{"C:\\dir"});
    CHECK(all[2].values == std::vector<std::string>{"-1.5e3"});
    CHECK(all[3].key == "d-e_F");
    CHECK(all[3].values == std::vector<std::string>{"true"});
    CHECK(all[4].values == std::vector<std::string>{"x", "y", "2"});
    CHECK(all[5].values == std::vector<std::string>{""});
    CHECK(all[6].values.empty());
    CHECK(entries("").empty());
}

TEST_CASE("a line that is not understood is refused by its number") {
    const char* bad[] = {"a",       "a =",         "= 1",       "a = \"x",   "a = 'x",      "a = \"\\u0041\"",
                         "a = [1",  "a = [1 2]",   "a = [,]",   "a = 1 2",   "a = \"x\" y", "[table]",
                         "a.b = 1", "a = {x = 1}", "a = \"x\\", "a = 1\x01", "\"a\" = 1",   "a = [[1]]"};
    for (const auto* line : bad) {
        CAPTURE(line);
        CHECK(refusal("x = 1\n" + std::string(line)).starts_with("line 2: "));
    }
    CHECK(refusal("a = \"\xff\"") == "not UTF-8 text");
}

TEST_CASE("a setting that stands twice is refused") {
    CHECK(refusal("a = 1\nb = 2\na = 3") == "line 3: 'a' stands on line 1 already");
}
