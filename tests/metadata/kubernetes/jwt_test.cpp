#include "metadata/kubernetes/base64url.hpp"
#include "metadata/kubernetes/jwt.hpp"
#include "tests/support/manual_clock.hpp"
#include "tests/support/token_forge.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::metadata::kubernetes;
using namespace std::chrono_literals;

namespace {

constexpr std::int64_t now_seconds = 1'760'000'000;
const wall_time now{std::chrono::seconds(now_seconds)};

std::string claims_with(
    const std::string& times, const std::string& aud = R"("sts.amazonaws.com")",
    const std::string& sub = "system:serviceaccount:prod:app",
    const std::string& kubernetes =
        R"({"namespace":"prod","serviceaccount":{"name":"app","uid":"sa-1"},"pod":{"name":"app-0","uid":"p-1"}})") {
    return R"({"iss":"https://issuer","aud":)" + aud + R"(,"sub":")" + sub + "\"" + times +
           R"(,"kubernetes.io":)" + kubernetes + "}";
}

std::string at(const char* name, std::int64_t seconds) {
    return std::string(",\"") + name + "\":" + std::to_string(seconds);
}

result<service_account_claims> claims_of(const std::string& text) {
    const auto document = json_document::parse(text, max_jwt);
    REQUIRE(document.has_value());
    return read_claims(*document);
}

result<void> judge(const std::string& text) {
    const auto claims = claims_of(text);
    if (claims.has_error())
        return claims.error();
    return check_claims(*claims, {"https://issuer", {"sts.amazonaws.com"}}, now);
}

std::string jwt(const std::string& header, const std::string& claims = "{}",
                const std::string& signature = "sig") {
    return test::base64url(header) + "." + test::base64url(claims) + "." + test::base64url(signature);
}

const std::string good_header = R"({"alg":"RS256","kid":"k"})";

} // namespace

TEST_CASE("base64url is taken in its one spelling only") {
    const auto decoded = [](std::string_view text) {
        const auto bytes = decode_base64url(text);
        REQUIRE(bytes.has_value());
        return std::string(as_text(*bytes));
    };
    CHECK(decoded("").empty());
    CHECK(decoded("Zg") == "f");
    CHECK(decoded("Zm8") == "fo");
    CHECK(decoded("Zm9v") == "foo");
    CHECK(decoded("-_8") == "\xfb\xff");
    for (const auto* bad :
         {"Z", "Zg==", "Zg=", "Zm9vZ", "Zm 9v", "Zm9v\n", "+/8", "Zh", "Zm9", "Zm9v.", "\xff\xff\xff\xff"}) {
        CAPTURE(bad);
        CHECK_FALSE(decode_base64url(bad).has_value());
    }
}

TEST_CASE("T22: exp is strict; nbf and iat may lie a minute ahead; all are whole seconds") {
    const auto exp = at("exp", now_seconds + 600);
    CHECK(judge(claims_with(exp)).has_value());
    CHECK(judge(claims_with(at("exp", now_seconds + 1))).has_value());
    CHECK(judge(claims_with(at("exp", now_seconds))).error().kind == errc::untrusted);
    CHECK(judge(claims_with(at("exp", now_seconds - 1))).error().kind == errc::untrusted);
    for (const auto* name : {"nbf", "iat"}) {
        CAPTURE(name);
        CHECK(judge(claims_with(exp + at(name, now_seconds + 60))).has_value());
        CHECK(judge(claims_with(exp + at(name, now_seconds + 61))).error().kind == errc::untrusted);
    }
    for (const auto* name : {"exp", "nbf", "iat"}) {
        for (const auto* value :
             {"1760000600.5", "\"1760000600\"", "null", "true", "-1", "0", "1e30", "9223372036854775807",
              "18446744073709551615", "253402300800", "[1760000600]"}) {
            CAPTURE(name);
            CAPTURE(value);
            const auto times = std::string(name) == "exp" ? std::string() : exp;
            CHECK(judge(claims_with(times + ",\"" + name + "\":" + value)).has_error());
        }
    }
    CHECK(judge(claims_with("")).has_error()); // exp is not optional
}

TEST_CASE("T22: aud is a string or an array of strings, and one of them must be ours") {
    const auto exp = at("exp", now_seconds + 600);
    CHECK(judge(claims_with(exp, R"(["x","sts.amazonaws.com"])")).has_value());
    for (const auto* aud :
         {R"("sts.amazonaws.com.evil")", R"("")", "[]", R"(["x"])", R"(["sts.amazonaws.com",7])", "7", "null",
          R"({"sts.amazonaws.com":1})", R"([["sts.amazonaws.com"]])", R"("STS.amazonaws.com")"}) {
        CAPTURE(aud);
        CHECK(judge(claims_with(exp, aud)).has_error());
    }
    std::string many = "[\"sts.amazonaws.com\"";
    for (int i = 1; i < 64; ++i)
        many += ",\"a\"";
    CHECK(judge(claims_with(exp, many + "]")).has_value());
    CHECK(judge(claims_with(exp, many + ",\"a\"]")).has_error());
}

TEST_CASE("T22: sub must be the very service account of the kubernetes.io claims, which must name a pod") {
    const auto exp = at("exp", now_seconds + 600);
    const std::string aud = R"("sts.amazonaws.com")";
    const std::string sub = "system:serviceaccount:prod:app";
    for (const auto* wrong :
         {"system:serviceaccount:prod:admin", "system:serviceaccount:kube-system:app", "app", "",
          "system:serviceaccount:prod:app:x", "system:node:n1", "SYSTEM:serviceaccount:prod:app"}) {
        CAPTURE(wrong);
        CHECK(judge(claims_with(exp, aud, wrong)).error().kind == errc::untrusted);
    }
    const std::string account = R"("serviceaccount":{"name":"app","uid":"sa-1"})";
    const std::string pod = R"("pod":{"name":"app-0","uid":"p-1"})";
    CHECK(judge(claims_with(exp, aud, sub,
                            R"({"namespace":"prod",)" + account + "," + pod +
                                R"(,"node":{"name":"n1","uid":"n"}})"))
              .has_value());
    for (const auto& kubernetes : {
             std::string("{}"),
             std::string("null"),
             std::string("[]"),
             std::string("\"x\""),
             R"({"namespace":"prod",)" + account + "}", // not bound to a pod
             R"({"namespace":"prod",)" + account + R"(,"secret":{"name":"s","uid":"u"}})",
             R"({"namespace":"prod",)" + account + R"(,"pod":{"name":"app-0"}})",
             R"({"namespace":"prod",)" + account + R"(,"pod":{"name":"app-0","uid":""}})",
             R"({"namespace":"prod",)" + account + R"(,"pod":{"uid":"p-1"}})",
             R"({"namespace":"prod",)" + account + R"(,"pod":"app-0"})",
             R"({"namespace":"prod",)" + pod + "}",
             "{" + account + "," + pod + "}",
             R"({"namespace":"prod","serviceaccount":{"name":"app"},)" + pod + "}",
             R"({"namespace":"Prod","serviceaccount":{"name":"app","uid":"u"},)" + pod + "}",
             R"({"namespace":"prod",)" + account + "," + pod + R"(,"node":{"name":"n1"}})",
         }) {
        CAPTURE(kubernetes);
        CHECK(judge(claims_with(exp, aud, sub, kubernetes)).has_error());
    }
    // A name with a colon could shift the border between namespace and name.
    CHECK(judge(claims_with(exp, aud, "system:serviceaccount:prod:a:b",
                            R"({"namespace":"prod:a","serviceaccount":{"name":"b","uid":"u"},)" + pod + "}"))
              .has_error());
}

TEST_CASE("T22: iss is compared to the letter; without an issuer to compare with, nothing holds") {
    const auto claims = claims_of(claims_with(at("exp", now_seconds + 600)));
    REQUIRE(claims.has_value());
    for (const auto* issuer :
         {"https://issuer/", "https://Issuer", "https://issuer.evil", "http://issuer", ""})
        CHECK(check_claims(*claims, {issuer, {"sts.amazonaws.com"}}, now).has_error());
    CHECK(check_claims(*claims, {"https://issuer", {}}, now).has_error());
}

TEST_CASE("T21: headers that must be refused are refused before any key is looked at") {
    for (const auto* header : {
             R"({"alg":"none","kid":"k"})",
             R"({"alg":"None","kid":"k"})",
             R"({"alg":"nOnE","kid":"k"})",
             R"({"alg":"","kid":"k"})",
             R"({"kid":"k"})",
             R"({"alg":null,"kid":"k"})",
             R"({"alg":["RS256"],"kid":"k"})",
             R"({"alg":"HS256","kid":"k"})",
             R"({"alg":"HS512","kid":"k"})",
             R"({"alg":"PS256","kid":"k"})",
             R"({"alg":"EdDSA","kid":"k"})",
             R"({"alg":"ES256K","kid":"k"})",
             R"({"alg":"rs256","kid":"k"})",
             R"({"alg":"RS256 ","kid":"k"})",
             R"({"alg":"RS256\u0000","kid":"k"})",
             R"({"alg":"RS1","kid":"k"})",
             R"({"alg":"RS256"})",
             R"({"alg":"RS256","kid":""})",
             R"({"alg":"RS256","kid":7})",
             R"({"alg":"RS256","kid":"a b"})",
             R"({"alg":"RS256","kid":"k","crit":["exp"]})",
             R"({"alg":"RS256","kid":"k","crit":[]})",
             R"({"alg":"RS256","kid":"k","crit":null})",
             R"({"alg":"RS256","kid":"k","b64":false})",
             R"({"alg":"RS256","kid":"k","typ":"at+jwt"})",
             R"({"alg":"RS256","kid":"k","typ":7})",
         }) {
        CAPTURE(header);
        const auto parsed = parse_jwt(jwt(header));
        REQUIRE(parsed.has_error());
        CHECK(parsed.error().kind == errc::untrusted);
    }
    const auto long_kid = R"({"alg":"RS256","kid":")" + std::string(257, 'k') + "\"}";
    CHECK(parse_jwt(jwt(long_kid)).has_error());
    CHECK(parse_jwt(jwt(good_header)).has_value());
    CHECK(parse_jwt(jwt(R"({"alg":"RS256","kid":"k","typ":"JWT"})")).has_value());
}

TEST_CASE("T26: tokens that are too long, nested too deep or have a member twice are not tokens") {
    const auto padded = [](std::size_t length) {
        // The signature makes up the length; four characters for three bytes.
        const auto head = jwt(R"({"alg":"RS256","kid":"kk"})", "{}", "");
        return head + std::string(length - head.size(), 'A');
    };
    CHECK(parse_jwt(padded(max_jwt)).has_value());
    const auto too_long = parse_jwt(padded(max_jwt + 4));
    REQUIRE(too_long.has_error());
    CHECK(too_long.error().kind == errc::malformed);
    CHECK(parse_jwt(std::string(std::size_t{50} << 20, 'A')).has_error());

    const auto nested = [](int depth) {
        return R"({"a":)" + std::string(static_cast<std::size_t>(depth), '[') +
               std::string(static_cast<std::size_t>(depth), ']') + "}";
    };
    CHECK(parse_jwt(jwt(good_header, nested(7))).has_value());
    for (const int depth : {8, 9, 60, 64, 1000, 7000})
        CHECK(parse_jwt(jwt(good_header, nested(depth))).error().kind == errc::malformed);
    for (const auto* twice : {R"({"a":1,"a":1})", R"({"a":1,"\u0061":2})", R"({"x":{"a":1,"b":2,"a":3}})",
                              R"({"x":[{"a":1,"a":2}]})"}) {
        CAPTURE(twice);
        CHECK(parse_jwt(jwt(good_header, twice)).error().kind == errc::malformed);
    }
    CHECK(parse_jwt(jwt(R"({"alg":"RS256","alg":"none","kid":"k"})")).error().kind == errc::malformed);
    std::string crowded = "{\"x\":1";
    for (int i = 0; i < 1500; ++i)
        crowded += ",\"" + std::to_string(i) + "\":1";
    CHECK(parse_jwt(jwt(good_header, crowded + "}")).has_value());
}

TEST_CASE("T21: what is not JWS compact serialization with one signature is malformed") {
    const auto good = jwt(good_header);
    REQUIRE(parse_jwt(good).has_value());
    const auto dot = good.find('.');
    for (const auto& text : {
             std::string(),
             std::string("."),
             std::string(".."),
             std::string("..."),
             std::string("a.b"),
             good + ".",
             good + ".x",
             good + ".x.y",
             "." + good,
             " " + good,
             good + " ",
             good + "\n",
             "Bearer " + good,
             good + "=",
             good.substr(0, dot) + "=" + good.substr(dot),
             good.substr(0, good.rfind('.') + 1),
             good.substr(0, good.rfind('.')),
             good + "." + good,
             std::string("{}.{}.{}"),
             std::string(R"({"payload":"e30","signatures":[{"protected":"e30","signature":"c2ln"}]})"),
             jwt("[]"),
             jwt("7"),
             jwt("null"),
             jwt(good_header, "[]"),
             jwt(good_header, "\"x\""),
             jwt(good_header, ""),
             jwt(good_header, "{}{}"),
             jwt(good_header, "{\"a\":\"\xff\"}"),
             jwt(good_header, "{'a':1}"),
             std::string("\0.\0.\0", 5),
         }) {
        CAPTURE(text);
        const auto parsed = parse_jwt(text);
        REQUIRE(parsed.has_error());
        CHECK(parsed.error().kind == errc::malformed);
    }
}
