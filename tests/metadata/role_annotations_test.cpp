#include "metadata/role_annotations.hpp"
#include "metadata/role_policy.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::metadata;

namespace {

using list = std::vector<std::pair<std::string, std::string>>;
const std::vector<std::string> prefixes{"credlet.io/", "eks.amazonaws.com/"};
const std::string web = "arn:aws:iam::123456789012:role/web";
const std::string api = "arn:aws:iam::123456789012:role/team/api";

result<std::optional<role_request>> read(const list& annotations, std::string_view base = {}) {
    return read_role_annotations(annotations, {prefixes, "sts.amazonaws.com", base});
}
std::string problem_of(const list& annotations) {
    const auto request = read(annotations);
    return request ? std::string() : request.error().message;
}

} // namespace

TEST_CASE("without a role-arn there is no role, and nothing is wrong") {
    CHECK_FALSE(*read({}));
    CHECK_FALSE(*read({{"eks.amazonaws.com/audience", "x"}, {"other/role-arn", web}}));
}

TEST_CASE("defaults hold where only the role is named") {
    const auto request = **read({{"eks.amazonaws.com/role-arn", web}});
    CHECK(request.role_arn == web);
    CHECK(request.audience == "sts.amazonaws.com");
    CHECK(request.duration == std::chrono::seconds(3600));
    CHECK(request.additional_role_arns.empty());
}

TEST_CASE("the first prefix with a role-arn gives role and audience together") {
    const auto first = **read({{"credlet.io/role-arn", api},
                               {"eks.amazonaws.com/role-arn", web},
                               {"eks.amazonaws.com/audience", "elsewhere"}});
    CHECK(first.role_arn == api);
    CHECK(first.audience == "sts.amazonaws.com");
    const auto second = **read({{"credlet.io/audience", "mine"}, {"eks.amazonaws.com/role-arn", web}});
    CHECK(second.role_arn == web);
    CHECK(second.audience == "sts.amazonaws.com");
}

TEST_CASE("credlet's own keys are read under the first prefix, whichever names the role") {
    const auto request = **read({{"eks.amazonaws.com/role-arn", web},
                                 {"credlet.io/session-duration", "900"},
                                 {"eks.amazonaws.com/session-duration", "1"},
                                 {"credlet.io/target-role-arn", api},
                                 {"credlet.io/external-id", "tenant:42"}});
    CHECK(request.duration == std::chrono::seconds(900));
    CHECK(request.target_role_arn == api);
    CHECK(request.external_id == "tenant:42");
}

TEST_CASE("session-duration is 900 to 43200 seconds and nothing else") {
    for (const auto* good : {"900", "3600", "43200"})
        CHECK(read({{"credlet.io/role-arn", web}, {"credlet.io/session-duration", good}}).has_value());
    for (const auto* wrong :
         {"899", "43201", "", "1h", "-900", " 900", "900 ", "0x384", "99999999999999999999"})
        CHECK(problem_of({{"credlet.io/role-arn", web}, {"credlet.io/session-duration", wrong}})
                  .starts_with("annotation credlet.io/session-duration: "));
    CHECK(problem_of({{"credlet.io/role-arn", web},
                      {"credlet.io/session-duration", "7200"},
                      {"credlet.io/target-role-arn", api}})
              .find("3600") != std::string::npos);
}

TEST_CASE("a bare role name is completed by the base, and means nothing without one") {
    CHECK((**read({{"credlet.io/role-arn", "web"}}, "arn:aws:iam::123456789012:role/")).role_arn == web);
    CHECK(problem_of({{"credlet.io/role-arn", "web"}}).find("--role-arn-base") != std::string::npos);
    CHECK_FALSE(
        read({{"credlet.io/role-arn", "../web role"}}, "arn:aws:iam::123456789012:role/").has_value());
}

TEST_CASE("additional roles stand between commas or white space, each name once") {
    const auto request =
        **read({{"credlet.io/role-arn", web},
                {"credlet.io/additional-role-arns", " " + api + ",\n" + api + " ,, " + web}});
    CHECK(request.additional_role_arns == std::vector<std::string>{api});
    CHECK(problem_of({{"credlet.io/role-arn", web},
                      {"credlet.io/additional-role-arns", "arn:aws:iam::999999999999:role/web"}})
              .find("\"web\"") != std::string::npos);
    std::string many;
    for (int i = 0; i < 17; ++i)
        many += web + std::to_string(i) + " ";
    CHECK(problem_of({{"credlet.io/role-arn", web}, {"credlet.io/additional-role-arns", many}}).find("16") !=
          std::string::npos);
}

TEST_CASE("a comma within the ARN of an additional role belongs to it; a bare name ends at any") {
    const std::string odd = "arn:aws:iam::123456789012:role/team,x/a,b";
    const auto roles = [](const std::string& value) {
        const auto request = read({{"credlet.io/role-arn", web}, {"credlet.io/additional-role-arns", value}},
                                  "arn:aws:iam::123456789012:role/");
        return request ? (**request).additional_role_arns : std::vector<std::string>{request.error().message};
    };
    using arns = std::vector<std::string>;
    CHECK(roles(odd) == arns{odd});
    CHECK(roles(odd + "," + api) == arns{odd, api});
    CHECK(roles(odd + ", " + api + ",") == arns{odd, api});
    CHECK(roles(odd + ",," + api) == arns{odd, api});
    CHECK(roles(odd + "\n" + api) == arns{odd, api});
    const std::string base = "arn:aws:iam::123456789012:role/";
    CHECK(roles("one,two," + odd) == arns{base + "one", base + "two", odd});
}

TEST_CASE("an external id needs a target role") {
    CHECK(problem_of({{"credlet.io/role-arn", web}, {"credlet.io/external-id", "ab"}}).find("target") !=
          std::string::npos);
}

TEST_CASE("T29: values outside of their grammar are refused, and never shown whole or raw") {
    const std::string evil[] = {
        web + "\r\nX: y",          web + "&Action=GetCallerIdentity",     "<x/>",
        std::string(1 << 20, 'a'), "arn:aws:iam::123456789012:role/rôle", "https://sts.evil.example/"};
    for (const auto& value : evil)
        for (const auto* key :
             {"role-arn", "target-role-arn", "external-id", "additional-role-arns", "audience"}) {
            list annotations{{"credlet.io/role-arn", web}, {"credlet.io/target-role-arn", api}};
            std::erase_if(annotations,
                          [&](const auto& a) { return a.first == std::string("credlet.io/") + key; });
            annotations.emplace_back(std::string("credlet.io/") + key, value);
            const auto request = read(annotations);
            if (request) { // a URL is a fair audience and made of an external id's letters; both are only
                           // ever form fields
                const std::string name = key;
                CHECK((name == "audience" || name == "external-id"));
                CHECK(value.find_first_of("\r\n \xc3") == std::string::npos);
                continue;
            }
            CHECK(request.error().message.size() < 1000);
            CHECK(request.error().message.find('\r') == std::string::npos);
            CHECK(request.error().message.find('\n') == std::string::npos);
        }
}

TEST_CASE("T31: no annotation steers the STS endpoint or region") {
    const auto plain = **read({{"credlet.io/role-arn", web}});
    const auto with_more = **read({{"credlet.io/role-arn", web},
                                   {"credlet.io/sts-endpoint", "https://sts.evil.example"},
                                   {"credlet.io/region", "evil-1"},
                                   {"eks.amazonaws.com/sts-regional-endpoints", "false"}});
    CHECK(plain.role_arn == with_more.role_arn);
    CHECK(plain.audience == with_more.audience);
    CHECK(plain.duration == with_more.duration);
    CHECK_FALSE(read({{"credlet.io/role-arn", "https://sts.evil.example/"}}).has_value());
}

TEST_CASE("T28: globs of the role policy are anchored at both ends") {
    CHECK_FALSE(glob_matches("dev/*", "arn:aws:iam::123456789012:role/ModifyRoute53"));
    CHECK_FALSE(glob_matches("*role/a", "arn:aws:iam::123456789012:role/ab"));
    CHECK_FALSE(glob_matches("arn:aws:iam::123456789012:role/a", "xarn:aws:iam::123456789012:role/a"));
    CHECK(glob_matches("arn:aws:iam::123456789012:role/*", "arn:aws:iam::123456789012:role/team/x"));
    CHECK(glob_matches("*:role/?", "arn:aws:iam::1:role/a"));
    CHECK_FALSE(glob_matches("*:role/?", "arn:aws:iam::1:role/"));
    CHECK(glob_matches("**", ""));
    CHECK_FALSE(glob_matches("", "a"));
    CHECK_FALSE(glob_matches("[a]", "a"));
    CHECK_FALSE(glob_matches(std::string(200, '*') + "b", std::string(20000, 'a')));
}

TEST_CASE("T28: a policy allows what a rule of the namespace names, and nothing else") {
    const std::optional<std::vector<role_rule>> policy{
        {{"team-a", {"arn:aws:iam::123456789012:role/a-*"}},
         {"team-*", {"arn:aws:iam::123456789012:role/shared"}}}};
    CHECK(role_allowed(policy, "team-a", "arn:aws:iam::123456789012:role/a-web"));
    CHECK_FALSE(role_allowed(policy, "team-b", "arn:aws:iam::123456789012:role/a-web"));
    CHECK(role_allowed(policy, "team-b", "arn:aws:iam::123456789012:role/shared"));
    CHECK_FALSE(role_allowed(policy, "my-team-b", "arn:aws:iam::123456789012:role/shared"));
    CHECK_FALSE(role_allowed(std::vector<role_rule>{}, "team-a", "arn:aws:iam::123456789012:role/a-web"));
    CHECK(role_allowed(std::nullopt, "anything", "any"));
}
