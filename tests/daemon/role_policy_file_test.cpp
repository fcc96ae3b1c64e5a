#include "daemon/role_policy_file.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::app;

TEST_CASE("a role policy becomes a rule for each namespace glob") {
    const auto rules = parse_role_policy(R"({"rules":[
        {"namespaces":["team-a-*","shop"],"roles":["arn:aws:iam::123456789012:role/a/*"]},
        {"namespaces":["*"],"roles":["arn:aws:iam::123456789012:role/all","arn:aws:iam::*:role/x?"]}]})");
    REQUIRE(rules.has_value());
    REQUIRE(rules->size() == 3);
    CHECK((*rules)[0].namespace_glob == "team-a-*");
    CHECK((*rules)[1].namespace_glob == "shop");
    CHECK((*rules)[1].role_globs == std::vector<std::string>{"arn:aws:iam::123456789012:role/a/*"});
    CHECK((*rules)[2].role_globs.size() == 2);
    CHECK(parse_role_policy(R"({"rules":[]})")->empty());
}

TEST_CASE("a role policy that is misspelt is refused rather than half obeyed") {
    const std::pair<const char*, const char*> bad[] = {
        {"", "not JSON"},
        {"[]", "not an object"},
        {"{}", "no list 'rules'"},
        {R"({"rules":{}})", "no list 'rules'"},
        {R"({"rulez":[]})", "unknown member 'rulez'"},
        {R"({"rules":[],"rules":[]})", "twice"},
        {R"({"rules":[7]})", "rule 1 is not an object"},
        {R"({"rules":[{"namespaces":["a"]}]})", "'roles' is missing or empty"},
        {R"({"rules":[{"namespaces":[],"roles":["x"]}]})", "'namespaces' is missing or empty"},
        {R"({"rules":[{"namespaces":"a","roles":["x"]}]})", "must be a list of texts"},
        {R"({"rules":[{"namespaces":[""],"roles":["x"]}]})", "must be a list of texts"},
        {R"({"rules":[{"namespaces":["a"],"roles":["x"],"deny":true}]})", "unknown member 'deny'"},
        {R"({"rules":[{"namespaces":["^a$"],"roles":["x"]}]})", "is no glob"},
        {R"({"rules":[{"namespaces":["a "],"roles":["x"]}]})", "is no glob"},
        {R"({"rules":[{"namespaces":["a(b)c"],"roles":["x"]}]})", "is no glob"},
        {R"({"rules":[{"namespaces":["a"],"roles":["^arn:.*$"]}]})", "is no glob"},
        {R"({"rules":[{"namespaces":["a"],"roles":["arn:aws:iam::123456789012:role/a b/c"]}]})",
         "is no glob"},
    };
    for (const auto& [json, message] : bad) {
        CAPTURE(json);
        const auto rules = parse_role_policy(json);
        REQUIRE(rules.has_error());
        CHECK_MESSAGE(rules.error().message.find(message) != std::string::npos, rules.error().message);
    }
}

TEST_CASE("a glob for roles may hold what the path of a role may") {
    const std::string odd = "arn:aws:iam::123456789012:role/team(a)%~/*";
    const auto rules = parse_role_policy(R"({"rules":[{"namespaces":["a"],"roles":[")" + odd + R"("]}]})");
    REQUIRE(rules.has_value());
    CHECK(rules->at(0).role_globs == std::vector<std::string>{odd});
}

TEST_CASE("a role policy file that cannot be read is named") {
    const auto rules = read_role_policy("/nonexistent/policy.json");
    REQUIRE(rules.has_error());
    CHECK(rules.error().kind == errc::not_found);
    CHECK(rules.error().message.find("/nonexistent/policy.json") != std::string::npos);
}
