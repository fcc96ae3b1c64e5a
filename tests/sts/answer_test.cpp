#include "sts/answer.hpp"
#include "tests/support/results.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <string>

using namespace credlet;
using namespace credlet::sts;
using namespace std::string_literals;

namespace {

constexpr auto web_identity = operation::assume_role_with_web_identity;

std::string replaced(std::string text, std::string_view what, std::string_view by) {
    const auto at = text.find(what);
    REQUIRE(at != std::string::npos);
    return text.replace(at, what.size(), by);
}

// As in the API reference of AssumeRoleWithWebIdentity.
const std::string good =
    R"(<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult>
    <SubjectFromWebIdentityToken>system:serviceaccount:shop:api</SubjectFromWebIdentityToken>
    <Audience>sts.amazonaws.com</Audience>
    <AssumedRoleUser>
      <Arn>arn:aws:sts::123456789012:assumed-role/web/shop.api.node-1</Arn>
      <AssumedRoleId>AROACLKWSDQRAOEXAMPLE:shop.api.node-1</AssumedRoleId>
    </AssumedRoleUser>
    <Credentials>
      <SessionToken>Canary-session-token/+=</SessionToken>
      <SecretAccessKey>canary/secret+access=key</SecretAccessKey>
      <Expiration>2026-01-31T13:00:00Z</Expiration>
      <AccessKeyId>ASIAIOSFODNN7EXAMPLE</AccessKeyId>
    </Credentials>
    <Provider>arn:aws:iam::123456789012:oidc-provider/oidc.example</Provider>
  </AssumeRoleWithWebIdentityResult>
  <ResponseMetadata>
    <RequestId>ad4156e9-bce1-11e2-82e6-6b6efEXAMPLE</RequestId>
  </ResponseMetadata>
</AssumeRoleWithWebIdentityResponse>
)";

const std::string good_json =
    R"({"AssumeRoleWithWebIdentityResponse":{"AssumeRoleWithWebIdentityResult":{"AssumedRoleUser":)"
    R"({"Arn":"arn:aws:sts::123456789012:assumed-role/web/x","AssumedRoleId":"A:x"},"Credentials":)"
    R"({"AccessKeyId":"ASIAIOSFODNN7EXAMPLE","SecretAccessKey":"canary/secret+access=key",)"
    R"("SessionToken":"Canary-session-token/+=","Expiration":1769864400}}}})";

const std::string denied = R"(<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <Error>
    <Type>Sender</Type>
    <Code>AccessDenied</Code>
    <Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message>
  </Error>
  <RequestId>0fa72ea2-1b3f-4d7e-9d6e-000000000000</RequestId>
</ErrorResponse>)";

constexpr wall_time one_pm{std::chrono::seconds(1769864400)}; // 2026-01-31T13:00:00Z

result<issued_credentials> parsed(std::string_view body, operation op = web_identity) {
    secret_string copy(body);
    return parse_credentials(op, copy);
}
result<error_document> parsed_error(std::string_view body) {
    secret_string copy(body);
    return parse_error(copy);
}

void check_refused(std::string_view body, errc kind = errc::malformed) {
    CAPTURE(body.substr(0, 300));
    const auto as_credentials = parsed(body);
    REQUIRE_FALSE(as_credentials);
    CHECK(as_credentials.error().kind == kind);
    CHECK(as_credentials.error().message.find("anary") == std::string::npos);
    const auto as_error = parsed_error(body);
    REQUIRE_FALSE(as_error);
    CHECK(as_error.error().kind == kind);
}

std::string nested(int depth) {
    std::string text;
    for (int i = 0; i < depth; ++i)
        text += "<a>";
    for (int i = 0; i < depth; ++i)
        text += "</a>";
    return text;
}

} // namespace

TEST_CASE("credentials are read from XML") {
    const auto c = parsed(good);
    REQUIRE(c);
    CHECK(c->access_key_id == "ASIAIOSFODNN7EXAMPLE");
    CHECK(c->secret_access_key.reveal() == "canary/secret+access=key");
    CHECK(c->session_token.reveal() == "Canary-session-token/+=");
    CHECK(c->expiration == one_pm);
    CHECK(c->assumed_role_arn == "arn:aws:sts::123456789012:assumed-role/web/shop.api.node-1");
    CHECK(parsed("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" + good));
    CHECK(parsed("\xef\xbb\xbf" + good));
}

TEST_CASE("an answer is that of the operation that was asked for") {
    CHECK_FALSE(parsed(good, operation::assume_role));
    CHECK_FALSE(parsed(good_json, operation::assume_role));
    std::string other = good;
    for (std::size_t at; (at = other.find("AssumeRoleWithWebIdentity")) != std::string::npos;)
        other.replace(at, 25, "AssumeRole");
    CHECK(parsed(other, operation::assume_role));
    CHECK_FALSE(parsed(other));
}

TEST_CASE("escapes in XML are undone in place") {
    const auto c = parsed(replaced(good, "canary/secret", "a&amp;b&#x2F;c&#47;secret"));
    REQUIRE(c);
    CHECK(c->secret_access_key.reveal() == "a&b/c/secret+access=key");
}

TEST_CASE("credentials are read from JSON, with the expiration as a number or as text") {
    const auto c = parsed(good_json);
    REQUIRE(c);
    CHECK(c->access_key_id == "ASIAIOSFODNN7EXAMPLE");
    CHECK(c->secret_access_key.reveal() == "canary/secret+access=key");
    CHECK(c->session_token.reveal() == "Canary-session-token/+=");
    CHECK(c->expiration == one_pm);
    CHECK(c->assumed_role_arn == "arn:aws:sts::123456789012:assumed-role/web/x");
    const auto with_expiration = [](std::string_view e) {
        return parsed(replaced(good_json, "1769864400", e));
    };
    CHECK(with_expiration("1.7698644E9")->expiration == one_pm);
    CHECK(with_expiration("1769864400.25")->expiration == one_pm + std::chrono::milliseconds(250));
    CHECK(with_expiration("\"2026-01-31T13:00:00Z\"")->expiration == one_pm);
    for (const char* bad :
         {"0", "-1", "1e300", "-1e300", "null", "true", "\"1769864400\"", "{}", "253402300800"})
        CHECK_FALSE(with_expiration(bad));
}

TEST_CASE("each of the four fields must be there, once, whole, and plausible") {
    const auto check_field = [](const std::string& name, const std::string& value, std::size_t limit) {
        CAPTURE(name);
        const auto element = [&](const std::string& v) { return "<" + name + ">" + v + "</" + name + ">"; };
        const auto with = [&](const std::string& text) {
            return parsed(replaced(good, element(value), text));
        };
        CHECK_FALSE(with(""));
        CHECK_FALSE(with("<" + name + "/>"));
        CHECK_FALSE(with(element("")));
        CHECK_FALSE(with(element("  ")));
        CHECK_FALSE(with(element(value) + element(value)));
        CHECK_FALSE(with(element("<b/>" + value)));
        CHECK_FALSE(with(element(value + "<b/>" + value)));
        CHECK_FALSE(with(element(" " + value)));
        CHECK_FALSE(with(element(value + "&#10;X-Injected:1")));
        CHECK_FALSE(with(element(value + "\xc3\xa9")));
        CHECK_FALSE(with(element(std::string(limit + 1, '1'))));
        const auto missing = with("");
        CHECK(missing.error().message.find(name) != std::string::npos);
        const auto in_json = parsed(replaced(good_json, "\"" + name + "\"", "\"X\""));
        CHECK_FALSE(in_json);
    };
    check_field("AccessKeyId", "ASIAIOSFODNN7EXAMPLE", 128);
    check_field("SecretAccessKey", "canary/secret+access=key", 256);
    check_field("SessionToken", "Canary-session-token/+=", 16 * 1024);
    check_field("Expiration", "2026-01-31T13:00:00Z", 30);
    CHECK(parsed(replaced(good, "Canary-session-token/+=", std::string(16 * 1024, 't'))));
}

TEST_CASE("an answer that does not say whose credentials they are is still one") {
    const auto c =
        parsed(replaced(good, "<Arn>arn:aws:sts::123456789012:assumed-role/web/shop.api.node-1</Arn>", ""));
    REQUIRE(c);
    CHECK(c->assumed_role_arn.empty());
}

TEST_CASE("errors are read from XML and JSON") {
    const auto e = parsed_error(denied);
    REQUIRE(e);
    CHECK(e->code == "AccessDenied");
    CHECK(e->message == "Not authorized to perform sts:AssumeRoleWithWebIdentity");
    CHECK(e->request_id == "0fa72ea2-1b3f-4d7e-9d6e-000000000000");

    const auto json =
        parsed_error(R"({"Error":{"Code":"Throttling","Message":"Rate exceeded","Type":"Sender"},)"
                     R"("RequestId":"xxx"})");
    REQUIRE(json);
    CHECK(json->code == "Throttling");
    CHECK(json->message == "Rate exceeded");
    CHECK(json->request_id == "xxx");

    const auto front =
        parsed_error("<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>m</Message>"
                     "</Error></Errors><RequestID>r-1</RequestID></Response>");
    REQUIRE(front);
    CHECK(front->code == "RequestLimitExceeded");
    CHECK(front->request_id == "r-1");

    const auto bare = parsed_error("<ErrorResponse><Error><Code>X</Code></Error></ErrorResponse>");
    REQUIRE(bare);
    CHECK(bare->message.empty());
    CHECK(bare->request_id.empty());
}

TEST_CASE("an error code is an identifier, and so is a request id") {
    for (const std::string& code : {""s, "two words"s, "a\nb"s, "&lt;x&gt;"s, std::string(65, 'x')})
        CHECK_FALSE(parsed_error(replaced(denied, "AccessDenied", code)));
    const auto e = parsed_error(replaced(denied, "0fa72ea2-1b3f-4d7e-9d6e-000000000000", "a&#13;&#10;b"));
    REQUIRE(e);
    CHECK(e->request_id.empty());
}

TEST_CASE("T33: DTDs and entities are refused before parsing, whatever they hide in") {
    std::string laughs = "<?xml version=\"1.0\"?><!DOCTYPE lolz [<!ENTITY lol \"lol\">";
    for (int i = 1; i < 10; ++i) {
        laughs += "<!ENTITY lol" + std::to_string(i) + " \"";
        for (int n = 0; n < 10; ++n)
            laughs += i == 1 ? "&lol;" : "&lol" + std::to_string(i - 1) + ";";
        laughs += "\">";
    }
    laughs += "]><lolz>&lol9;</lolz>";
    const auto started = std::chrono::steady_clock::now();
    check_refused(laughs);
    CHECK(std::chrono::steady_clock::now() - started < std::chrono::seconds(1));

    check_refused("<!DOCTYPE x SYSTEM \"file:///etc/passwd\">" + good);
    check_refused("<!DOCTYPE x>" + denied);
    check_refused(replaced(good, "<Credentials>", "<Credentials><!-- <AccessKeyId>x</AccessKeyId> -->"));
    check_refused(replaced(good, "ASIAIOSFODNN7EXAMPLE", "<![CDATA[ASIAIOSFODNN7EXAMPLE]]>"));
    // An entity that nothing declares stays what it is, and no credential looks like that with a space in it.
    CHECK_FALSE(parsed(replaced(good, "ASIAIOSFODNN7EXAMPLE", "&x y;")));
}

TEST_CASE("T33: an answer over 64 KiB is refused unread") {
    const auto padded = [](std::size_t size) { return good + std::string(size - good.size(), ' '); };
    CHECK(parsed(padded(max_answer)));
    check_refused(padded(max_answer + 1), errc::too_large);
    check_refused("{" + std::string(max_answer, ' '), errc::too_large);
}

TEST_CASE("T33: an answer nested deeper than 16 is refused") {
    CHECK(parsed(replaced(good, "<Credentials>", nested(14) + "<Credentials>")));
    check_refused(replaced(good, "<Credentials>", nested(15) + "<Credentials>"));
    check_refused(replaced(denied, "<Error>", nested(16) + "<Error>"));
    check_refused(nested(9000));
    std::string unclosed;
    while (unclosed.size() + 3 < max_answer)
        unclosed += "<a>";
    check_refused(unclosed);
    check_refused("{\"a\":" + std::string(30000, '[') + std::string(30000, ']') + "}");
}

TEST_CASE("T33: compressed bytes are not an answer") {
    check_refused("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xb3\xb1\xaf\xc8\xcd\x51"s);
    check_refused("\x1f\x8b\x08"s + good);
    check_refused(good + "\0"s);
    check_refused(replaced(good, "ASIA", "AS\0IA"s));
}

TEST_CASE("F7: garbage, captive pages and half documents are malformed") {
    check_refused("");
    check_refused(" \n");
    check_refused("OK");
    check_refused("<html><head><title>Sign in</title></head><body><form action='/login'>"
                  "<input name='user'><input name='canary'></form></body></html>");
    check_refused("<!DOCTYPE html><html><body>canary</body></html>");
    check_refused("<html><body><p>Welcome</p></body></html>");
    check_refused("null");
    check_refused("[]");
    check_refused("{}");
    check_refused("{\"Error\":[]}");
    check_refused("{\"Error\":{\"Code\":{}}} trailing");
    check_refused("{\"AssumeRoleWithWebIdentityResponse\":\"canary\"}");
    check_refused("\xff\xfe<\0a\0/\0>\0"s);
    check_refused("<a/><b/>");
    check_refused(good + "x");
    check_refused(good + "canary");
    check_refused(good + good);
    check_refused(good + "<b/>");
    check_refused("x" + good);
    check_refused("<html/>" + denied);
    check_refused("<?xml version=\"1.0\"?>x" + denied);
}

TEST_CASE("F6: no proper beginning of an answer is taken for one") {
    const auto end = good.find_last_of('>');
    for (std::size_t n = 0; n < end; ++n)
        REQUIRE_FALSE(parsed(good.substr(0, n)));
    for (std::size_t n = 0; n + 1 < good_json.size(); ++n)
        REQUIRE_FALSE(parsed(good_json.substr(0, n)));
    for (std::size_t n = 0; n + 1 < denied.size(); ++n)
        REQUIRE_FALSE(parsed_error(denied.substr(0, n)));
}

TEST_CASE("F7: an error document with status 200 brings no credentials, and credentials are no error") {
    CHECK_FALSE(parsed(denied));
    CHECK_FALSE(parsed_error(good));
    CHECK_FALSE(parsed_error(good_json));
}

TEST_CASE("F7: an answer with any byte changed is refused or still whole") {
    for (std::size_t at = 0; at < good.size(); ++at)
        for (const char by : {'<', '>', '&', '/', '\0', ' ', '"', '\xff', '{'}) {
            auto body = good;
            body[at] = by;
            if (const auto c = parsed(body)) {
                REQUIRE_FALSE(c->access_key_id.empty());
                REQUIRE_FALSE(c->secret_access_key.empty());
                REQUIRE_FALSE(c->session_token.empty());
            }
        }
}

TEST_CASE("timestamps are ISO 8601 in UTC, and nothing near it") {
    CHECK(parse_timestamp("2026-01-31T13:00:00Z") == one_pm);
    CHECK(parse_timestamp("2026-01-31T13:00:00.999Z") == one_pm);
    CHECK(parse_timestamp("2026-01-31T13:00:00.123456789Z") == one_pm);
    CHECK(parse_timestamp("2024-02-29T00:00:00Z"));
    CHECK(parse_timestamp("1970-01-01T00:00:00Z") == wall_time());
    for (const char* bad : {"",
                            "Z",
                            "2026-01-31",
                            "2026-01-31T13:00:00",
                            "2026-01-31T13:00:00z",
                            "2026-01-31t13:00:00Z",
                            "2026-01-31 13:00:00Z",
                            "2026-01-31T13:00:00+00:00",
                            "2026-01-31T13:00:00+0000",
                            "2026-01-31T13:00Z",
                            "2026-01-31T13:00:00.Z",
                            "2026-01-31T13:00:00,5Z",
                            "2026-01-31T13:00:00.1234567890Z",
                            "2026-01-31T13:00:00.5xZ",
                            "2025-02-29T00:00:00Z",
                            "2026-13-01T00:00:00Z",
                            "2026-00-01T00:00:00Z",
                            "2026-01-00T00:00:00Z",
                            "2026-01-32T00:00:00Z",
                            "2026-01-31T24:00:00Z",
                            "2026-01-31T13:60:00Z",
                            "2026-01-31T13:00:60Z",
                            "2026-1-31T13:00:00Z",
                            "+026-01-31T13:00:00Z",
                            "20260131T130000Z",
                            " 2026-01-31T13:00:00Z",
                            "2026-01-31T13:00:00Z ",
                            "1769864400",
                            "2026-01-31T13:00:0-Z"}) {
        CAPTURE(bad);
        CHECK_FALSE(parse_timestamp(bad));
    }
}
