#include "metadata/kubernetes/token_verifier.hpp"
#include "tests/support/coroutine.hpp"
#include "tests/support/kubernetes_fakes.hpp"
#include "tests/support/manual_clock.hpp"
#include "tests/support/scripted_http.hpp"
#include "tests/support/token_forge.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::metadata;
using namespace credlet::metadata::kubernetes;
using namespace std::chrono_literals;

namespace {

const std::string issuer = "https://kubernetes.default.svc.cluster.local";
const std::vector<std::string> audiences{"sts.amazonaws.com"};

struct fixture {
    asio::io_context loop{1};
    test::manual_clock time;
    seeded_random random{1};
    test::scratch_directory dir;
    test::remembering_log log;
    test::remembering_kubernetes_metrics metrics;
    test::scripted_http http;
    daemon_token own{dir.write("token", "daemon-token"), time, {}};
    api_client api{http, own, time, "n1"};
    task_group tasks{loop.get_executor()};
    token_verifier subject{loop.get_executor(),           tasks, api, time, random, metrics, log,
                           {"", {30s, 1h, 24h}, 500ms, 8}};
    const test::key_ring& ring = test::key_ring::get();
    std::string jwks = ring.jwks();
    std::string discovered = issuer;

    fixture() {
        REQUIRE(own.load().has_value());
        http.on_exchange = [this](const test::seen_request& r) -> result<http_response> {
            if (r.target == "/openid/v1/jwks")
                return test::answer_with(200, jwks);
            if (r.target == "/.well-known/openid-configuration")
                return test::answer_with(200, R"({"issuer":")" + discovered +
                                                  R"(","jwks_uri":"https://evil.example/keys"})");
            return test::answer_with(404, "");
        };
    }
    ~fixture() {
        tasks.cancel();
        test::run(loop, tasks.drained());
    }
    fixture(const fixture&) = delete;
    fixture& operator=(const fixture&) = delete;

    awaitable<void> ask(std::string jwt, result<verified_token>& out) {
        out = co_await subject.verify(secret_string(jwt), audiences);
    }
    awaitable<void> ask_and_count(std::string jwt, int& good, int& bad) {
        const auto r = co_await subject.verify(secret_string(jwt), audiences);
        ++(r.has_value() ? good : bad);
    }
    result<verified_token> verify(const std::string& jwt) {
        result<verified_token> out{fail(errc::internal, "")};
        test::run(loop, ask(jwt, out));
        return out;
    }
    [[nodiscard]] std::size_t fetches() const {
        return static_cast<std::size_t>(
            std::count_if(http.exchanges.begin(), http.exchanges.end(),
                          [](const auto& r) { return r.target == "/openid/v1/jwks"; }));
    }
    [[nodiscard]] std::string claims(const std::string& iss = issuer,
                                     const std::string& pod_uid = "pod-1") const {
        const auto now =
            std::chrono::duration_cast<std::chrono::seconds>(time.wall().time_since_epoch()).count();
        return R"({"aud":["sts.amazonaws.com"],"exp":)" + std::to_string(now + 3600) + R"(,"iat":)" +
               std::to_string(now) + R"(,"iss":")" + iss +
               R"(","kubernetes.io":{"namespace":"prod","node":{"name":"n1","uid":"node-1"},)" +
               R"("pod":{"name":"app-0","uid":")" + pod_uid +
               R"("},"serviceaccount":{"name":"app","uid":"sa-1"}},"nbf":)" + std::to_string(now) +
               R"(,"sub":"system:serviceaccount:prod:app"})";
    }
    [[nodiscard]] std::string genuine(const std::string& kid = "rsa") const {
        return test::token_of(ring.rsa, EVP_sha256(), R"({"alg":"RS256","kid":")" + kid + "\"}", claims());
    }
};

} // namespace

TEST_CASE("a genuine token tells whose it is, by every allowed algorithm") {
    fixture f;
    const auto t = f.verify(f.genuine());
    REQUIRE(t.has_value());
    CHECK(t->namespace_name == "prod");
    CHECK(t->service_account == "app");
    CHECK(t->service_account_uid == "sa-1");
    CHECK(t->pod_name == "app-0");
    CHECK(t->pod_uid == "pod-1");
    CHECK(t->node_name == "n1");
    CHECK(t->audiences == audiences);
    CHECK(t->issuer == issuer);
    CHECK(t->expires == f.time.wall() + 3600s);
    const auto& r = f.ring;
    const auto claims = f.claims();
    CHECK(f.verify(test::token_of(r.rsa, EVP_sha256(), R"({"alg":"RS256","kid":"rsa-any"})", claims))
              .has_value());
    CHECK(f.verify(test::token_of(r.rsa, EVP_sha384(), R"({"alg":"RS384","kid":"rsa-any"})", claims))
              .has_value());
    CHECK(f.verify(test::token_of(r.rsa, EVP_sha512(), R"({"alg":"RS512","kid":"rsa-any"})", claims))
              .has_value());
    CHECK(f.verify(test::token_of(r.p256, EVP_sha256(), R"({"alg":"ES256","kid":"p256"})", claims))
              .has_value());
    CHECK(f.verify(test::token_of(r.p384, EVP_sha384(), R"({"alg":"ES384","kid":"p384"})", claims))
              .has_value());
    CHECK(f.verify(test::token_of(r.p521, EVP_sha512(), R"({"alg":"ES512","kid":"p521"})", claims))
              .has_value());
    CHECK(f.subject.issuer() == issuer);
    CHECK(f.fetches() == 1);
    // The keys came from the API server itself, whatever the discovery document says.
    for (const auto& request : f.http.exchanges)
        CHECK(request.target.find("evil") == std::string::npos);
}

TEST_CASE("T21: no forged token is believed") {
    fixture f;
    REQUIRE(f.verify(f.genuine()).has_value());
    const auto& r = f.ring;
    const auto claims = f.claims();
    const auto good = f.genuine();
    const auto head = good.substr(0, good.find('.'));
    const auto body = good.substr(head.size() + 1, good.rfind('.') - head.size() - 1);
    const auto sig = good.substr(good.rfind('.') + 1);
    const auto text_of = [&](const std::string& header) { return test::unsigned_part(header, claims); };
    const auto with = [&](const std::string& header, const std::string& signature) {
        return text_of(header) + "." + test::base64url(signature);
    };
    const auto attacker = test::signing_key::rsa();
    const auto attacker_ec = test::signing_key::ec("P-256", 32);
    const auto ed = test::signing_key::ed25519();
    const auto by_attacker = [&](const std::string& more) {
        return test::token_of(attacker, EVP_sha256(), R"({"alg":"RS256","kid":"rsa")" + more + "}", claims);
    };
    const auto pem = r.rsa.public_pem();
    const std::string hs = R"({"alg":"HS256","kid":"rsa"})";
    const std::string es = R"({"alg":"ES256","kid":"p256"})";
    const auto es_text = text_of(es);
    const auto es_signature = r.p256.sign(EVP_sha256(), es_text);
    const auto evil_claims = test::base64url(f.claims(issuer, "another-pod"));
    auto flipped = r.rsa.sign(EVP_sha256(), head + "." + body);
    flipped[100] = static_cast<char>(flipped[100] ^ 1);

    const std::pair<const char*, std::string> forged[] = {
        {"alg none, no signature", text_of(R"({"alg":"none","kid":"rsa"})") + "."},
        {"alg none with a signature", with(R"({"alg":"none","kid":"rsa"})", "x")},
        {"alg None", text_of(R"({"alg":"None","kid":"rsa"})") + "."},
        {"alg nOnE", text_of(R"({"alg":"nOnE","kid":"rsa"})") + "."},
        {"alg NONE with the genuine signature", text_of(R"({"alg":"NONE","kid":"rsa"})") + "." + sig},
        {"no alg", with(R"({"kid":"rsa"})", "x")},
        {"HS256 with the RSA public key's PEM", with(hs, test::hmac_sha256(pem, text_of(hs)))},
        {"HS256 with the modulus",
         with(hs, test::hmac_sha256(r.rsa.number(OSSL_PKEY_PARAM_RSA_N), text_of(hs)))},
        {"HS256 with the empty key", with(hs, test::hmac_sha256("", text_of(hs)))},
        {"RS256 header, HMAC signature",
         with(R"({"alg":"RS256","kid":"rsa"})",
              test::hmac_sha256(pem, text_of(R"({"alg":"RS256","kid":"rsa"})")))},
        {"ES256 signature and header for an RSA key",
         test::token_of(r.p256, EVP_sha256(), R"({"alg":"ES256","kid":"rsa"})", claims)},
        {"RS256 signature and header for an EC key",
         test::token_of(r.rsa, EVP_sha256(), R"({"alg":"RS256","kid":"p256"})", claims)},
        {"alg RS384 although the JWK says RS256",
         test::token_of(r.rsa, EVP_sha384(), R"({"alg":"RS384","kid":"rsa"})", claims)},
        {"alg RS512 although the JWK says RS256",
         test::token_of(r.rsa, EVP_sha512(), R"({"alg":"RS512","kid":"rsa"})", claims)},
        {"alg and digest differ",
         test::token_of(r.rsa, EVP_sha512(), R"({"alg":"RS256","kid":"rsa-any"})", claims)},
        {"ES384 by a P-256 key",
         test::token_of(r.p256, EVP_sha384(), R"({"alg":"ES384","kid":"p256"})", claims)},
        {"ES256 by a P-384 key",
         test::token_of(r.p384, EVP_sha256(), R"({"alg":"ES256","kid":"p384"})", claims)},
        {"P-384 signature for the P-256 key", test::token_of(r.p384, EVP_sha256(), es, claims)},
        {"embedded jwk", by_attacker(R"(,"jwk":)" + attacker.jwk("rsa"))},
        {"embedded jwk and no kid",
         test::token_of(attacker, EVP_sha256(), R"({"alg":"RS256","jwk":)" + attacker.jwk("rsa") + "}",
                        claims)},
        {"jku", by_attacker(R"(,"jku":"https://evil.example/jwks")")},
        {"x5u", by_attacker(R"(,"x5u":"https://evil.example/cert")")},
        {"x5c", by_attacker(R"(,"x5c":["MIIB"])")},
        {"another RSA key under our kid", by_attacker("")},
        {"another EC key under our kid", test::token_of(attacker_ec, EVP_sha256(), es, claims)},
        {"kid of another of our keys",
         test::token_of(r.p384, EVP_sha384(), R"({"alg":"ES384","kid":"p521"})", claims)},
        {"no kid", test::token_of(r.rsa, EVP_sha256(), R"({"alg":"RS256"})", claims)},
        {"kid as a path",
         test::token_of(r.rsa, EVP_sha256(), R"({"alg":"RS256","kid":"../../rsa"})", claims)},
        {"kid of nobody", test::token_of(r.rsa, EVP_sha256(), R"({"alg":"RS256","kid":"nobody"})", claims)},
        {"crit",
         test::token_of(r.rsa, EVP_sha256(), R"({"alg":"RS256","kid":"rsa","crit":["exp"]})", claims)},
        {"crit, empty",
         test::token_of(r.rsa, EVP_sha256(), R"({"alg":"RS256","kid":"rsa","crit":[]})", claims)},
        {"b64 false",
         test::token_of(r.rsa, EVP_sha256(), R"({"alg":"RS256","kid":"rsa","b64":false})", claims)},
        {"b64 false with crit",
         test::token_of(r.rsa, EVP_sha256(), R"({"alg":"RS256","kid":"rsa","b64":false,"crit":["b64"]})",
                        claims)},
        {"another type",
         test::token_of(r.rsa, EVP_sha256(), R"({"alg":"RS256","kid":"rsa","typ":"at+jwt"})", claims)},
        {"alg twice",
         test::token_of(r.rsa, EVP_sha256(), R"({"alg":"RS256","alg":"RS256","kid":"rsa"})", claims)},
        {"PS256", with(R"({"alg":"PS256","kid":"rsa"})",
                       r.rsa.sign(EVP_sha256(), text_of(R"({"alg":"PS256","kid":"rsa"})"), true))},
        {"RS256 header, PSS signature",
         with(R"({"alg":"RS256","kid":"rsa"})",
              r.rsa.sign(EVP_sha256(), text_of(R"({"alg":"RS256","kid":"rsa"})"), true))},
        {"EdDSA", test::token_of(ed, nullptr, R"({"alg":"EdDSA","kid":"rsa"})", claims)},
        {"ES256, DER signature", with(es, r.p256.sign(EVP_sha256(), es_text, false, true))},
        {"ES256, r zero", with(es, std::string(32, '\0') + es_signature.substr(32))},
        {"ES256, s zero", with(es, es_signature.substr(0, 32) + std::string(32, '\0'))},
        {"ES256, both zero", with(es, std::string(64, '\0'))},
        {"ES256, r and s beyond the order", with(es, std::string(64, '\xff'))},
        {"ES256, padded to 66", with(es, '\0' + es_signature.substr(0, 32) + '\0' + es_signature.substr(32))},
        {"ES256, cut by one", with(es, es_signature.substr(0, 63))},
        {"RS256, all zero", with(R"({"alg":"RS256","kid":"rsa"})", std::string(256, '\0'))},
        {"RS256, all ones", with(R"({"alg":"RS256","kid":"rsa"})", std::string(256, '\xff'))},
        {"empty signature", head + "." + body + "."},
        {"signature cut", head + "." + body + "." + sig.substr(0, sig.size() - 4)},
        {"signature extended", head + "." + body + "." + sig + "AAAA"},
        {"one bit of the signature", head + "." + body + "." + test::base64url(flipped)},
        {"another payload under the signature", head + "." + evil_claims + "." + sig},
        {"another header under the signature",
         test::base64url(R"({"kid":"rsa","alg":"RS256"})") + "." + body + "." + sig},
        {"two signatures", good + "." + sig},
        {"five parts, as a JWE", good + ".x.y"},
        {"JSON serialization",
         R"({"protected":")" + head + R"(","payload":")" + body + R"(","signature":")" + sig + "\"}"},
        {"general JSON serialization", R"({"payload":")" + body + R"(","signatures":[{"protected":")" + head +
                                           R"(","signature":")" + sig + "\"}]}"},
        {"padding", head + "." + body + "." + sig + "=="},
        {"padding in the header", head + "=." + body + "." + sig},
        {"whitespace before", " " + good},
        {"whitespace after", good + "\n"},
        {"whitespace inside", head + ". " + body + "." + sig},
        {"the other alphabet", head + "." + body + "." + test::base64url(std::string(255, '\xfb')) + "+/"},
        {"nothing", ""},
        {"dots", ".."},
    };
    CHECK(std::size(forged) >= 40);
    for (const auto& [name, token] : forged) {
        CAPTURE(name);
        const auto verdict = f.verify(token);
        REQUIRE(verdict.has_error());
        CHECK((verdict.error().kind == errc::untrusted || verdict.error().kind == errc::malformed ||
               (std::string_view(name).starts_with("kid ") && verdict.error().kind == errc::unavailable)));
        // A message for the log must not hold the token.
        if (token.size() > 40)
            CHECK(verdict.error().message.find(token.substr(token.size() - 20)) == std::string::npos);
    }
    CHECK(f.verify(good).has_value());
    CHECK(f.fetches() == 1);
}

TEST_CASE("T21: a genuine token that also brings keys along is judged by ours alone") {
    fixture f;
    const auto attacker = test::signing_key::rsa();
    const auto t = f.verify(test::token_of(
        f.ring.rsa, EVP_sha256(),
        R"({"alg":"RS256","kid":"rsa","jku":"https://evil.example/","jwk":)" + attacker.jwk("rsa") + "}",
        f.claims()));
    CHECK(t.has_value());
    for (const auto& request : f.http.exchanges)
        CHECK(request.target.find("evil") == std::string::npos);
}

TEST_CASE("T21: an RSA key that is too small verifies nothing") {
    fixture f;
    const auto small = test::signing_key::rsa(1024);
    f.jwks = "{\"keys\":[" + small.jwk("small") + "," + f.ring.p256.jwk("p256") + "]}";
    const auto t =
        f.verify(test::token_of(small, EVP_sha256(), R"({"alg":"RS256","kid":"small"})", f.claims()));
    REQUIRE(t.has_error());
    CHECK(t.error().kind == errc::untrusted);
}

TEST_CASE(
    "T22: a genuine token of another issuer or for another audience, or one that has expired, is refused") {
    fixture f;
    const auto sign = [&](const std::string& claims) {
        return test::token_of(f.ring.rsa, EVP_sha256(), R"({"alg":"RS256","kid":"rsa"})", claims);
    };
    const auto other_issuer = f.verify(sign(f.claims("https://other")));
    REQUIRE(other_issuer.has_error());
    CHECK(other_issuer.error().kind == errc::untrusted);
    CHECK(other_issuer.error().message.find("iss") != std::string::npos);
    auto claims = f.claims();
    claims.replace(claims.find("sts.amazonaws.com"), 17, "kubernetes.svc.xx");
    CHECK(f.verify(sign(claims)).error().kind == errc::untrusted);
    const auto token = f.genuine();
    REQUIRE(f.verify(token).has_value());
    f.time.advance(3600s);
    CHECK(f.verify(token).error().kind == errc::untrusted);
}

TEST_CASE("T25: ten thousand kids within ten seconds cost one fetch, and a valid token verifies all along") {
    fixture f;
    REQUIRE(f.verify(f.genuine()).has_value());
    f.time.advance(60s);
    const auto before = f.fetches();
    const auto signature = test::base64url(std::string(256, 'x'));
    const auto payload = test::base64url(f.claims());
    for (int i = 0; i < 10000; ++i) {
        const auto header = test::base64url(R"({"alg":"RS256","kid":"k)" + std::to_string(i) + "\"}");
        CHECK(f.verify(header + "." + payload + "." + signature).has_error());
        f.time.advance(1ms);
        if (i % 1000 == 0)
            CHECK(f.verify(f.genuine()).has_value());
    }
    CHECK(f.fetches() - before <= 1);
    CHECK(f.verify(f.genuine()).has_value());
}

TEST_CASE("T25: those who wait share one fetch, and only so many may wait") {
    fixture f;
    f.http.delay = 20ms;
    task_group callers(f.loop.get_executor());
    int good = 0;
    int bad = 0;
    for (int i = 0; i < 10; ++i)
        callers.spawn(f.ask_and_count(f.genuine(), good, bad));
    test::run(f.loop, callers.drained());
    CHECK(f.fetches() == 1);
    CHECK(good == 8);
    CHECK(bad == 2);
}

TEST_CASE("T25: a caller that goes away does not take the fetch with it") {
    fixture f;
    f.http.delay = 20ms;
    task_group callers(f.loop.get_executor());
    int good = 0;
    int bad = 0;
    callers.spawn(f.ask_and_count(f.genuine(), good, bad));
    f.loop.restart();
    f.loop.run_for(5ms);
    callers.cancel();
    test::run(f.loop, callers.drained());
    CHECK(bad == 1);
    CHECK(f.verify(f.genuine()).has_value());
    CHECK(f.fetches() == 1);
}

TEST_CASE("F53: keys and issuer survive an unreachable, empty or huge key set") {
    fixture f;
    REQUIRE(f.verify(f.genuine()).has_value());
    for (const auto& bad :
         {std::string(R"({"keys":[]})"), std::string("<html>"), std::string(2 << 20, ' ')}) {
        f.jwks = bad;
        f.time.advance(31s);
        const auto stranger = f.verify(f.genuine("stranger"));
        CHECK(stranger.error().kind == errc::unavailable); // cannot tell
        CHECK(f.verify(f.genuine()).has_value());
    }
    f.http.on_exchange = nullptr;
    f.time.advance(31s);
    CHECK(f.verify(f.genuine("stranger")).error().kind == errc::unavailable);
    CHECK(f.verify(f.genuine()).has_value());
    f.time.advance(25h);
    CHECK(f.verify(f.genuine()).error().kind == errc::unavailable); // too long
}

TEST_CASE("F53: a key that was rotated in is found by the first token that names it") {
    fixture f;
    REQUIRE(f.verify(f.genuine()).has_value());
    f.jwks = "{\"keys\":[" + f.ring.other_rsa.jwk("new") + "," + f.ring.rsa.jwk("rsa") + "]}";
    const auto fresh =
        test::token_of(f.ring.other_rsa, EVP_sha256(), R"({"alg":"RS256","kid":"new"})", f.claims());
    CHECK(f.verify(fresh).error().kind == errc::unavailable); // fetched just now: not yet
    f.time.advance(30s);
    CHECK(f.verify(fresh).has_value());
    CHECK(f.verify(f.genuine()).has_value());
    CHECK(f.fetches() == 2);
}

TEST_CASE("F53: keys are fetched at the start and again and again until they come; so is the issuer") {
    fixture f;
    const auto working = f.http.on_exchange;
    f.http.on_exchange = nullptr;
    f.tasks.spawn(f.subject.run());
    f.loop.restart();
    f.loop.run_for(20ms);
    CHECK(f.fetches() == 1);
    CHECK(f.metrics.jwks == std::vector<std::string>{"connect_failed"});
    CHECK(f.log.count(log_level::warn, "cannot fetch the keys") == 1);
    f.http.on_exchange = working;
    f.time.advance(2s);
    const auto deadline = std::chrono::steady_clock::now() + 10s;
    while (f.subject.issuer().empty() && std::chrono::steady_clock::now() < deadline) {
        f.time.advance(1s);
        f.loop.restart();
        f.loop.run_for(50ms);
    }
    CHECK(f.subject.issuer() == issuer);
    CHECK(f.metrics.jwks.back() == "ok");
}

TEST_CASE(
    "a new issuer is found by the first token that names it, and the one before is trusted for a while") {
    fixture f;
    const auto named = [&](const std::string& iss) {
        return test::token_of(f.ring.rsa, EVP_sha256(), R"({"alg":"RS256","kid":"rsa"})", f.claims(iss));
    };
    REQUIRE(f.verify(f.genuine()).has_value());
    f.discovered = "https://new.example";
    CHECK(f.verify(named("https://new.example")).error().kind == errc::unavailable); // asked just now
    CHECK(f.fetches() == 1);
    f.time.advance(30s);
    CHECK(f.verify(named("https://new.example")).has_value());
    CHECK(f.fetches() == 2);
    CHECK(f.subject.issuer() == "https://new.example");
    CHECK(f.log.count(log_level::info, "has changed") == 1);
    CHECK(f.verify(f.genuine()).has_value());
    f.time.advance(25h - 1ns);
    CHECK(f.verify(f.genuine()).has_value());
    f.time.advance(1ns);
    CHECK(f.verify(f.genuine()).has_error());
}

TEST_CASE("an issuer that is not this cluster's costs a fetch in 30 s only where our own key has signed") {
    fixture f;
    REQUIRE(f.verify(f.genuine()).has_value());
    f.time.advance(30s);
    const auto attacker = test::signing_key::rsa();
    const auto forged =
        test::token_of(attacker, EVP_sha256(), R"({"alg":"RS256","kid":"rsa"})", f.claims("https://other"));
    CHECK(f.verify(forged).error().kind == errc::untrusted);
    CHECK(f.fetches() == 1);
    const auto ours =
        test::token_of(f.ring.rsa, EVP_sha256(), R"({"alg":"RS256","kid":"rsa"})", f.claims("https://other"));
    CHECK(f.verify(ours).error().kind == errc::untrusted);
    CHECK(f.fetches() == 2);
    for (int i = 0; i < 100; ++i)
        CHECK(f.verify(ours).has_error());
    CHECK(f.fetches() == 2);
    CHECK(f.subject.issuer() == issuer);
}

TEST_CASE("keys that are left out are named in the log when they change") {
    fixture f;
    f.jwks = "{\"keys\":[" + f.ring.rsa.jwk("rsa") + "," + f.ring.p256.jwk("twice") + "," +
             f.ring.p384.jwk("twice") + "]}";
    REQUIRE(f.verify(f.genuine()).has_value());
    CHECK(f.log.count(log_level::warn, "kids=twice") == 1);
    f.time.advance(30s);
    CHECK(f.verify(f.genuine("nobody")).has_error());
    CHECK(f.fetches() == 2);
    CHECK(f.log.count(log_level::warn, "kids=") == 1);
}

TEST_CASE("a configured issuer needs no discovery; without one and without discovery nothing verifies, and "
          "it says so") {
    fixture f;
    f.http.on_exchange = [&](const test::seen_request& r) -> result<http_response> {
        if (r.target == "/openid/v1/jwks")
            return test::answer_with(200, f.jwks);
        return test::answer_with(403, test::status_json(403, "Forbidden", "no discovery"));
    };
    const auto t = f.verify(f.genuine());
    REQUIRE(t.has_error());
    CHECK(t.error().kind == errc::unavailable);
    CHECK(t.error().message.find("--token-issuer") != std::string::npos);
    CHECK(f.log.count(log_level::warn, "--token-issuer") == 1);

    token_verifier configured(f.loop.get_executor(), f.tasks, f.api, f.time, f.random, f.metrics, f.log,
                              {issuer, {30s, 1h, 24h}, 500ms, 8});
    CHECK(configured.issuer() == issuer);
    CHECK(configured.trusts_issuer(issuer));
    CHECK_FALSE(configured.trusts_issuer("https://other"));
}
