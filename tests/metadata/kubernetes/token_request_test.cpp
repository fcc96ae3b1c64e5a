#include "metadata/kubernetes/token_request.hpp"
#include "tests/support/kubernetes_fakes.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::metadata;
using namespace credlet::metadata::kubernetes;
using namespace std::chrono_literals;

namespace {

pod some_pod() {
    pod p;
    p.uid = "uid-1";
    p.namespace_name = "prod";
    p.name = "app-0";
    p.service_account = "app";
    return p;
}

sts::failure failure_for(unsigned status, const std::string& message, const std::string& source = "request") {
    return token_failure(
        error_of_status(status, test::status_json(static_cast<int>(status), "R", message), {}), source,
        some_pod(), "sts.amazonaws.com", "n1");
}

} // namespace

TEST_CASE("a TokenRequest names the audience and is bound to the pod by name and uid") {
    const auto r = make_token_request(some_pod(), "sts.amazonaws.com", 3600s);
    CHECK(r.method == "POST");
    CHECK(r.target == "/api/v1/namespaces/prod/serviceaccounts/app/token");
    CHECK(
        r.body ==
        R"({"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"audiences":)"
        R"(["sts.amazonaws.com"],"expirationSeconds":3600,"boundObjectRef":{"apiVersion":"v1","kind":"Pod",)"
        R"("name":"app-0","uid":"uid-1"}}})");
    CHECK(make_token_request(some_pod(), "a", 60s).body.find("\"expirationSeconds\":600") !=
          std::string::npos);
    auto odd = some_pod();
    odd.service_account = "a/../b?x";
    CHECK(make_token_request(odd, "\"],\"x\":[\"", 600s).target ==
          "/api/v1/namespaces/prod/serviceaccounts/a%2F..%2Fb%3Fx/token");
    CHECK(make_token_request(odd, "\"],\"x\":[\"", 600s).body.find(R"(["\"],\"x\":[\""])") !=
          std::string::npos);
}

TEST_CASE("the answer's own expiry counts, whatever was asked for") {
    const auto t = parse_token_answer(
        R"({"kind":"TokenRequest","spec":{"expirationSeconds":86400},"status":{"token":"a.b.c","expirationTimestamp":"2026-08-20T11:00:00Z"}})");
    REQUIRE(t.has_value());
    CHECK(t->jwt.reveal() == "a.b.c");
    CHECK(t->expires == wall_time(1787223600s));
    for (const auto* bad :
         {"", "{}", "[]", R"({"status":{}})", R"({"status":{"token":"x"}})", R"({"status":7})",
          R"({"status":{"token":"","expirationTimestamp":"2026-08-20T11:00:00Z"}})",
          R"({"status":{"token":7,"expirationTimestamp":"2026-08-20T11:00:00Z"}})",
          R"({"status":{"token":"x","expirationTimestamp":"soon"}})"}) {
        CAPTURE(bad);
        CHECK(parse_token_answer(bad).has_error());
    }
}

TEST_CASE("timestamps are RFC 3339 in UTC and real dates") {
    CHECK(parse_timestamp("1970-01-01T00:00:01Z") == wall_time(1s));
    CHECK(parse_timestamp("2024-02-29T12:00:00Z") == wall_time(1709208000s));
    for (const auto* bad :
         {"", "2023-02-29T12:00:00Z", "2026-13-01T00:00:00Z", "2026-08-20T24:00:00Z", "2026-08-20T11:00:00",
          "2026-08-20 11:00:00Z", "2026-08-20T11:00:00+0", "2026-08-20T11:60:00Z", "-026-08-20T11:00:00Z",
          "2026-8-020T11:00:00Z", "2026-08-20T11:00:00z", "2026-08-20T11:00:00Zx"}) {
        CAPTURE(bad);
        CHECK_FALSE(parse_timestamp(bad).has_value());
    }
}

TEST_CASE("F31: what Kubernetes refuses is definitive and says what to do; everything else is tried again") {
    for (const unsigned status : {400U, 403U, 404U, 409U, 422U}) {
        const auto f = failure_for(status, "because");
        CAPTURE(status);
        CHECK(f.kind == sts::failure_kind::no_token);
        CHECK(f.definitive);
        CHECK(f.http_status == status);
        CHECK(f.message.find("because") != std::string::npos);
        CHECK(f.message.find("prod/app") != std::string::npos);
    }
    for (const unsigned status : {401U, 429U, 500U, 503U}) {
        const auto f = failure_for(status, "because");
        CAPTURE(status);
        CHECK(f.kind == sts::failure_kind::no_token);
        CHECK_FALSE(f.definitive);
    }
    const auto lost = token_failure(error_of_transport(fail(errc::timed_out, "too slow")), "request",
                                    some_pod(), "a", "n1");
    CHECK(lost.kind == sts::failure_kind::no_token);
    CHECK_FALSE(lost.definitive);
    CHECK(lost.transport == errc::timed_out);
    CHECK(
        token_failure(error_of_transport(fail(errc::cancelled, "")), "request", some_pod(), "a", "n1").kind ==
        sts::failure_kind::cancelled);
}

TEST_CASE("F31: a refusal that only means that the API server has not seen the pod yet passes by itself") {
    const std::string unrelated = "User system:node:n1 cannot create resource serviceaccounts/token: no "
                                  "relationship found between node 'n1' and this object";
    const std::string elsewhere = "node requested token bound to a pod scheduled on a different node";
    const std::string policy = "ValidatingAdmissionPolicy 'credlet' denied request: bound pod is not on the "
                               "caller's node";
    for (const auto& [status, message] : {std::pair(403U, unrelated), std::pair(403U, elsewhere),
                                          std::pair(403U, policy), std::pair(422U, policy)}) {
        CAPTURE(message);
        const auto f = failure_for(status, message, "impersonate");
        CHECK(f.kind == sts::failure_kind::no_token);
        CHECK_FALSE(f.definitive);
        CHECK(f.message.find("has yet to see") != std::string::npos);
        CHECK(f.message.find("grant") == std::string::npos);
    }
    CHECK(failure_for(404, unrelated).definitive);
    CHECK(failure_for(422, elsewhere).definitive);
}

TEST_CASE("F31: another pod is worth a try where the refusal is about the pod") {
    const auto concerns = [](unsigned status, const std::string& message) {
        return concerns_pod(
            error_of_status(status, test::status_json(static_cast<int>(status), "R", message), {}));
    };
    CHECK(concerns(404, "pods not found"));
    CHECK(concerns(409, "the UID does not match"));
    CHECK(concerns(403, "audience sts.amazonaws.com not found in pod spec volume"));
    CHECK(concerns(403, "node requested token bound to a pod scheduled on a different node"));
    CHECK(concerns(422, "bound pod is not on the caller's node"));
    CHECK_FALSE(concerns(403, "User x cannot create resource serviceaccounts/token"));
    CHECK_FALSE(concerns(403, "User x cannot impersonate resource users"));
    CHECK_FALSE(concerns(422, "audience must be exactly sts.amazonaws.com"));
    CHECK_FALSE(concerns(503, "later"));
    CHECK_FALSE(concerns_pod(error_of_transport(fail(errc::timed_out, ""))));
}

TEST_CASE("F31: a 403 names the permission that is lacking") {
    CHECK(failure_for(403, "cannot create resource serviceaccounts/token")
              .message.find("grant create on serviceaccounts/token") != std::string::npos);
    CHECK(failure_for(403, "User x cannot impersonate resource users", "impersonate")
              .message.find("impersonate:associated-node") != std::string::npos);
    CHECK(failure_for(403, "audience sts.amazonaws.com not found in pod spec", "impersonate")
              .message.find("request-serviceaccounts-token-audience") != std::string::npos);
}
