// The upstream half: directory, broker and what they do for requests that wait.

#include "tests/support/metadata_node.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::test;
using namespace std::chrono_literals;
using namespace std::string_literals;
using metadata::pod;

namespace {

const std::string ecs = "/v1/credentials";
const std::string session_request = "PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\n"
                                    "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n";
constexpr auto broker_retry = metadata::broker::retry_after;

class fixture : public metadata_node {
public:
    explicit fixture(metadata::service_settings s = node_settings(), bool synced = true)
        : metadata_node(std::move(s)) {
        upstream.pods().accounts_replaced({make_account("web", "web-role"), make_account("api", "api-role")});
        upstream.pods().pods_replaced({});
        upstream.set_synced(synced);
        run();
    }
    // The direct questions under way find these pods, or fail.
    void answer_lookups(const result<std::vector<pod>>& found) {
        for (const auto& w : std::exchange(work.addresses, {}))
            upstream.asks().address_looked_up(w, found, time.now());
        run();
    }
    void answer_account_lookups(const result<std::optional<metadata::service_account>>& found) {
        for (const auto& w : std::exchange(work.accounts, {}))
            upstream.asks().account_looked_up(w, found, time.now());
        run();
    }
    void add(pod p) {
        upstream.pods().pod_changed(std::move(p));
        run();
    }
    static bool open(const request_ptr& r) { return r->state == request_state::asking; }
};

const result<std::vector<pod>> none = std::vector<pod>();
const auto away = fail(errc::unavailable, "the API server is away");

} // namespace

TEST_CASE("F25: an unknown address waits for the watch and is served as soon as it tells") {
    fixture node;
    const auto r = node.send(get(ecs), "10.0.0.1");
    node.pass(300ms);
    CHECK(fixture::open(r));
    CHECK(node.work.addresses.size() == 1); // one direct question meanwhile
    node.add(make_pod("a", "web", "10.0.0.1"));
    CHECK(r->status() == 200);
}

TEST_CASE("F25: what the direct question finds is served without the watch") {
    fixture node;
    const auto r = node.send(get(ecs), "10.0.0.1");
    node.run();
    node.answer_lookups(std::vector{make_pod("a", "web", "10.0.0.1")});
    CHECK(r->status() == 200);
    CHECK_FALSE(node.send(get(ecs), "10.0.0.1")->waited);
}

TEST_CASE("F25: many unknown callers cost at most five direct questions a second") {
    fixture node;
    for (int i = 0; i < 200; ++i) // twice from each address
        (void)node.send(get(ecs), "10.0.1." + std::to_string(i / 2));
    node.run();
    CHECK(node.work.addresses.size() == 5);
    node.pass(1000ms);
    CHECK(node.work.addresses.size() <= 10);
    CHECK(node.work.addresses.size() >= 9);
}

TEST_CASE("F25: an address that nobody has is refused when the hold time is over, and for a moment at once") {
    fixture node;
    const auto r = node.send(get(ecs), "10.0.0.1");
    node.run();
    node.answer_lookups(none);
    node.pass(4800ms);
    CHECK(fixture::open(r));
    node.pass(200ms);
    CHECK(r->status() == 403);
    CHECK(r->last.reason == "unknown_address");
    const auto again = node.send(get(ecs), "10.0.0.1");
    CHECK(again->status() == 403);
    CHECK_FALSE(again->waited);
    node.add(make_pod("a", "web", "10.0.0.1")); // the view comes before the memory of a refusal
    CHECK(node.send(get(ecs), "10.0.0.1")->status() == 200);
}

TEST_CASE("T41: unknown yet is 503, never 404: not synced, API server away, nothing in time") {
    fixture starting(node_settings(), false);
    const auto early = starting.send(get(ecs), "10.0.0.1");
    starting.run();
    starting.answer_lookups(none);
    starting.pass(5000ms);
    CHECK(early->status() == 503);
    CHECK(early->code() == "CredentialsUninitialized");
    CHECK(early->head().find("Retry-After: 1\r\n") != std::string::npos);

    fixture cut_off;
    const auto unknown = cut_off.send(get(ecs), "10.0.0.1");
    cut_off.run();
    cut_off.answer_lookups(away);
    cut_off.pass(5000ms);
    CHECK(unknown->status() == 503);
    CHECK(unknown->code() == "ServiceUnavailable");

    fixture slow;
    slow.add(make_pod("a", "web", "10.0.0.1"));
    slow.upstream.pods().account_changed(make_account("web", "other-role"));
    slow.run(false);
    const auto waiting = slow.send(get(ecs), "10.0.0.1");
    slow.pass(5000ms, false);
    CHECK(slow.send(get(ecs), "10.0.0.1")->waited);
    CHECK(waiting->status() == 503);
    CHECK(waiting->code() == "ServiceUnavailable");
}

TEST_CASE("IMDS callers are held less long than SDKs wait, and so short a wait condemns no address") {
    fixture node;
    const auto r = node.send(session_request, "10.0.0.1");
    const auto container = node.send(get(ecs), "10.0.0.1");
    node.run();
    node.answer_lookups(none);
    node.pass(850ms);
    CHECK(fixture::open(r));
    node.pass(50ms);
    CHECK(r->status() == 503); // an SDK tries again, and does not take 403 for "IMDS is off"
    CHECK(r->code() == "ServiceUnavailable");
    CHECK(fixture::open(container));
    CHECK(node.send(get(ecs), "10.0.0.1")->waited); // and neither is remembered for it
    node.add(make_pod("a", "web", "10.0.0.1"));
    CHECK(container->status() == 200);
}

TEST_CASE("a pod of which Kubernetes gives no token is told to try again, in both protocols") {
    for (const auto kind : {sts::failure_kind::no_token, sts::failure_kind::unusable}) {
        auto s = node_settings();
        s.imds_v1 = true;
        fixture node(s);
        node.upstream.pods().pod_changed(make_pod("a", "web", "10.0.0.1"));
        node.run(false);
        REQUIRE(node.calls.size() == 1);
        sts::failure problem;
        problem.kind = kind;
        problem.code = "NoToken";
        problem.message = "Kubernetes refused it";
        problem.definitive = true;
        node.fail_call(0, problem);
        node.run(false);
        for (const auto& path : {ecs, "/latest/meta-data/iam/security-credentials/web-role"s}) {
            CAPTURE(path);
            const auto r = node.send(get(path), "10.0.0.1");
            CHECK(r->status() == 503);
            CHECK(r->code() == "NoToken");
            CHECK(r->body().find("Kubernetes refused it") != std::string::npos);
            CHECK(r->head().find("Retry-After: 1\r\n") != std::string::npos);
            CHECK(r->last.reason == "unavailable");
        }
    }
}

TEST_CASE("F32: while two pods claim an address both get 503, then the one that is left gets its own") {
    fixture node;
    node.add(make_pod("a", "web", "10.0.0.1"));
    CHECK(member_of(node.send(get(ecs), "10.0.0.1")->body(), "RoleArn") == role("web-role"));
    node.add(make_pod("b", "api", "10.0.0.1"));
    const auto r = node.send(get(ecs), "10.0.0.1");
    CHECK(r->status() == 503);
    CHECK(r->code() == "AddressConflict");
    CHECK(node.closed_peers.size() == 1);
    node.upstream.pods().pod_removed("a");
    node.run();
    CHECK(member_of(node.send(get(ecs), "10.0.0.1")->body(), "RoleArn") == role("api-role"));
}

TEST_CASE("F33: a pod that goes while its request waits gets nothing any more, nor does its successor by "
          "that request") {
    for (const bool successor : {false, true}) {
        fixture node;
        node.upstream.pods().pod_changed(make_pod("a", "web", "10.0.0.1"));
        node.run(false);
        const auto r = node.send(get(ecs), "10.0.0.1");
        node.run(false);
        REQUIRE(fixture::open(r));
        node.upstream.pods().pod_removed("a");
        if (successor)
            node.upstream.pods().pod_changed(make_pod("b", "api", "10.0.0.1"));
        node.run(true);
        node.answer_lookups(none);
        node.pass(5000ms);
        CHECK(r->status() == 403);
        CHECK(r->last.reason == (successor ? "identity_changed" : "unknown_address"));
        CHECK(node.kept() == (successor ? 1 : 0));
    }
}

TEST_CASE("F33: what is fetched for a pod that went serves the others of its service account") {
    fixture node;
    node.upstream.pods().pod_changed(make_pod("a", "web", "10.0.0.1"));
    node.upstream.pods().pod_changed(make_pod("b", "web", "10.0.0.2"));
    node.run(false);
    const auto r = node.send(get(ecs), "10.0.0.2");
    node.run(false);
    node.upstream.pods().pod_removed("a");
    node.run(true);
    CHECK(r->status() == 200);
    CHECK(node.issued_count == 1);
}

TEST_CASE("T9: a pod that a relist does not show owns nothing any more") {
    fixture node;
    node.add(make_pod("a", "web", "10.0.0.1"));
    node.add(make_pod("b", "api", "10.0.0.2"));
    node.upstream.pods().pods_replaced({make_pod("b", "api", "10.0.0.2")});
    node.run();
    const auto r = node.send(get(ecs), "10.0.0.1");
    node.run();
    node.answer_lookups(none);
    node.pass(5000ms);
    CHECK(r->status() == 403);
    CHECK(node.send(get(ecs), "10.0.0.2")->status() == 200);
    CHECK(node.kept() == 1);
}

TEST_CASE("T7: a direct answer that comes after the watch has said more is not used") {
    fixture node;
    (void)node.send(get(ecs), "10.0.0.1");
    node.run();
    REQUIRE(node.work.addresses.size() == 1);
    const auto found = make_pod("a", "web", "10.0.0.1"); // as it was when the question was answered
    node.add(found);
    node.upstream.pods().pod_removed("a");
    node.add(make_pod("b", "api", "10.0.0.1"));
    node.answer_lookups(std::vector{found});
    CHECK(node.upstream.pods().pods().by_uid("a") == nullptr);
    CHECK(member_of(node.send(get(ecs), "10.0.0.1")->body(), "RoleArn") == role("api-role"));

    (void)node.send(get(ecs), "10.0.0.3");
    node.run();
    node.upstream.pods().pods_replaced({}); // gone, and the answer is older than that
    node.answer_lookups(std::vector{make_pod("c", "web", "10.0.0.3")});
    CHECK(node.upstream.pods().pods().size() == 0);
}

TEST_CASE("T7: what a late watch tells does not undo what a direct answer has shown since") {
    const auto at = [](pod p, std::uint64_t version) {
        p.version = version;
        return p;
    };
    const auto address = "10.0.0.1";
    auto dead = make_pod("p", "web", address);
    dead.terminal = true;
    fixture node;
    node.add(at(make_pod("q", "api", ""), 1));
    // p ran at version 3 and had ended at 4; then q got its address, at 5. The watch has told of none of it.
    const auto r = node.send(get(ecs), address);
    node.run();
    node.answer_lookups(std::vector{at(dead, 4), at(make_pod("q", "api", address), 5)});
    CHECK(member_of(r->body(), "RoleArn") == role("api-role"));
    const auto served = [&] { return member_of(node.send(get(ecs), address)->body(), "RoleArn"); };
    node.add(at(make_pod("p", "web", address), 3));
    CHECK(served() == role("api-role"));
    node.add(at(make_pod("q", "api", ""), 2));
    CHECK(served() == role("api-role"));
    // Nor does what follows a list that was read before; the next list is believed.
    node.upstream.pods().pods_replaced({at(dead, 4)});
    node.upstream.pods().pod_changed(at(make_pod("q", "api", ""), 2));
    CHECK_FALSE(node.upstream.pods().pods().by_uid("q")->addresses.empty());
    node.upstream.pods().pods_replaced({at(make_pod("q", "api", ""), 2)});
    CHECK(node.upstream.pods().pods().by_uid("q")->addresses.empty());
}

TEST_CASE("T7: a pod that is gone is gone, and a state without a number is taken as it comes") {
    fixture node;
    auto known = make_pod("a", "web", "10.0.0.1");
    known.version = 7;
    (void)node.send(get(ecs), "10.0.0.1");
    node.run();
    node.answer_lookups(std::vector{known});
    auto unnumbered = make_pod("a", "web", "10.0.0.2");
    node.add(unnumbered);
    CHECK(node.send(get(ecs), "10.0.0.2")->status() == 200);

    known = make_pod("b", "web", "10.0.0.3");
    known.version = 9;
    (void)node.send(get(ecs), "10.0.0.3");
    node.run();
    node.answer_lookups(std::vector{known});
    node.upstream.pods().pod_removed("b");
    node.run();
    CHECK(node.upstream.pods().pods().by_uid("b") == nullptr);
}

TEST_CASE("T7: neither does it undo what a direct answer has shown of a service account") {
    const auto at = [](metadata::service_account account, std::uint64_t version) {
        account.version = version;
        return account;
    };
    fixture node;
    node.add(make_pod("a", "late", "10.0.0.1"));
    const auto r = node.send(get(ecs), "10.0.0.1");
    node.run();
    node.answer_account_lookups(at(make_account("late", "new-role"), 8));
    CHECK(member_of(r->body(), "RoleArn") == role("new-role"));
    auto namesake = at(make_account("late", "old-role"), 4);
    namesake.uid = "sa-uid-before";
    node.upstream.pods().account_changed(namesake);
    node.run();
    CHECK(member_of(node.send(get(ecs), "10.0.0.1")->body(), "RoleArn") == role("new-role"));
    namesake.version = 5;
    node.upstream.pods().account_removed(namesake);
    node.run();
    CHECK(node.send(get(ecs), "10.0.0.1")->status() == 200);
    node.upstream.pods().account_removed(at(make_account("late", ""), 9));
    node.run();
    CHECK(node.upstream.pods().account("shop", "late") == nullptr);
}

TEST_CASE("T7: a list that was read before a direct answer does not drop what that brought") {
    const auto at = [](pod p, std::uint64_t version) {
        p.version = version;
        return p;
    };
    fixture node;
    const auto r = node.send(get(ecs), "10.0.0.1");
    node.run();
    // At 4 the address was a's already; the list is of 3, when it was still b's.
    node.answer_lookups(std::vector{at(make_pod("a", "web", "10.0.0.1"), 4)});
    CHECK(r->status() == 200);
    node.upstream.pods().pods_replaced({at(make_pod("b", "api", "10.0.0.1"), 3)});
    node.run();
    CHECK(node.send(get(ecs), "10.0.0.1")->code() == "AddressConflict");
    node.upstream.pods().pod_removed("b");
    node.run();
    CHECK(member_of(node.send(get(ecs), "10.0.0.1")->body(), "RoleArn") == role("web-role"));
    node.upstream.pods().pods_replaced({at(make_pod("c", "api", "10.0.0.2"), 5)});
    node.run();
    CHECK(node.upstream.pods().pods().by_uid("a") == nullptr);
}

TEST_CASE("T7: a direct answer is used although the watch tells of something older meanwhile") {
    fixture node;
    const auto r = node.send(get(ecs), "10.0.0.1");
    node.run();
    auto p = make_pod("a", "web", "");
    p.version = 3;
    node.add(p);
    p = make_pod("a", "web", "10.0.0.1");
    p.version = 4;
    node.answer_lookups(std::vector{p});
    CHECK(r->status() == 200);
}

TEST_CASE("a pod's new version alone publishes nothing") {
    fixture node;
    auto p = make_pod("a", "web", "10.0.0.1");
    p.version = 3;
    node.add(p);
    p.version = 4;
    node.upstream.pods().pod_changed(p);
    node.upstream.pods().accounts_replaced(
        {make_account("web", "web-role"), make_account("api", "api-role")});
    CHECK_FALSE(node.upstream.pods().identities_changed());
}

TEST_CASE("a direct answer that could not be used is asked for anew") {
    fixture node;
    const auto r = node.send(get(ecs), "10.0.0.1");
    node.run();
    node.upstream.pods().pods_replaced({});
    node.answer_lookups(std::vector{make_pod("a", "web", "10.0.0.1")}); // perhaps older than the list
    CHECK(fixture::open(r));
    node.pass(broker_retry);
    node.answer_lookups(std::vector{make_pod("a", "web", "10.0.0.1")});
    CHECK(r->status() == 200);

    // A list of service accounts says nothing about pods.
    const auto other = node.send(get(ecs), "10.0.0.2");
    node.run();
    node.upstream.pods().accounts_replaced({make_account("web", "web-role")});
    node.answer_lookups(std::vector{make_pod("b", "web", "10.0.0.2")});
    CHECK(other->status() == 200);

    node.add(make_pod("c", "late", "10.0.0.3"));
    const auto account = node.send(get(ecs), "10.0.0.3");
    node.run();
    node.upstream.pods().accounts_replaced({make_account("web", "web-role")});
    node.answer_account_lookups(make_account("late", "late-role"));
    CHECK(fixture::open(account));
    node.pass(broker_retry);
    node.answer_account_lookups(make_account("late", "late-role"));
    CHECK(member_of(account->body(), "RoleArn") == role("late-role"));
}

TEST_CASE("a service account without annotations is forgotten with its last pod") {
    fixture node;
    node.add(make_pod("a", "plain", "10.0.0.1"));
    node.add(make_pod("b", "plain", "10.0.0.2"));
    (void)node.send(get(ecs), "10.0.0.1");
    node.run();
    node.answer_account_lookups(make_account("plain", ""));
    node.upstream.pods().pod_removed("a");
    CHECK(node.upstream.pods().account("shop", "plain") != nullptr);
    node.upstream.pods().pod_removed("b");
    CHECK(node.upstream.pods().account("shop", "plain") == nullptr);
    CHECK(node.upstream.pods().account("shop", "web") != nullptr);
}

TEST_CASE("a pod of another node that a direct question brings is not ours") {
    fixture node;
    (void)node.send(get(ecs), "10.0.0.1");
    node.run();
    auto elsewhere = make_pod("a", "web", "10.0.0.1");
    elsewhere.node_name = "node-2";
    node.answer_lookups(std::vector{elsewhere});
    CHECK(node.upstream.pods().pods().size() == 0);
}

TEST_CASE("T44: a changed annotation takes effect with the event; the old role is never served again") {
    fixture node;
    node.add(make_pod("a", "web", "10.0.0.1"));
    REQUIRE(member_of(node.send(get(ecs), "10.0.0.1")->body(), "RoleArn") == role("web-role"));
    node.upstream.pods().account_changed(make_account("web", "new-role"));
    node.run(false);
    const auto r = node.send(get(ecs), "10.0.0.1");
    CHECK(fixture::open(r)); // and not the old one's
    node.run();
    CHECK(member_of(r->body(), "RoleArn") == role("new-role"));
    CHECK(node.kept() == 1);

    node.upstream.pods().account_removed(make_account("web", ""));
    node.run();
    CHECK(node.kept() == 0);
    const auto gone = node.send(get(ecs), "10.0.0.1");
    node.run();
    node.answer_account_lookups(std::optional<metadata::service_account>());
    CHECK(gone->status() == 403);
    CHECK(gone->code() == "NoRoleAssociated");
}

TEST_CASE("a service account without a role is asked for once in five seconds") {
    fixture node;
    node.add(make_pod("a", "plain", "10.0.0.1"));
    const auto r = node.send(get(ecs), "10.0.0.1");
    node.run();
    REQUIRE(node.work.accounts.size() == 1);
    node.answer_account_lookups(make_account("plain", ""));
    CHECK(r->code() == "NoRoleAssociated");
    for (int i = 0; i < 40; ++i) {
        node.time.advance(100ms);
        CHECK(node.send(get(ecs), "10.0.0.1")->status() == 403);
    }
    CHECK(node.work.accounts.empty());
    node.time.advance(1000ms);
    const auto later = node.send(get(ecs), "10.0.0.1");
    node.run();
    CHECK(node.work.accounts.size() == 1);
    node.answer_account_lookups(make_account("plain", "late-role"));
    CHECK(member_of(later->body(), "RoleArn") == role("late-role"));
}

TEST_CASE("in IMDS no role is 404 on the list, and STS's denial is a 200 that is no success") {
    auto s = node_settings();
    s.imds_v1 = true;
    fixture node(s);
    node.add(make_pod("a", "plain", "10.0.0.1"));
    const std::string list = "/latest/meta-data/iam/security-credentials/";
    const auto r = node.send(get(list), "10.0.0.1");
    node.run();
    node.answer_account_lookups(std::optional<metadata::service_account>());
    CHECK(r->status() == 404);
    CHECK(r->body().empty());

    node.upstream.pods().pod_changed(make_pod("b", "web", "10.0.0.2"));
    node.run(false);
    sts::failure denial;
    denial.kind = sts::failure_kind::denied;
    denial.code = "AccessDenied";
    denial.message = "Not authorized to perform sts:AssumeRoleWithWebIdentity";
    denial.request_id = "req-1";
    REQUIRE(node.calls.size() == 1);
    node.fail_call(0, denial);
    node.run(false);
    CHECK(node.send(get(list), "10.0.0.2")->body() == "web-role");
    const auto imds = node.send(get(list + "web-role"), "10.0.0.2");
    CHECK(imds->status() == 200);
    CHECK(member_of(imds->body(), "Code") == "AccessDenied");
    CHECK(member_of(imds->body(), "AccessKeyId").empty());
    const auto plain = node.send(get(ecs), "10.0.0.2");
    CHECK(plain->status() == 403);
    CHECK(plain->code() == "AccessDenied");
    CHECK(plain->body().find("req-1") != std::string::npos);
    CHECK(plain->head().find("Content-Type: application/json\r\n") != std::string::npos);
}

TEST_CASE("with nothing in time the answer says whether STS throttles") {
    fixture node;
    node.upstream.pods().pod_changed(make_pod("a", "web", "10.0.0.1"));
    node.run(false);
    const auto r = node.send(get(ecs), "10.0.0.1");
    node.run(false);
    sts::failure throttled;
    throttled.kind = sts::failure_kind::throttled;
    throttled.code = "Throttling";
    node.fail_call(0, throttled);
    node.pass(5000ms, false);
    CHECK(r->status() == 503);
    CHECK(r->code() == "Throttling");
    CHECK(r->head().find("Retry-After: 1\r\n") != std::string::npos);
}

TEST_CASE("T28: a role the policy forbids is refused by name of its own, and STS is never asked for it") {
    auto s = node_settings();
    s.role_policy = {{{"shop", {role("allowed-*")}}}};
    fixture node(s);
    node.add(make_pod("a", "web", "10.0.0.1"));
    const auto r = node.send(get(ecs), "10.0.0.1");
    CHECK(r->status() == 403);
    CHECK(r->code() == "RoleNotAllowed");
    CHECK(node.kept() == 0);
    CHECK(node.issued_count == 0);
}

TEST_CASE("a wrong annotation is a bad request that names it") {
    fixture node;
    auto account = make_account("web", "web-role");
    account.annotations.emplace_back("credlet.io/session-duration", "5");
    node.upstream.pods().account_changed(account);
    node.add(make_pod("a", "web", "10.0.0.1"));
    const auto r = node.send(get(ecs), "10.0.0.1");
    CHECK(r->status() == 400);
    CHECK(r->code() == "InvalidAnnotation");
    CHECK(r->body().find("credlet.io/session-duration") != std::string::npos);
}

TEST_CASE("F35: a thousand pods of two hundred service accounts, all at once, cost two hundred calls") {
    fixture node;
    for (int i = 0; i < 200; ++i)
        node.upstream.pods().account_changed(
            make_account("sa" + std::to_string(i), "role" + std::to_string(i)));
    const auto address = [](int i) {
        return "10.1." + std::to_string(i / 250) + "." + std::to_string(i % 250 + 1);
    };
    for (int i = 0; i < 1000; ++i)
        node.upstream.pods().pod_changed(
            make_pod("p" + std::to_string(i), "sa" + std::to_string(i % 200), address(i)));
    node.turn();
    CHECK(node.last_prefetch_delay == 0ns); // they are new, not found at the start
    while (!node.deliveries.empty())
        node.deliver();
    std::vector<metadata_node::request_ptr> requests;
    for (int i = 0; i < 1000; ++i)
        requests.push_back(node.send(get(ecs), address(i)));
    node.pass(1000ms);
    std::size_t right = 0;
    for (int i = 0; i < 1000; ++i)
        right += requests[static_cast<std::size_t>(i)]->status() == 200 &&
                 member_of(requests[static_cast<std::size_t>(i)]->body(), "RoleArn") ==
                     role("role" + std::to_string(i % 200));
    CHECK(right == 1000);
    CHECK(node.issued_count == 200);
    CHECK(node.upstream.asks().waiting() == 0);
}

TEST_CASE("prefetch of the pods found at the start is spread, of later ones it is not") {
    metadata_node node;
    node.upstream.pods().pods_replaced({make_pod("a", "web", "10.0.0.1")});
    node.upstream.pods().accounts_replaced(
        {make_account("web", "web-role"), make_account("api", "api-role")});
    node.turn();
    CHECK(node.last_prefetch_delay > 0ns);
    CHECK(node.last_prefetch_delay < 10s);
    node.upstream.pods().pod_changed(make_pod("b", "api", "")); // scheduled, no address yet
    node.turn();
    CHECK(node.last_prefetch_delay == 0ns);
    CHECK(node.kept() == 2);
}

TEST_CASE(
    "credentials are kept while a live pod needs them: not for ended ones, and across an overlap of two") {
    fixture node;
    node.add(make_pod("a", "web", "10.0.0.1"));
    node.add(make_pod("b", "web", "10.0.0.2"));
    CHECK(node.issued_count == 1);
    node.upstream.pods().pod_removed("a");
    node.run();
    CHECK(node.kept() == 1);
    auto ended = make_pod("b", "web", "10.0.0.2");
    ended.terminal = true;
    node.add(ended);
    CHECK(node.kept() == 0);
    // A relist that swaps the last pod for another keeps what both need.
    node.add(make_pod("c", "web", "10.0.0.3"));
    const auto calls = node.issued_count;
    node.upstream.pods().pods_replaced({make_pod("d", "web", "10.0.0.4")});
    node.run();
    CHECK(node.issued_count == calls);
}

TEST_CASE("with sessions per pod each pod has credentials of its own") {
    auto s = node_settings();
    s.scope = metadata::session_scope::pod;
    fixture node(s);
    node.add(make_pod("a", "web", "10.0.0.1"));
    node.add(make_pod("b", "web", "10.0.0.2"));
    CHECK(node.issued_count == 2);
    CHECK(member_of(node.send(get(ecs), "10.0.0.1")->body(), "AccessKeyId") !=
          member_of(node.send(get(ecs), "10.0.0.2")->body(), "AccessKeyId"));
    CHECK(node.upstream.pods().choose_pod("sa-uid-web", "b")->uid == "b");
    CHECK_FALSE(node.upstream.pods().choose_pod("sa-uid-api", "b"));
}

TEST_CASE("a pod that is not terminating stands for its service account, if there is one") {
    fixture node;
    auto a = make_pod("a", "web", "10.0.0.1");
    a.terminating = true;
    node.add(a);
    CHECK(node.upstream.pods().choose_pod("sa-uid-web", "")->uid == "a");
    node.add(make_pod("b", "web", "10.0.0.2"));
    CHECK(node.upstream.pods().choose_pod("sa-uid-web", "")->uid == "b");
    CHECK_FALSE(node.upstream.pods().choose_pod("sa-uid-other", ""));
}

TEST_CASE("an additional role is served by its name, the default one without") {
    fixture node;
    auto account = make_account("web", "web-role");
    account.annotations.emplace_back("credlet.io/additional-role-arns", role("second") + "," + role("third"));
    node.upstream.pods().account_changed(account);
    node.add(make_pod("a", "web", "10.0.0.1"));
    CHECK(member_of(node.send(get(ecs), "10.0.0.1")->body(), "RoleArn") == role("web-role"));
    CHECK(member_of(node.send(get(ecs + "/third"), "10.0.0.1")->body(), "RoleArn") == role("third"));
    CHECK(node.send(get(ecs + "/fourth"), "10.0.0.1")->status() == 403);
}

TEST_CASE("F37: warm credentials are served until 60 s before they expire, and not a moment longer") {
    fixture node;
    node.add(make_pod("a", "web", "10.0.0.1"));
    node.time.advance(3600s - 60s - 1ms);
    node.turn();
    CHECK(node.send(get(ecs), "10.0.0.1")->status() == 200);
    node.time.advance(1ms);
    CHECK(node.send(get(ecs), "10.0.0.1")->waited);
}

TEST_CASE("credentials too large for the SDKs are refused, not cut") {
    fixture node;
    node.upstream.pods().pod_changed(make_pod("a", "web", "10.0.0.1"));
    node.run(false);
    auto call = std::move(node.calls.at(0));
    node.calls.clear();
    sts::credentials huge;
    huge.session_token = secret_string(std::string(10000, 'x'));
    huge.expires = node.time.now() + 1h;
    node.store.finish(call.id, std::move(huge), node.time.now());
    node.run(false);
    const auto r = node.send(get(ecs), "10.0.0.1");
    CHECK(r->code() == "CredentialsTooLarge");
}
