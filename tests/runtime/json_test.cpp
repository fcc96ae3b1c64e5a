#include "runtime/json.hpp"

#include <doctest/doctest.h>

using namespace credlet;

namespace {

std::string escaped(std::string_view text) {
    std::string out;
    append_json_string(out, text);
    return out;
}

} // namespace

TEST_CASE("a document is one whole JSON value or an error") {
    CHECK(json_document::parse(R"({"a":1})", 100).has_value());
    for (const std::string_view text : {"", " ", "{", R"({"a":1}})", R"({"a":1}{"b":2})", R"({"a":tru})",
                                        "nul", "'a'", R"({"a" 1})", "\xff\xfe"}) {
        const auto parsed = json_document::parse(text, 100);
        REQUIRE_MESSAGE(parsed.has_error(), text);
        CHECK(parsed.error().kind == errc::malformed);
    }
}

TEST_CASE("a document over its bound is refused, one at the bound is taken") {
    const std::string text = R"({"a":"0123456789"})";
    CHECK(json_document::parse(text, text.size()).has_value());
    const auto over = json_document::parse(text, text.size() - 1);
    REQUIRE(over.has_error());
    CHECK(over.error().kind == errc::too_large);
}

TEST_CASE("nesting is bounded") {
    const std::string deep = std::string(65, '[') + std::string(65, ']');
    CHECK(json_document::parse(deep, 1000).has_error());
    const std::string fine = std::string(60, '[') + std::string(60, ']');
    CHECK(json_document::parse(fine, 1000).has_value());
}

TEST_CASE("members of a missing name or another type are none") {
    const auto document = json_document::parse(R"({"s":"x","i":7,"b":true,"n":null,"o":{"s":"y"}})", 1000);
    REQUIRE(document.has_value());
    const auto root = document->root();
    CHECK(json_string(root, "s") == "x");
    CHECK(json_integer(root, "i") == 7);
    CHECK(json_bool(root, "b") == true);
    CHECK_FALSE(json_string(root, "i"));
    CHECK_FALSE(json_string(root, "none"));
    CHECK_FALSE(json_integer(root, "s"));
    CHECK_FALSE(json_bool(root, "i"));
    CHECK_FALSE(json_member(root, "n"));
    REQUIRE(json_member(root, "o"));
    CHECK(json_string(*json_member(root, "o"), "s") == "y");
    CHECK_FALSE(json_string(*json_member(root, "s"), "s"));
}

TEST_CASE("a document survives being moved") {
    auto first = json_document::parse(R"({"a":"text"})", 100);
    REQUIRE(first.has_value());
    json_document second = std::move(*first);
    CHECK(json_string(second.root(), "a") == "text");
    auto third = json_document::parse(R"({"b":"other"})", 100);
    REQUIRE(third.has_value());
    second = std::move(*third);
    CHECK(json_string(second.root(), "b") == "other");
}

TEST_CASE("strings are written so that every parser reads them back") {
    CHECK(escaped("plain") == "\"plain\"");
    CHECK(escaped("a\"b\\c\n\r\t\x01\x7f") == R"("a\"b\\c\n\r\t\u0001\u007f")");
    CHECK(escaped("\xc3\xa9 \xf0\x9f\x98\x80") == "\"\xc3\xa9 \xf0\x9f\x98\x80\"");
    CHECK(escaped("\xff\xc3") == "\"\xef\xbf\xbd\xef\xbf\xbd\"");
    CHECK(escaped("\xc0\xaf") == "\"\xef\xbf\xbd\xef\xbf\xbd\"");
    CHECK(escaped("\xed\xa0\x80") == "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");

    std::string every;
    for (int c = 0; c < 256; ++c)
        every.push_back(static_cast<char>(c));
    const std::string text = "{\"k\":" + escaped(every) + "}";
    const auto back = json_document::parse(text, 10000);
    REQUIRE(back.has_value());
    REQUIRE(json_string(back->root(), "k"));
    CHECK(json_string(back->root(), "k")->substr(0, 128) == every.substr(0, 128));
}
