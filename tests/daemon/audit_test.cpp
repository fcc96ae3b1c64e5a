#include "daemon/audit.hpp"
#include "tests/support/recording_log.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::app;

TEST_CASE("T36: the audit line says who got what until when, and holds no secret") {
    sts::credential_spec spec;
    spec.namespace_name = "shop";
    spec.service_account = "web";
    spec.pod_uid = "uid-1";
    spec.role_arn = "arn:aws:iam::123456789012:role/first";
    spec.target_role_arn = "arn:aws:iam::123456789012:role/second";
    sts::credentials issued;
    issued.access_key_id = "ASIAEXAMPLE";
    issued.secret_access_key = secret_string("planted-secret-key");
    issued.session_token = secret_string("planted-session-token");
    issued.assumed_role_arn = "arn:aws:sts::123456789012:assumed-role/second/shop.web.node-1";
    issued.session_name = "shop.web.node-1";
    issued.expiration = wall_time(std::chrono::seconds(1'760'000'000));

    test::recording_log log;
    metadata::pod pod;
    pod.uid = "uid-1";
    pod.name = "web-0";
    write_audit_line(log, spec, issued, sts::call_reason::renewal, pod);
    REQUIRE(log.lines.size() == 1);
    const auto& line = log.lines[0];
    CHECK(line.level == log_level::audit);
    CHECK(line.message == "credentials issued");
    CHECK(line.field("namespace") == "shop");
    CHECK(line.field("service_account") == "web");
    CHECK(line.field("pod") == "web-0");
    CHECK(line.field("pod_uid") == "uid-1");
    CHECK(line.field("role_arn") == spec.target_role_arn);
    CHECK(line.field("web_identity_role_arn") == spec.role_arn);
    CHECK(line.field("role_session_name") == "shop.web.node-1");
    CHECK(line.field("access_key_id") == "ASIAEXAMPLE");
    CHECK(line.field("expiration") == "2025-10-09T08:53:20Z");
    CHECK(line.field("reason") == "renewal");
    for (const auto& [key, value] : line.fields)
        CHECK(value.find("planted") == std::string::npos);
}
