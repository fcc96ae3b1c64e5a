#include "metadata/serving_core.hpp"
#include "tests/support/metadata_node.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::test;
using metadata::identity_mode;

namespace {

const std::string ecs = "/v1/credentials";
const std::string list_path = "/latest/meta-data/iam/security-credentials/";

// What a token bound to that pod says.
metadata::verified_token claims_of(const metadata_node& node, const metadata::pod& p,
                                   const std::string& audience,
                                   std::chrono::seconds life = std::chrono::hours(1)) {
    return {p.namespace_name, p.service_account, "sa-uid-" + p.service_account, p.name, p.uid, p.node_name,
            {audience},       "issuer",          node.time.wall() + life};
}

// The verification of the token that waits ends.
void answer_verification(metadata_node& node, result<metadata::verified_token> outcome) {
    REQUIRE(node.work.verifications.size() == 1);
    const auto digest = node.work.verifications[0].digest;
    node.work.verifications.clear();
    node.upstream.asks().verified(digest, std::move(outcome), node.time.now(), node.time.wall());
    node.run();
}

// A service account whose tokens have an audience of their own.
metadata::service_account late_account() {
    auto account = make_account("late", "late-role");
    account.annotations.insert(account.annotations.begin(), {"eks.amazonaws.com/audience", "its-own"});
    return account;
}

// Two pods of two service accounts, warm.
class fixture : public metadata_node {
public:
    explicit fixture(metadata::service_settings s = node_settings()) : metadata_node(std::move(s)) {
        upstream.pods().accounts_replaced({make_account("web", "web-role"), make_account("api", "api-role")});
        upstream.pods().pods_replaced({make_pod("a", "web", "10.0.0.1"), make_pod("b", "api", "10.0.0.2")});
        upstream.set_synced(true);
        run();
        time.advance(std::chrono::seconds(15)); // beyond the spread of the first prefetches
        run();
    }

    unsigned status(const std::string& text, const std::string& peer = "10.0.0.1") {
        return send(text, peer)->status();
    }
    std::string put_session(const std::string& peer, const std::string& more = {},
                            const std::string& ttl = "60") {
        return send("PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\n"
                    "X-aws-ec2-metadata-token-ttl-seconds: " +
                        ttl + "\r\n" + more + "\r\n",
                    peer)
            ->body();
    }
    static std::string with_session(const std::string& session) {
        return "X-aws-ec2-metadata-token: " + session + "\r\n";
    }
    // The broker verifies the token that waits as one of that pod.
    void verify_as(const metadata::pod& p, const std::string& audience = "sts.amazonaws.com",
                   std::chrono::seconds life = std::chrono::hours(1), const std::string& account_uid = {}) {
        turn();
        while (!asks.empty())
            take_ask();
        turn();
        REQUIRE(work.verifications.size() == 1);
        auto t = claims_of(*this, p, audience, life);
        if (!account_uid.empty())
            t.service_account_uid = account_uid;
        answer_verification(*this, std::move(t));
    }
    void reject_token(errc why) {
        while (!asks.empty())
            take_ask();
        turn();
        REQUIRE(work.verifications.size() == 1);
        answer_verification(*this, fail(why, "no"));
    }
    static metadata::service_settings with(identity_mode mode) {
        auto s = node_settings();
        s.identity = mode;
        s.caller_audiences = {"credlet"};
        return s;
    }
};

} // namespace

TEST_CASE("a known pod gets the credentials of its own role at once, in the form the SDKs read") {
    fixture node;
    const auto r = node.send(get(ecs), "10.0.0.1");
    CHECK(r->status() == 200);
    CHECK_FALSE(r->waited);
    CHECK(member_of(r->body(), "RoleArn") == role("web-role"));
    CHECK(member_of(r->body(), "Code") == "Success");
    CHECK(member_of(r->body(), "Expiration").size() == 20);
    CHECK(member_of(node.send(get(ecs), "10.0.0.2")->body(), "RoleArn") == role("api-role"));
    CHECK(node.status(get(ecs), "::ffff:10.0.0.1") == 200);
    CHECK(node.status(get(ecs + "/web-role")) == 200);
    CHECK(node.status("POST /v1/credentials HTTP/1.1\r\nHost: 169.254.170.2\r\n\r\n") == 405);
    CHECK(node.send("PUT /v1/credentials HTTP/1.1\r\nHost: 169.254.170.2\r\n\r\n", "10.0.0.1")
              ->head()
              .find("Allow: GET\r\n") != std::string::npos);
}

TEST_CASE("T1: the role comes from who asks; another's name in the path gets a constant 403") {
    fixture node;
    std::set<std::string> bodies;
    for (const std::string name :
         {"api-role", "no-such-role", "WEB-ROLE", "Web-role", "web-role/", "%77eb-role", "web%2drole", "%2e",
          "..", "web-role%00", "web-role;x", "web-role?x", "*", "arn:aws:iam::123456789012:role/web-role",
          "arn:aws:iam::123456789012:role/api-role"}) {
        const auto r = node.send(get(ecs + "/" + name), "10.0.0.1");
        CAPTURE(name);
        CHECK(r->status() == 403);
        bodies.insert(r->body());
    }
    CHECK(bodies.size() == 1);
    CHECK(node.calls.empty());
}

TEST_CASE("T43: an existing role of somebody else and one that does not exist cannot be told apart") {
    fixture node;
    const auto session = fixture::with_session(node.put_session("10.0.0.1"));
    CHECK(node.send(get(ecs + "/api-role"), "10.0.0.1")->head() ==
          node.send(get(ecs + "/nothing"), "10.0.0.1")->head());
    CHECK(node.send(get(ecs + "/api-role"), "10.0.0.1")->body() ==
          node.send(get(ecs + "/nothing"), "10.0.0.1")->body());
    CHECK(node.send(get(list_path + "api-role", session), "10.0.0.1")->body() ==
          node.send(get(list_path + "nothing", session), "10.0.0.1")->body());
    CHECK(node.asks.empty());
}

TEST_CASE("T2: of 500 mutations of the paths only the paths themselves are answered") {
    fixture node;
    const auto session = fixture::with_session(node.put_session("10.0.0.1"));
    const std::vector<std::string> listed{ecs,
                                          ecs + "/web-role",
                                          "/latest/meta-data/iam/security-credentials",
                                          list_path,
                                          list_path + "web-role",
                                          list_path + "/web-role", // minio-js sends two slashes
                                          "/latest/meta-data/iam/info"};
    for (const auto& path : listed)
        CHECK(node.status(get(path, session)) == 200);
    const std::vector<std::string> insertions{"/",  "//",  "/./",     "/../", "%2f", "%2F",
                                              ";x", "?",   "?a=b",    "%00",  "%20", "\\",
                                              ".",  "..;", "%2e%2e/", "~",    "A"};
    std::size_t tried = 0;
    for (const auto& path : listed)
        for (std::size_t at = 0; at <= path.size(); at += 2)
            for (const auto& insertion : insertions) {
                auto mutated = path;
                mutated.insert(at, insertion);
                if (mutated.front() != '/' ||
                    std::find(listed.begin(), listed.end(), mutated) != listed.end())
                    continue;
                ++tried;
                CAPTURE(mutated);
                const auto r = node.send(get(mutated, session), "10.0.0.1");
                CHECK((r->status() == 404 || r->status() == 403));
            }
    CHECK(tried >= 500);
    CHECK(node.send(get("/latest/meta-data/iam/security-credentials-extended/", session), "10.0.0.1")
              ->status() == 404);
    CHECK(node.send(get("/latest/meta-data/hostname", session), "10.0.0.1")->body().empty());
    CHECK(node.status(get("/metrics")) == 404);
    CHECK(node.status(get("/")) == 404);
}

TEST_CASE("T13: whatever passed through a proxy is refused, on every route and in every case") {
    fixture node;
    const auto session = fixture::with_session(node.put_session("10.0.0.1"));
    for (const std::string name :
         {"X-Forwarded-For", "x-forwarded-for", "X-FORWARDED-FOR", "Forwarded", "forwarded", "FORWARDED",
          "Via", "via", "VIA", "X-Real-IP", "x-real-ip", "X-REAL-IP"})
        for (const std::string value : {"1.2.3.4", "10.0.0.1", ""}) {
            const auto header = name + ": " + value + "\r\n";
            CAPTURE(header);
            for (const auto& path : {ecs, ecs + "/web-role", list_path, list_path + "web-role",
                                     std::string("/latest/meta-data/iam/info"), std::string("/nothing")})
                CHECK(node.status(get(path, session + header)) == 403);
            CHECK(node.put_session("10.0.0.1", header).find("AccessDenied") != std::string::npos);
        }
}

TEST_CASE("T15: Host must name this endpoint, and web pages get nothing") {
    fixture node;
    const auto host = [&](const std::string& h) {
        return node.status("GET " + ecs + " HTTP/1.1\r\nHost: " + h + "\r\n\r\n");
    };
    for (const auto* ours : {"169.254.170.2", "169.254.170.2:80", "169.254.170.23", "169.254.170.23:8080",
                             "[fd00:ec2::23]", "[FD00:EC2::23]:80", "169.254.169.254"})
        CHECK(host(ours) == 200);
    for (const auto* foreign : {"attacker.com", "attacker.com:80", "169.254.170.2.attacker.com", "10.0.0.1",
                                "localhost", "0xa9fea902", "2852039170", "169.254.170.2.", "169.254.170.02",
                                "169.254.170.2:0", "169.254.170.2:99999"}) {
        CAPTURE(foreign);
        CHECK(host(foreign) == 403);
    }
    // Most of these the parser refuses already; the check does not rely on it.
    const metadata::host_check hosts({});
    for (const auto* foreign :
         {"169.254.170.2@attacker.com", "user:x@169.254.170.2", "169.254.170.2:", "169.254.170.2:80:80",
          "169.254.170.2 ", "[fe80::1%25eth0]", "[fd00:ec2::23", "fd00:ec2::23]", "fd00:ec2::23", "[]",
          "[169.254.170.1]", "[169.254.170.2]"}) {
        CAPTURE(foreign);
        CHECK_FALSE(hosts.ours(foreign, asio::ip::make_address("169.254.170.1")));
    }
    CHECK(node.status("GET " + ecs + " HTTP/1.0\r\n\r\n") == 403);
    for (const auto* header :
         {"Origin: http://169.254.170.2\r\n", "origin: null\r\n", "Sec-Fetch-Mode: cors\r\n",
          "sec-fetch-site: same-origin\r\n", "SEC-FETCH-DEST: empty\r\n"})
        CHECK(node.status(get(ecs, header)) == 403);
    CHECK(node.status(get(ecs, "Accept: application/json\r\nUser-Agent: x\r\n")) == 200);
}

TEST_CASE("T15: extra hosts are accepted as configured, localhost only on loopback") {
    const std::vector<std::string> extra{"Metadata.Internal", "[fd00::5]"};
    const metadata::host_check hosts(extra);
    const auto local = asio::ip::make_address("192.168.1.1");
    CHECK(hosts.ours("metadata.internal:80", local));
    CHECK(hosts.ours("METADATA.INTERNAL", local));
    CHECK(hosts.ours("[fd00::5]", local));
    CHECK(hosts.ours("192.168.1.1", local));
    CHECK(hosts.ours("localhost:1338", asio::ip::make_address("127.0.0.1")));
    CHECK(hosts.ours("[::1]", asio::ip::make_address("::1")));
    CHECK_FALSE(hosts.ours("localhost", local));
    CHECK_FALSE(hosts.ours("127.0.0.1", local));
    for (const std::string loopback : {"127.0.0.1", "::1"}) { // as SDKs write them, and in other ways
        const bool v4 = loopback == "127.0.0.1";
        const auto there = asio::ip::make_address(loopback);
        CHECK(hosts.ours("127.0.0.1", there) == v4);
        CHECK(hosts.ours("127.0.0.1:9799", there) == v4);
        CHECK(hosts.ours("[::1]:9799", there) == !v4);
        CHECK(hosts.ours("[0:0::1]", there) == !v4);
        CHECK_FALSE(hosts.ours("::1", there));
        CHECK_FALSE(hosts.ours("[127.0.0.1]", there));
        CHECK_FALSE(hosts.ours("127.0.0.2", there));
    }
    CHECK_FALSE(hosts.ours("", local));
    CHECK_FALSE(hosts.ours(std::string(5000, 'a'), local));
}

TEST_CASE("T12: the IMDS paths need a session token; a lifetime out of range is a bad request") {
    fixture node;
    for (const auto& path : {list_path, list_path + "web-role", std::string("/latest/meta-data/iam/info")}) {
        CHECK(node.status(get(path)) == 401);
        CHECK(node.status(get(path, "X-aws-ec2-metadata-token: \r\n")) == 401);
        CHECK(node.status(get(path, "X-aws-ec2-metadata-token: AAAA\r\n")) == 401);
    }
    for (const std::string ttl : {"0", "21601", "", "-1", "1.5", "60s", "99999999999"}) {
        const auto r = node.send("PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\n"
                                 "X-aws-ec2-metadata-token-ttl-seconds: " +
                                     ttl + "\r\n\r\n",
                                 "10.0.0.1");
        CHECK(r->status() == 400);
    }
    CHECK(node.status("PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n") == 400);
    CHECK(node.status(get("/latest/api/token")) == 405);
    const auto r = node.send("PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\n"
                             "x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n\r\n",
                             "10.0.0.1");
    CHECK(r->status() == 200);
    CHECK(r->head().find("ec2-metadata-token-ttl-seconds: 21600\r\n") != std::string::npos);
    const auto session = fixture::with_session(r->body());
    CHECK(node.send(get(list_path, session), "10.0.0.1")->body() == "web-role");
    CHECK(member_of(node.send(get(list_path + "web-role", session), "10.0.0.1")->body(), "Code") ==
          "Success");
    CHECK(node.send(get(list_path, session), "10.0.0.1")->head().find("WWW-Authenticate") ==
          std::string::npos);
}

TEST_CASE("T14: a session token is good from its own pod until it expires, and nowhere else") {
    fixture node;
    const auto session = fixture::with_session(node.put_session("10.0.0.1"));
    CHECK(node.status(get(list_path, session), "10.0.0.1") == 200);
    CHECK(node.status(get(list_path, session), "10.0.0.2") == 401);
    CHECK(node.status(get(list_path, session), "10.0.0.9") == 401);
    node.time.advance(std::chrono::seconds(60));
    CHECK(node.status(get(list_path, session), "10.0.0.1") == 401);
    const auto fresh = node.put_session("10.0.0.1");
    for (std::size_t i = 0; i < fresh.size(); ++i) {
        auto forged = fresh;
        forged[i] = forged[i] == 'A' ? 'B' : 'A';
        CHECK(node.status(get(list_path, fixture::with_session(forged))) == 401);
    }
    CHECK(node.status(get(list_path, fixture::with_session(fresh) + fixture::with_session(fresh))) == 401);
    node.upstream.pods().pod_removed("a");
    node.run();
    CHECK(node.status(get(list_path, fixture::with_session(fresh))) == 401);
}

TEST_CASE("T14: where tokens are required, a plain GET or PUT gets nothing") {
    for (const auto mode : {identity_mode::token, identity_mode::both}) {
        fixture node(fixture::with(mode));
        CHECK(node.status(get(ecs)) == 403);
        CHECK(node.status(get(ecs, "Authorization: \r\n")) == 400);
        CHECK(node.put_session("10.0.0.1").find("AccessDenied") != std::string::npos);
        CHECK(node.status(get(list_path)) == 401);
    }
}

TEST_CASE("IMDSv1 is off unless it is switched on, and never where tokens are required") {
    auto s = node_settings();
    s.imds_v1 = true;
    CHECK(fixture(s).status(get(list_path)) == 200);
    s.identity = identity_mode::token;
    CHECK(fixture(s).status(get(list_path)) == 401);
    s.identity = identity_mode::any;
    fixture node(s);
    CHECK(node.status(get(list_path, "X-aws-ec2-metadata-token: AAAA\r\n")) == 401);
}

TEST_CASE("region, zone and identity document are there where they are configured") {
    fixture bare;
    const auto bare_session = fixture::with_session(bare.put_session("10.0.0.1"));
    for (const auto* path :
         {"/latest/meta-data/placement/region", "/latest/meta-data/placement/availability-zone",
          "/latest/dynamic/instance-identity/document"})
        CHECK(bare.status(get(path, bare_session)) == 404);
    auto s = node_settings();
    s.region = "eu-central-1";
    s.availability_zone = "eu-central-1a";
    fixture node(s);
    const auto session = fixture::with_session(node.put_session("10.0.0.1"));
    const auto body = [&](const std::string& path) {
        return node.send(get(path, session), "10.0.0.1")->body();
    };
    CHECK(body("/latest/meta-data/placement/region") == "eu-central-1");
    CHECK(body("/latest/meta-data/placement/availability-zone") == "eu-central-1a");
    CHECK(body("/latest/meta-data/placement/availability-zone/") == "eu-central-1a");
    CHECK(member_of(body("/latest/dynamic/instance-identity/document"), "region") == "eu-central-1");
    CHECK(member_of(body("/latest/dynamic/instance-identity/document"), "accountId") == "123456789012");
    CHECK(member_of(body("/latest/meta-data/iam/info"), "Code") == "Success");
}

TEST_CASE("T20: a million session tokens of one pod change nothing for another's, and need no memory") {
    metadata::imds_sessions sessions({1, 2, 3});
    const auto now = boot_time(std::chrono::hours(1));
    const auto others = sessions.issue("pod-b", false, now + std::chrono::seconds(21600));
    for (int i = 0; i < 1'000'000; ++i)
        (void)sessions.issue("pod-a", false, now + std::chrono::seconds(21600));
    static_assert(sizeof(metadata::imds_sessions) < 256); // and it owns nothing but OpenSSL's context
    REQUIRE(sessions.check(others, now));
    CHECK(sessions.check(others, now)->pod_uid == "pod-b");
    CHECK_FALSE(sessions.check(others, now + std::chrono::seconds(21600)));
    metadata::imds_sessions restarted({4, 5, 6});
    CHECK_FALSE(restarted.check(others, now));
}

TEST_CASE("a token that was verified once is remembered until it expires") {
    fixture node(fixture::with(identity_mode::token));
    const auto headers = with_token("h.one.s");
    const auto r = node.send(get(ecs, headers), "10.0.0.1");
    CHECK(r->waited);
    node.verify_as(make_pod("a", "web", ""), "sts.amazonaws.com", std::chrono::seconds(600));
    CHECK(r->status() == 200);
    CHECK(node.work.presentations.size() == 1);
    CHECK(node.work.presentations[0].token.reveal() == "h.one.s");
    CHECK_FALSE(node.send(get(ecs, headers), "10.0.0.1")->waited);
    CHECK(node.status(get(ecs, "authorization: Bearer h.one.s\r\n")) == 200);
    CHECK(node.status(get(ecs, "authorization: bEaReR h.one.s\r\n"), "192.168.7.7") == 200);
    node.time.advance(std::chrono::seconds(600));
    CHECK(node.send(get(ecs, headers), "10.0.0.1")->waited);
}

TEST_CASE("T22: a token of a pod that is not here, or that says something else of it, is refused") {
    const auto answer_to = [](const std::function<void(fixture&)>& verify) {
        fixture node(fixture::with(identity_mode::any));
        const auto r = node.send(get(ecs, with_token("h.x.s")), "10.0.0.1");
        verify(node);
        node.run();
        return std::pair(r->status(), r->last.reason);
    };
    using p = std::pair<unsigned, std::string_view>;
    const auto good = make_pod("a", "web", "");
    CHECK(answer_to([&](fixture& n) { n.verify_as(good); }).first == 200);
    CHECK(answer_to([](fixture& n) { n.reject_token(errc::untrusted); }) == p{403, "bad_token"});
    CHECK(answer_to([](fixture& n) { n.reject_token(errc::malformed); }) == p{400, "bad_token_form"});
    CHECK(answer_to([&](fixture& n) { n.verify_as(good, "another-audience"); }) == p{403, "bad_token"});
    CHECK(answer_to([&](fixture& n) { n.verify_as(good, "credlet"); }).first == 200);
    CHECK(answer_to([&](fixture& n) { n.verify_as(good, "credlet", std::chrono::seconds(0)); }) ==
          p{403, "bad_token"});
    CHECK(answer_to([&](fixture& n) {
              n.verify_as(good, "credlet", std::chrono::hours(1), "other-sa-uid");
          }) == p{403, "bad_token"});
    CHECK(answer_to([&](fixture& n) {
              auto other = good;
              other.service_account = "api";
              n.verify_as(other);
          }) == p{403, "bad_token"});
    CHECK(answer_to([&](fixture& n) {
              auto other = good;
              other.name = "another-name";
              n.verify_as(other);
          }) == p{403, "bad_token"});
    CHECK(answer_to([](fixture& n) {
              auto elsewhere = make_pod("z", "web", "");
              elsewhere.node_name = "node-2";
              n.verify_as(elsewhere);
          }) == p{403, "pod_not_here"});
}

TEST_CASE("T23: a token is worth nothing once its pod has ended or gone, verified before or not") {
    for (const bool removed : {false, true}) {
        fixture node;
        const auto headers = with_token("h.a.s");
        (void)node.send(get(ecs, headers), "10.0.0.1");
        node.verify_as(make_pod("a", "web", ""));
        CHECK(node.status(get(ecs, headers), "10.0.0.1") == 200);
        CHECK(node.serving.remembered_tokens() == 1);
        auto a = make_pod("a", "web", "10.0.0.1");
        a.terminal = true;
        if (removed)
            node.upstream.pods().pod_removed("a");
        else
            node.upstream.pods().pod_changed(a);
        node.run();
        CHECK(node.departed == std::vector<std::string>{"a"});
        CHECK(node.serving.remembered_tokens() == 0);
        const auto replay = node.send(get(ecs, headers), "10.0.0.9");
        node.verify_as(make_pod("a", "web", ""));
        if (removed) { // the API server is asked once more, and knows it no longer
            REQUIRE(node.work.pods.size() == 1);
            node.upstream.asks().pod_looked_up(node.work.pods[0], std::optional<metadata::pod>(),
                                               node.time.now(), node.time.wall());
            node.run();
        }
        CHECK(replay->status() == 403);
        CHECK(replay->last.reason == "pod_not_here");
    }
}

TEST_CASE(
    "an answer about a token's pod that comes late does not disturb the next verification of the token") {
    fixture node(fixture::with(identity_mode::token));
    const auto headers = with_token("h.late.s");
    const auto late = make_pod("late", "web", "10.0.0.7");
    const auto first = node.send(get(ecs, headers), "10.0.0.7");
    node.verify_as(late, "credlet", std::chrono::seconds(30));
    REQUIRE(node.work.pods.size() == 1); // the pod is asked for, and the watch tells first
    node.upstream.pods().pod_changed(late);
    node.run();
    CHECK(first->status() == 200);
    node.time.advance(std::chrono::seconds(30));
    const auto second = node.send(get(ecs, headers), "10.0.0.7");
    while (!node.asks.empty())
        node.take_ask();
    node.turn();
    REQUIRE(node.work.verifications.size() == 1);
    node.upstream.asks().pod_looked_up(node.work.pods[0], std::optional(late), node.time.now(),
                                       node.time.wall());
    node.run();
    node.reject_token(errc::untrusted);
    CHECK(second->status() == 403);
}

TEST_CASE("T24: a stolen token is refused from an address that is another pod's") {
    fixture node;
    const auto headers = with_token("h.b.s");
    const auto r = node.send(get(ecs, headers), "10.0.0.1");
    node.verify_as(make_pod("b", "api", ""));
    CHECK(r->status() == 403);
    CHECK(r->last.reason == "identity_mismatch");
    CHECK(node.status(get(ecs, headers), "10.0.0.2") == 200);
    CHECK(node.send(get(ecs, headers), "10.0.0.1")->last.reason == "identity_mismatch");
}

TEST_CASE("where both proofs are required, each alone is not enough") {
    fixture node(fixture::with(identity_mode::both));
    const auto headers = with_token("h.a.s");
    const auto r = node.send(get(ecs, headers), "10.0.0.1");
    node.verify_as(make_pod("a", "web", ""));
    CHECK(r->status() == 200);
    CHECK(node.status(get(ecs), "10.0.0.1") == 403);
    CHECK(node.send(get(ecs, headers), "10.0.0.9")->last.lacking->what == metadata::need::address);
    const auto session = fixture::with_session(node.put_session("10.0.0.1", headers));
    CHECK(node.status(get(list_path, session), "10.0.0.1") == 200);
    CHECK(node.status(get(list_path, session), "10.0.0.9") == 401);
}

TEST_CASE("by address alone, a token that is sent along does not matter") {
    fixture node(fixture::with(identity_mode::address));
    CHECK(node.status(get(ecs, with_token("garbage")), "10.0.0.1") == 200);
}

TEST_CASE("T10: from the node's own address only a token identifies a pod") {
    fixture node;
    auto host = make_pod("h", "web", "192.168.0.1");
    host.host_network = true;
    node.upstream.pods().pod_changed(host);
    node.run();
    CHECK(node.send(get(ecs), "192.168.0.1")->last.reason == "host_network");
    CHECK(node.put_session("192.168.0.1").find("AccessDenied") != std::string::npos);
    const auto r = node.send(get(ecs, with_token("h.h.s")), "192.168.0.1");
    node.verify_as(host);
    CHECK(r->status() == 200);
    const auto session = fixture::with_session(node.put_session("192.168.0.1", with_token("h.h.s")));
    CHECK(node.status(get(list_path, session), "192.168.0.1") == 200);
    CHECK(node.status(get(list_path, session), "10.0.0.1") == 401);
}

TEST_CASE("a static pod gets nothing") {
    fixture node;
    auto p = make_pod("m", "web", "10.0.0.5");
    p.mirror = true;
    node.upstream.pods().pod_changed(p);
    node.run();
    CHECK(node.send(get(ecs), "10.0.0.5")->last.reason == "mirror_pod");
}

TEST_CASE("T27: bad tokens are verified at a bounded rate for each source, then refused unverified") {
    fixture node;
    unsigned verified = 0, limited = 0;
    for (int i = 0; i < 1000; ++i) {
        const auto r = node.send(get(ecs, with_token("h." + std::to_string(i) + ".s")), "10.0.0.1");
        r->status() == 429 ? ++limited : ++verified;
    }
    CHECK(verified == 20);
    CHECK(limited == 980);
    CHECK(node.send(get(ecs, with_token("h.other.s")), "10.0.0.2")->waited); // others are not affected
    CHECK(node.status(get(ecs), "10.0.0.1") == 200);
    // The very same bad token again is not verified again.
    fixture fresh;
    const auto r = fresh.send(get(ecs, with_token("h.same.s")), "10.0.0.1");
    fresh.reject_token(errc::untrusted);
    CHECK(r->status() == 403);
    for (int i = 0; i < 100; ++i)
        CHECK(fresh.status(get(ecs, with_token("h.same.s"))) == 403);
    CHECK(fresh.asks.empty());
}

TEST_CASE("T27: requests that bring one token at once are charged once, and a good token not at all") {
    auto s = node_settings();
    s.bad_tokens_per_second = 2;
    fixture node(s);
    const auto all_served = [&](const std::string& token) {
        std::vector<metadata_node::request_ptr> workers;
        for (int i = 0; i < 32; ++i)
            workers.push_back(node.send(get(ecs, with_token(token)), "10.0.0.1"));
        node.verify_as(make_pod("a", "web", ""));
        return std::all_of(workers.begin(), workers.end(), [](const auto& r) { return r->status() == 200; });
    };
    for (int i = 0; i < 5; ++i)
        CHECK(all_served("h." + std::to_string(i) + ".s"));

    // What is not the token's fault is not charged either.
    for (int i = 0; i < 5; ++i) {
        const auto r = node.send(get(ecs, with_token("h.away" + std::to_string(i) + ".s")), "10.0.0.1");
        auto elsewhere = make_pod("z", "web", "");
        elsewhere.node_name = "node-2";
        node.verify_as(elsewhere);
        CHECK(r->last.reason == "pod_not_here");
    }
    // Nothing was won by hanging up: the same token again is another verification.
    const auto text = get(ecs, with_token("h.gone.s"));
    CHECK(node.send(text, "10.0.0.1")->waited);
    node.hang_up_all();
    CHECK(node.send(text, "10.0.0.1")->waited);
    node.hang_up_all();
    CHECK(node.status(text) == 429);
}

TEST_CASE("T27: a token whose verification brings nothing in time stays charged") {
    auto s = node_settings();
    s.bad_tokens_per_second = 0.01; // and one at once
    fixture node(s);
    const auto r = node.send(get(ecs, with_token("h.unknown-key.s")), "10.0.0.1");
    node.pass(s.ecs_hold);
    CHECK(r->status() == 503);
    CHECK(node.status(get(ecs, with_token("h.another.s"))) == 429);
}

TEST_CASE("T27: the charges of tokens under verification stay within their bound") {
    metadata::bad_token_budget budget(1e9, std::chrono::seconds(5));
    const auto now = boot_time(std::chrono::hours(1));
    for (std::uint32_t i = 0; i < 3 * metadata::bad_token_budget::max_under_way; ++i) {
        metadata::token_digest digest{};
        std::memcpy(digest.data(), &i, sizeof i);
        CHECK(budget.charge(digest, 1, now));
    }
    CHECK(budget.under_way() <= metadata::bad_token_budget::max_under_way);
}

TEST_CASE(
    "a token for an annotated audience is verified for it before any pod of the service account is known") {
    fixture node;
    node.upstream.pods().account_changed(late_account());
    node.run();
    (void)node.send(get(ecs, with_token("h.late.s")), "10.0.0.7");
    node.run();
    REQUIRE(node.work.verifications.size() == 1);
    const auto& audiences = node.work.verifications[0].audiences;
    CHECK(std::find(audiences.begin(), audiences.end(), "its-own") != audiences.end());
    node.upstream.pods().account_removed(late_account());
    CHECK(node.upstream.pods().accepted_audiences().size() == 1);
}

TEST_CASE("no token is refused for its audience before all service accounts are known") {
    const auto late = make_pod("late", "late", "10.0.0.7");
    for (const bool verifies : {false, true}) {
        CAPTURE(verifies);
        metadata_node node; // nothing has been listed
        const auto r = node.send(get(ecs, with_token("h.late.s")), "10.0.0.7");
        node.run();
        node.upstream.pods().pod_changed(late);
        if (verifies)
            answer_verification(node, claims_of(node, late, "its-own"));
        else
            answer_verification(node, fail(errc::untrusted, "not for an audience of ours"));
        CHECK(r->state == metadata_node::request_state::asking);
        node.upstream.pods().accounts_replaced({late_account()});
        node.upstream.pods().pods_replaced({late});
        node.upstream.set_synced(true);
        node.run();
        if (!verifies) {
            node.pass(metadata::broker::retry_after);
            answer_verification(node, claims_of(node, late, "its-own"));
        }
        CHECK(r->status() == 200);
    }
}

TEST_CASE("and if they do not come to be known in time, that is what the caller hears") {
    const auto late = make_pod("late", "late", "10.0.0.7");
    for (const bool verifies : {false, true}) {
        CAPTURE(verifies);
        metadata_node node;
        node.upstream.pods().pod_changed(late);
        const auto r = node.send(get(ecs, with_token("h.late.s")), "10.0.0.7");
        node.run();
        if (verifies)
            answer_verification(node, claims_of(node, late, "its-own"));
        else
            answer_verification(node, fail(errc::untrusted, "not for an audience of ours"));
        node.pass(node.settings.ecs_hold);
        CHECK(r->last.reason == "not_synced");
        CHECK(node.send(get(ecs, with_token("h.late.s")), "10.0.0.7")->waited);
    }
}

TEST_CASE("once all is listed, an audience that no annotation names is refused") {
    metadata_node node;
    const auto late = make_pod("late", "late", "10.0.0.7");
    node.upstream.pods().pod_changed(late);
    const auto r = node.send(get(ecs, with_token("h.late.s")), "10.0.0.7");
    node.run();
    answer_verification(node, claims_of(node, late, "its-own"));
    CHECK(r->state == metadata_node::request_state::asking);
    node.upstream.set_synced(true); // and nothing else has changed
    node.run();
    CHECK(r->last.reason == "bad_token");
}

TEST_CASE("what a caller presents is kept for the token source also while its annotation is not known") {
    fixture node(fixture::with(identity_mode::any));
    const auto late = make_pod("late", "late", "10.0.0.7");
    node.upstream.pods().pod_changed(late);
    node.run();
    (void)node.send(get(ecs, with_token("h.late.s")), "10.0.0.7");
    node.verify_as(late, "credlet");
    REQUIRE(node.work.presentations.size() == 1); // it may be the audience that the annotation names
    CHECK(node.work.presentations[0].token.reveal() == "h.late.s");
}

TEST_CASE("T8: connections opened while an address was disputed end with the dispute") {
    fixture node;
    node.upstream.pods().pod_changed(make_pod("c", "api", "10.0.0.1"));
    node.run();
    CHECK(node.closed_peers.size() == 1);
    node.upstream.pods().pod_changed(make_pod("d", "api", "10.0.0.1"));
    node.run();
    CHECK(node.closed_peers.size() == 1); // still disputed
    node.upstream.pods().pod_removed("a");
    node.upstream.pods().pod_removed("d");
    node.run();
    REQUIRE(node.closed_peers.size() == 2);
    CHECK(node.closed_peers[1].to_string() == "10.0.0.1");
}

TEST_CASE("T10: a caller with the listener's own address is on the host network and hears so at once") {
    fixture node;
    const std::string own = "169.254.170.2"; // what a test's requests come in on
    const auto r = node.send(get(ecs), own);
    CHECK(r->last.reason == "host_network");
    CHECK_FALSE(r->waited);
    CHECK(node.put_session(own).find("AccessDenied") != std::string::npos);
    node.upstream.pods().pod_changed(make_pod("c", "web", own));
    node.run();
    CHECK(node.status(get(ecs), own) == 200); // unless it is known to be a pod's
}

TEST_CASE("T14: a session that a token proved ends with the token, whatever lifetime was asked for") {
    fixture node;
    const auto r = node.send("PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\n"
                             "X-aws-ec2-metadata-token-ttl-seconds: 3600\r\n" +
                                 with_token("h.a.s") + "\r\n",
                             "10.0.0.1");
    node.verify_as(make_pod("a", "web", ""), "sts.amazonaws.com", std::chrono::seconds(600));
    CHECK(r->status() == 200);
    CHECK(r->head().find("ttl-seconds: 3600\r\n") != std::string::npos); // SDKs compare it with theirs
    const auto session = fixture::with_session(r->body());
    node.time.advance(std::chrono::seconds(598));
    CHECK(node.status(get(list_path, session)) == 200);
    node.time.advance(std::chrono::seconds(2));
    CHECK(node.status(get(list_path, session)) == 401);
}

TEST_CASE("what cannot be a token is refused before anything is computed for it") {
    fixture node;
    for (const std::string text :
         {"x", "a.b", "a.b.c.d", ".b.c", "a..c", "a.b.", "a.b.c d", "Basic a.b.c", "a.b.c=", "Bearer a.b"})
        CHECK(node.status(get(ecs, with_token(text))) == 400);
    CHECK(node.status(get(ecs, with_token("a.b.c") + with_token("a.b.c"))) == 400);
    CHECK(metadata::has_token_form("a." + std::string(19996, 'b') + ".c"));
    CHECK_FALSE(metadata::has_token_form("a." + std::string(19997, 'b') + ".c"));
    CHECK(node.asks.empty());
}

TEST_CASE("T19: one pod's flood spends its own budget") {
    fixture node;
    unsigned served = 0, limited = 0;
    for (int i = 0; i < 1000; ++i)
        node.status(get(ecs)) == 200 ? ++served : ++limited;
    CHECK(served == 400);
    CHECK(limited == 600);
    CHECK(node.status(get(ecs), "10.0.0.2") == 200);
    CHECK(node.send(get(ecs), "10.0.0.1")->head().find("Retry-After: 1\r\n") != std::string::npos);
    node.time.advance(std::chrono::seconds(1));
    CHECK(node.status(get(ecs)) == 200);
}

TEST_CASE("request budgets stay within their bound of callers") {
    metadata::request_limits limits(1, 2, 100);
    const auto now = boot_time(std::chrono::hours(1));
    for (std::uint64_t caller = 0; caller < 10000; ++caller)
        CHECK(limits.take(caller, now));
    CHECK(limits.callers() <= 100);
}

TEST_CASE("remembered tokens stay within their bounds, per pod and in all") {
    metadata::caller_memory memory(100);
    const auto digest = [](int n) {
        metadata::token_digest d{};
        d[0] = static_cast<std::uint8_t>(n);
        d[8] = static_cast<std::uint8_t>(n >> 8);
        return d;
    };
    const auto now = boot_time(std::chrono::hours(1));
    const auto of = [&](const std::string& uid) {
        metadata::remembered_token t;
        t.pod_uid = uid;
        t.expires = now + std::chrono::hours(1);
        return t;
    };
    for (int i = 0; i < 50; ++i)
        memory.remember(digest(i), of("one"));
    CHECK(memory.tokens() == metadata::caller_memory::max_tokens_per_pod);
    CHECK(memory.token(digest(49), now) != nullptr);
    CHECK(memory.token(digest(0), now) == nullptr);
    for (int i = 100; i < 1000; ++i)
        memory.remember(digest(i), of("pod" + std::to_string(i)));
    CHECK(memory.tokens() == 100);
    memory.keep_only({});
    CHECK(memory.tokens() == 0);
}

// ---- through the listener in a pod's own network namespace

TEST_CASE("who comes through a pod's listener is that pod, whatever address he comes from") {
    fixture node;
    for (const std::string peer :
         {"127.0.0.1", "::1", "127.8.9.10", "10.0.0.2", "10.0.0.77", "192.168.0.1"}) {
        CAPTURE(peer);
        const auto a = node.send_through("a", get(ecs), peer);
        CHECK_FALSE(a->waited);
        CHECK(member_of(a->body(), "RoleArn") == role("web-role"));
        CHECK(member_of(node.send_through("b", get(ecs), peer)->body(), "RoleArn") == role("api-role"));
    }
    CHECK(node.send_through("a", get(ecs + "/api-role"))->last.reason == "foreign_role");
}

TEST_CASE("pods that have one address, or none yet, are served through their listeners, each as itself") {
    for (const auto mode : {identity_mode::any, identity_mode::address}) {
        fixture node(fixture::with(mode));
        node.upstream.pods().pod_changed(make_pod("b", "api", "10.0.0.1"));
        node.upstream.pods().pod_changed(make_pod("c", "api", ""));
        node.run();
        CHECK(node.send(get(ecs), "10.0.0.1")->last.reason == "address_conflict");
        CHECK(member_of(node.send_through("a", get(ecs), "10.0.0.1")->body(), "RoleArn") == role("web-role"));
        CHECK(member_of(node.send_through("b", get(ecs), "10.0.0.1")->body(), "RoleArn") == role("api-role"));
        CHECK(member_of(node.send_through("c", get(ecs))->body(), "RoleArn") == role("api-role"));
    }
}

TEST_CASE("a listener that has outlived its pod identifies nobody") {
    for (const auto mode :
         {identity_mode::any, identity_mode::token, identity_mode::address, identity_mode::both})
        for (const bool removed : {false, true}) {
            fixture node(fixture::with(mode));
            const auto others_token = with_token("h.b.s");
            if (mode != identity_mode::address) {
                (void)node.send(get(ecs, others_token), "10.0.0.2");
                node.verify_as(make_pod("b", "api", ""));
            }
            const auto session = fixture::with_session(node.put_session("10.0.0.2", others_token));
            auto a = make_pod("a", "web", "10.0.0.1");
            a.terminal = true;
            removed ? node.upstream.pods().pod_removed("a") : node.upstream.pods().pod_changed(a);
            node.run();
            for (const auto& text : {get(ecs), get(ecs, others_token), get(ecs, with_token("h.new.s")),
                                     get(list_path), get(list_path, session)}) {
                const auto r = node.send_through("a", text, "10.0.0.2");
                CHECK(r->status() == 403);
                CHECK(r->last.reason == "pod_not_here");
                CHECK_FALSE(r->waited);
            }
        }
}

TEST_CASE("a listener stands where the address stands in --identity, and a token must agree with it") {
    struct expectation {
        identity_mode mode;
        std::string_view without, own, of_another, garbage; // reasons of refusal; empty: served
    };
    for (const auto& e : {
             expectation{identity_mode::any, "", "", "identity_mismatch", "bad_token_form"},
             expectation{identity_mode::address, "", "", "", ""},
             expectation{identity_mode::token, "missing_token", "", "identity_mismatch", "bad_token_form"},
             expectation{identity_mode::both, "missing_token", "", "identity_mismatch", "bad_token_form"},
         }) {
        CAPTURE(static_cast<int>(e.mode));
        fixture node(fixture::with(e.mode));
        if (e.mode != identity_mode::address) {
            const auto own = node.send_through("a", get(ecs, with_token("h.a.s")));
            node.verify_as(make_pod("a", "web", ""));
            CHECK(own->status() == 200);
            const auto others = node.send_through("a", get(ecs, with_token("h.b.s")), "10.0.0.2");
            node.verify_as(make_pod("b", "api", ""));
            CHECK(others->status() == 403);
        }
        const auto outcome = [&](const std::string& headers) {
            const auto r = node.send_through("a", get(ecs, headers), "10.0.0.2");
            CHECK_FALSE(r->waited);
            if (r->status() == 200)
                CHECK(member_of(r->body(), "RoleArn") == role("web-role"));
            CHECK(r->status() == (r->last.reason.empty()               ? 200
                                  : r->last.reason == "bad_token_form" ? 400
                                                                       : 403));
            return r->last.reason;
        };
        CHECK(outcome({}) == e.without);
        CHECK(outcome(with_token("h.a.s")) == e.own);
        CHECK(outcome(with_token("h.b.s")) == e.of_another);
        CHECK(outcome(with_token("garbage")) == e.garbage);
    }
}

TEST_CASE("T14: a session token is bound to the pod of the listener it was asked for through") {
    fixture node;
    const auto put = [&](const std::string& uid, const std::string& headers = {}) {
        return node
            .send_through(uid, "PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\n"
                               "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n" +
                                   headers + "\r\n")
            ->body();
    };
    const auto session = fixture::with_session(put("a"));
    CHECK(node.send_through("a", get(list_path, session))->body() == "web-role");
    CHECK(node.send_through("b", get(list_path, session))->last.reason == "bad_session");
    CHECK(node.send_through("b", get(list_path, session), "10.0.0.1")->last.reason == "bad_session");
    CHECK(node.status(get(list_path, session), "10.0.0.1") == 200); // the same pod
    CHECK(node.status(get(list_path, session), "10.0.0.2") == 401);
    CHECK(node.status(get(list_path, session), "127.0.0.1") == 401); // the node's loopback is not the pod's
    CHECK(node.send_through("a", get(list_path))->status() == 401);
}

TEST_CASE("T14: where tokens are required, a session through a listener needs one, too") {
    for (const auto mode : {identity_mode::token, identity_mode::both}) {
        auto s = fixture::with(mode);
        s.imds_v1 = true;
        fixture node(s);
        const auto put = [](const std::string& headers) {
            return "PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\n"
                   "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n" +
                   headers + "\r\n";
        };
        CHECK(node.send_through("a", put({}))->last.reason == "missing_token");
        CHECK(node.send_through("a", get(list_path))->status() == 401);
        const auto r = node.send_through("a", put(with_token("h.a.s")));
        node.verify_as(make_pod("a", "web", ""));
        REQUIRE(r->status() == 200);
        const auto session = fixture::with_session(r->body());
        CHECK(node.send_through("a", get(list_path, session))->status() == 200);
        CHECK(node.send_through("b", get(list_path, session))->status() == 401);
    }
    auto s = node_settings();
    s.imds_v1 = true;
    CHECK(fixture(s).send_through("a", get(list_path))->body() == "web-role");
}

TEST_CASE("a static pod gets nothing through a listener, and one on the host network must send its token") {
    fixture node;
    auto fixed = make_pod("m", "web", "10.0.0.5");
    fixed.mirror = true;
    auto host = make_pod("h", "web", "192.168.0.1");
    host.host_network = true;
    node.upstream.pods().pod_changed(fixed);
    node.upstream.pods().pod_changed(host);
    node.run();
    CHECK(node.send_through("m", get(ecs))->last.reason == "mirror_pod");
    CHECK(node.send_through("h", get(ecs))->last.reason == "host_network");
    const auto r = node.send_through("h", get(ecs, with_token("h.b.s")));
    node.verify_as(make_pod("b", "api", ""));
    CHECK(member_of(r->body(), "RoleArn") == role("api-role")); // who runs there, too, is told apart by token
}

TEST_CASE("who comes through a listener never waits for an address, nor is he taken for the node") {
    for (const bool synced : {false, true}) {
        metadata_node node;
        node.upstream.pods().pods_replaced({make_pod("a", "web", "")});
        node.upstream.set_synced(synced);
        node.run();
        for (const std::string peer : {"127.0.0.1", "10.0.0.9"}) {
            const auto r = node.send_through("a", get(ecs), peer); // comes in on 127.0.0.1
            REQUIRE(r->last.lacking);
            CHECK(r->last.lacking->what == metadata::need::account);
            CHECK(node.send_through("nobody", get(ecs), peer)->last.reason == "pod_not_here");
        }
        node.upstream.pods().accounts_replaced({make_account("web", "web-role")});
        node.run();
        CHECK(node.work.addresses.empty());
        CHECK(node.send_through("a", get(ecs))->status() == 200);
    }
}

TEST_CASE("T7: a request that waits behind a listener is refused when the pod is gone meanwhile") {
    fixture node;
    node.upstream.pods().account_changed(make_account("late", "late-role"));
    node.upstream.pods().pod_changed(make_pod("c", "late", "10.0.0.3"));
    node.run(false);
    const auto r = node.send_through("c", get(ecs));
    CHECK(r->waited);
    node.upstream.pods().pod_removed("c");
    node.upstream.pods().pod_changed(make_pod("d", "late", "10.0.0.3"));
    node.run();
    CHECK(r->last.reason == "pod_not_here");
    CHECK(node.send_through("d", get(ecs))->status() == 200);
    CHECK(node.send_through("c", get(ecs))->last.reason == "pod_not_here");
}

TEST_CASE("T19: pods that all come from one loopback address spend each its own budget") {
    fixture node;
    unsigned served = 0;
    for (int i = 0; i < 1000; ++i)
        served += node.send_through("a", get(ecs), "127.0.0." + std::to_string(1 + i % 200))->status() == 200;
    CHECK(served == 400);
    CHECK(node.status(get(ecs), "10.0.0.1") == 429); // the same pod
    CHECK(node.send_through("b", get(ecs))->status() == 200);

    // Of those, too, that are not served in the end.
    fixture strict(fixture::with(identity_mode::both));
    unsigned refused = 0;
    for (int i = 0; i < 1000; ++i)
        refused += strict.send_through("a", get(ecs))->last.reason == "missing_token";
    CHECK(refused == 400);
    CHECK(strict.send_through("b", get(ecs))->last.reason == "missing_token");
    CHECK(strict.send_through("gone", get(ecs))->last.reason == "pod_not_here");
}

TEST_CASE("T27: the budget of bad tokens is the pod's, not the loopback address's") {
    fixture node;
    unsigned verified = 0, limited = 0;
    for (int i = 0; i < 200; ++i) {
        const auto r = node.send_through("a", get(ecs, with_token("h." + std::to_string(i) + ".s")),
                                         "127.0.0." + std::to_string(1 + i));
        r->status() == 429 ? ++limited : ++verified;
    }
    CHECK(verified == 20);
    CHECK(limited == 180);
    CHECK(node.send_through("b", get(ecs, with_token("h.other.s")))->waited);
    CHECK(node.send(get(ecs, with_token("h.third.s")), "127.0.0.1")->waited);
    CHECK(node.send_through("a", get(ecs))->status() == 200);
}
