#include "metadata/kubernetes/object_parsing.hpp"
#include "metadata/role_annotations.hpp"
#include "tests/support/kubernetes_fakes.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::metadata;
using namespace credlet::metadata::kubernetes;

namespace {

result<pod> pod_from(std::string_view text) {
    const auto document = json_document::parse(text, 1 << 20);
    REQUIRE(document.has_value());
    return parse_pod(document->root());
}

std::string minimal(std::string_view metadata, std::string_view spec, std::string_view status) {
    return R"({"metadata":{"uid":"u","namespace":"ns","name":"p")" + std::string(metadata) +
           R"(},"spec":{"nodeName":"n1")" + std::string(spec) + R"(},"status":{)" + std::string(status) +
           "}}";
}

constexpr auto account = R"(,"serviceAccountName":"app")";

} // namespace

TEST_CASE("F24: of a pod only the few fields that matter are taken, unknown ones are ignored") {
    const auto p = pod_from(test::pod_json("u1", "7"));
    REQUIRE(p.has_value());
    CHECK(p->uid == "u1");
    CHECK(p->namespace_name == "prod");
    CHECK(p->name == "app-u1");
    CHECK(p->service_account == "app");
    CHECK(p->node_name == "n1");
    CHECK_FALSE(p->host_network);
    CHECK_FALSE(p->terminal);
    CHECK_FALSE(p->terminating);
    CHECK_FALSE(p->mirror);
    REQUIRE(p->addresses.size() == 1);
    CHECK(p->addresses[0].to_string() == "10.1.2.3");
}

TEST_CASE("a pod is terminal by its phase and terminating by its deletionTimestamp") {
    for (const std::string phase : {"Succeeded", "Failed"})
        CHECK(pod_from(minimal("", account, R"("phase":")" + phase + "\""))->terminal);
    for (const std::string phase : {"Pending", "Running", "Unknown"})
        CHECK_FALSE(pod_from(minimal("", account, R"("phase":")" + phase + "\""))->terminal);
    CHECK(pod_from(minimal(R"(,"deletionTimestamp":"2026-08-20T10:00:00Z")", account, ""))->terminating);
    CHECK_FALSE(pod_from(minimal(R"(,"deletionTimestamp":null)", account, ""))->terminating);
}

TEST_CASE("all addresses of a dual-stack pod are taken once, IPv4-mapped ones as IPv4, nonsense left out") {
    const auto p = pod_from(minimal(
        "", account,
        R"("podIP":"10.0.0.9","podIPs":[{"ip":"10.0.0.9"},{"ip":"::ffff:10.0.0.9"},{"ip":"fd00::9"},{"ip":"no"},{"ip":"fe80::1%eth0"},{}])"));
    REQUIRE(p.has_value());
    REQUIRE(p->addresses.size() == 2);
    CHECK(p->addresses[0].to_string() == "10.0.0.9");
    CHECK(p->addresses[1].to_string() == "fd00::9");
    CHECK(pod_from(minimal("", account, R"("podIPs":null)"))->addresses.empty());
}

TEST_CASE("host-network and mirror pods are told apart; a mirror pod needs no service account") {
    CHECK(pod_from(minimal("", std::string(account) + R"(,"hostNetwork":true)", ""))->host_network);
    const auto mirror = pod_from(minimal(R"(,"annotations":{"kubernetes.io/config.mirror":"x"})", "", ""));
    REQUIRE(mirror.has_value());
    CHECK(mirror->mirror);
    CHECK(mirror->service_account.empty());
}

TEST_CASE("a pod without what every pod has is an error, never a crash") {
    for (const auto* text : {
             R"({})",
             R"([])",
             R"(7)",
             R"("x")",
             R"({"metadata":7,"spec":{}})",
             R"({"metadata":null})",
             R"({"metadata":{"uid":"u","namespace":"ns","name":"p"}})",
             R"({"metadata":{"uid":"u","namespace":"ns"},"spec":{"serviceAccountName":"a"}})",
             R"({"metadata":{"uid":"","namespace":"ns","name":"p"},"spec":{"serviceAccountName":"a"}})",
             R"({"metadata":{"uid":7,"namespace":"ns","name":"p"},"spec":{"serviceAccountName":"a"}})",
             R"({"metadata":{"uid":"u","namespace":"ns","name":"p"},"spec":{}})",
             R"({"metadata":{"uid":"u","namespace":"ns","name":"p"},"spec":[]})",
         }) {
        CAPTURE(text);
        const auto p = pod_from(text);
        REQUIRE(p.has_error());
        CHECK(p.error().kind == errc::malformed);
    }
}

TEST_CASE("T29: of a service account only the annotations that mean something are kept, and no long value") {
    const std::vector<std::string> prefixes{"credlet.io/", "eks.amazonaws.com/"};
    const auto kept = [&](const std::string& annotations) {
        const auto document = json_document::parse(test::account_json("u", "1", annotations), 1 << 20);
        return parse_service_account(document->root(), prefixes)->annotations;
    };
    CHECK(
        kept(
            R"("credlet.io/":"x","credlet.io/other":"x","credlet.io/role-arn/x":"x","credlet.io/role-ar":"x")")
            .empty());
    // The second prefix names roles and audiences only.
    CHECK(kept(R"("eks.amazonaws.com/session-duration":"900","eks.amazonaws.com/external-id":"xx",)"
               R"("eks.amazonaws.com/sts-regional-endpoints":"true")")
              .empty());
    CHECK(kept(R"("eks.amazonaws.com/role-arn":"r","eks.amazonaws.com/audience":"a")").size() == 2);
    const std::pair<const char*, std::size_t> keys[] = {
        {"role-arn", 1024},        {"audience", 256},     {"session-duration", 16},
        {"target-role-arn", 1024}, {"external-id", 1224}, {"additional-role-arns", 16 * 1024}};
    const std::string good = R"("credlet.io/role-arn":"arn:aws:iam::123456789012:role/r")";
    for (const auto& [key, longest] : keys) {
        CAPTURE(key);
        const auto annotated = [&](std::size_t size) {
            return "\"credlet.io/" + std::string(key) + "\":\"" + std::string(size, 'x') + "\"";
        };
        REQUIRE(kept(annotated(longest)).size() == 1);
        CHECK(kept(annotated(longest))[0].second.size() == longest);
        REQUIRE(kept(annotated(longest + 1)).size() == 1);
        CHECK(kept(annotated(longest + 1))[0].second == "(too long)");
        // And it is still an error that names the annotation.
        const auto all = kept((std::string(key) == "role-arn" ? "" : good + ",") + annotated(100000));
        const auto request =
            read_role_annotations(all, {prefixes, "sts.amazonaws.com", "arn:aws:iam::123456789012:role/"});
        REQUIRE(request.has_error());
        CHECK(request.error().message.find(key) != std::string::npos);
    }
}

TEST_CASE("of a service account only annotations under our prefixes are kept, sorted") {
    const auto document = json_document::parse(
        test::account_json(
            "u", "1",
            R"("z.io/role-arn":"no","eks.amazonaws.com/role-arn":"b","credlet.io/role-arn":"a",)"
            R"("credlet.iox/role-arn":"no","credlet.io/number":7)"),
        4096);
    const auto a = parse_service_account(document->root(), {"credlet.io/", "eks.amazonaws.com/"});
    REQUIRE(a.has_value());
    REQUIRE(a->annotations.size() == 2);
    CHECK(a->annotations[0] == std::pair<std::string, std::string>("credlet.io/role-arn", "a"));
    CHECK(a->annotations[1] == std::pair<std::string, std::string>("eks.amazonaws.com/role-arn", "b"));
    CHECK(parse_service_account(document->root(), {"other/"})->annotations.empty());
    const auto bad = json_document::parse(R"({"metadata":{"name":"x"}})", 4096);
    CHECK(parse_service_account(bad->root(), {}).has_error());
}

TEST_CASE("a Status tells code, reason, message on one line, and when to come back") {
    const auto text =
        test::status_json(504, "Timeout", R"(Too\nslow)",
                          R"({"retryAfterSeconds":3,"causes":[{"reason":"ResourceVersionTooLarge"}]})");
    const auto document = json_document::parse(text, 4096);
    const auto s = parse_status(document->root());
    REQUIRE(s.has_value());
    CHECK(s->code == 504);
    CHECK(s->reason == "Timeout");
    CHECK(s->message == "Too slow");
    CHECK(s->version_too_large);
    CHECK(s->retry_after_seconds == 3U);
    CHECK_FALSE(parse_status(json_document::parse(R"({"kind":"Pod"})", 4096)->root()).has_value());
    CHECK(one_line(std::string(600, 'x')).size() == 512);
    CHECK(one_line("a\xc3\xa4", 2) == "a"); // not half a character
}

TEST_CASE("a list needs a resourceVersion; null items are none") {
    CHECK(parse_list_metadata(json_document::parse(R"({"items":[]})", 99)->root()).has_error());
    const auto document =
        json_document::parse(R"({"metadata":{"resourceVersion":"5","continue":"c"},"items":null})", 99);
    const auto m = parse_list_metadata(document->root());
    REQUIRE(m.has_value());
    CHECK(m->resource_version == "5");
    CHECK(m->continue_token == "c");
    CHECK_FALSE(list_items(document->root()).has_value());
}
