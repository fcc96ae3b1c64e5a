#include "sts/credentials.hpp"
#include "tests/support/results.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <vector>

using namespace credlet;
using namespace credlet::sts;

namespace {

credential_spec example() {
    credential_spec s;
    s.service_account_uid = "6f1c7e0a-0000-4000-8000-000000000001";
    s.pod_uid = "6f1c7e0a-0000-4000-8000-000000000002";
    s.role_arn = "arn:aws:iam::123456789012:role/first";
    s.target_role_arn = "arn:aws:iam::210987654321:role/second";
    s.external_id = "external";
    s.audience = "sts.amazonaws.com";
    s.namespace_name = "shop";
    s.service_account = "api";
    s.session_name = "shop.api.node-1";
    return s;
}

bool is_session_name(std::string_view name) {
    return name.size() >= 2 && name.size() <= 64 &&
           name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+=,.@-") ==
               std::string_view::npos;
}

} // namespace

TEST_CASE("T30: every field that makes credentials different makes the key different") {
    const auto changed = [](auto change) {
        auto s = example();
        change(s);
        return s.key();
    };
    const std::vector<credential_key> keys{
        example().key(),
        changed([](auto& s) { s.service_account_uid.back() = '9'; }),
        changed([](auto& s) { s.pod_uid.back() = '9'; }),
        changed([](auto& s) { s.pod_uid.clear(); }),
        changed([](auto& s) { s.role_arn += "x"; }),
        changed([](auto& s) { s.target_role_arn += "x"; }),
        changed([](auto& s) { s.target_role_arn.clear(); }),
        changed([](auto& s) { std::swap(s.role_arn, s.target_role_arn); }),
        changed([](auto& s) { s.external_id = "External"; }),
        changed([](auto& s) { s.external_id.clear(); }),
        changed([](auto& s) { s.audience = "sts.amazonaws.com.cn"; }),
        changed([](auto& s) { s.duration += std::chrono::seconds(1); }),
    };
    CHECK(std::set<credential_key>(keys.begin(), keys.end()).size() == keys.size());
}

TEST_CASE("T30: a character moved from one field to the next changes the key") {
    std::mt19937 random(30);
    const std::vector<std::string credential_spec::*> fields{
        &credential_spec::service_account_uid, &credential_spec::pod_uid,     &credential_spec::role_arn,
        &credential_spec::target_role_arn,     &credential_spec::external_id, &credential_spec::audience};
    for (int round = 0; round < 2000; ++round) {
        credential_spec before;
        for (const auto field : fields)
            for (auto n = random() % 4; n > 0; --n)
                (before.*field).push_back("ab\0:"[random() % 4]);
        auto after = before;
        const auto from = random() % (fields.size() - 1);
        auto &left = after.*fields[from], &right = after.*fields[from + 1];
        if (random() % 2 == 0 && !left.empty()) {
            right.insert(right.begin(), left.back());
            left.pop_back();
        } else if (!right.empty()) {
            left.push_back(right.front());
            right.erase(right.begin());
        } else {
            continue;
        }
        CHECK(before.key() != after.key());
    }
}

TEST_CASE("what is for people and CloudTrail only is not part of the key") {
    auto s = example();
    s.namespace_name = "other";
    s.service_account = "other";
    s.session_name = "other";
    CHECK(s.key() == example().key());
}

TEST_CASE("the final role is the target role where there is one") {
    auto s = example();
    CHECK(s.final_role_arn() == s.target_role_arn);
    s.target_role_arn.clear();
    CHECK(s.final_role_arn() == s.role_arn);
}

TEST_CASE("a session name within STS's rules stays as it is") {
    CHECK(make_session_name("shop.api.node-1") == "shop.api.node-1");
    CHECK(make_session_name("a=b,c+d@e_f") == "a=b,c+d@e_f");
    CHECK(make_session_name("ab") == "ab");
    CHECK(make_session_name(std::string(64, 'x')) == std::string(64, 'x'));
}

TEST_CASE("a session name that had to be changed keeps what it can and ends in a hash") {
    CHECK(make_session_name("shop:api").starts_with("shop-api-"));
    CHECK(make_session_name(std::string(65, 'x')).starts_with(std::string(47, 'x') + "-"));
    CHECK(make_session_name(std::string(65, 'x')).size() == 64);
    CHECK(make_session_name(std::string(65, 'x')) != make_session_name(std::string(66, 'x')));
    CHECK(make_session_name("shop:api") != make_session_name("shop/api"));
    CHECK(make_session_name("a").starts_with("a-"));
    CHECK(is_session_name(make_session_name("")));
}

TEST_CASE(
    "T29: whatever is wanted, the session name is within STS's rules, and two changed names do not collide") {
    std::mt19937 random(29);
    std::map<std::string, std::string> wanted_by_name;
    for (int round = 0; round < 20000; ++round) {
        std::string wanted(random() % (round % 100 == 0 ? 4096 : 80), '\0');
        // Few distinct bytes, so that names differ in what is sanitised or cut rather than in what stays.
        std::generate(wanted.begin(), wanted.end(), [&] { return "a-.\r\n&=\0\xc3\xa9<"[random() % 11]; });
        const auto name = make_session_name(wanted);
        REQUIRE(is_session_name(name));
        REQUIRE(make_session_name(wanted) == name);
        const auto [known, is_new] = wanted_by_name.emplace(name, wanted);
        REQUIRE((is_new || known->second == wanted));
    }
    CHECK(is_session_name(make_session_name(std::string(1 << 20, '\xff'))));
    CHECK(is_session_name(make_session_name("shop\r\nX-Injected: 1&Action=GetCallerIdentity")));
}

TEST_CASE("the ARN of a role is taken apart") {
    const auto plain = role_arn::parse("arn:aws:iam::123456789012:role/web");
    REQUIRE(plain);
    CHECK(plain->partition == "aws");
    CHECK(plain->account == "123456789012");
    CHECK(plain->path == "/");
    CHECK(plain->name == "web");

    const auto deep = role_arn::parse("arn:aws-us-gov:iam::123456789012:role/team/x,y/web+=,.@-_1");
    REQUIRE(deep);
    CHECK(deep->partition == "aws-us-gov");
    CHECK(deep->path == "/team/x,y/");
    CHECK(deep->name == "web+=,.@-_1");

    // A path may hold what a name may not: IAM's pattern for it is (/)|(/[\u0021-\u007E]+/).
    const std::string path = "/team:a/!\"#$%&'()*+,-.;<=>?@[\\]^_`{|}~/";
    const auto odd = role_arn::parse("arn:aws:iam::123456789012:role" + path + "web");
    REQUIRE(odd);
    CHECK(odd->path == path);
    CHECK(odd->name == "web");

    for (const char* partition : {"aws-cn", "aws-eusc", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f"})
        CHECK(role_arn::parse("arn:" + std::string(partition) + ":iam::123456789012:role/web"));
}

TEST_CASE("the parts of a role's ARN have their limits") {
    const std::string base = "arn:aws:iam::123456789012:role/";
    CHECK(role_arn::parse(base + std::string(64, 'n')));
    CHECK_FALSE(role_arn::parse(base + std::string(65, 'n')));
    CHECK(role_arn::parse(base + std::string(510, 'p') + "/n")); // with its slashes a path of 512
    CHECK_FALSE(role_arn::parse(base + std::string(511, 'p') + "/n"));
}

TEST_CASE("T29: what is not exactly the ARN of a role is refused, with a message of one short line") {
    using namespace std::string_literals;
    const std::vector<std::string> bad{
        "",
        "web",
        "arn:aws:iam::123456789012:role/",
        "arn:aws:iam::123456789012:role//web",
        "arn:aws:iam::123456789012:role/team//web",
        "arn:aws:iam::123456789012:role/team/",
        "arn:aws:iam::123456789012:user/web",
        "arn:aws:iam::123456789012:roles/web",
        "arn:aws:iam::123456789012:role",
        "arn:aws:iam::123456789012/role/web",
        "arn:aws:iam::12345678901:role/web",
        "arn:aws:iam::1234567890123:role/web",
        "arn:aws:iam::12345678901a:role/web",
        "arn:aws:iam:eu-west-1:123456789012:role/web",
        "arn:aws:sts::123456789012:assumed-role/web/x",
        "arn:gcp:iam::123456789012:role/web",
        "arn:AWS:iam::123456789012:role/web",
        "arn:aws-:iam::123456789012:role/web",
        "ARN:aws:iam::123456789012:role/web",
        " arn:aws:iam::123456789012:role/web",
        "arn:aws:iam::123456789012:role/web ",
        "arn:aws:iam::123456789012:role/web\n",
        "arn:aws:iam::123456789012:role/web\r\nX-Injected: 1",
        "arn:aws:iam::123456789012:role/web&Action=GetCallerIdentity",
        "arn:aws:iam::123456789012:role/web&amp;RoleArn=x",
        "arn:aws:iam::123456789012:role/<RoleArn>web",
        "arn:aws:iam::123456789012:role/w%65b",
        "arn:aws:iam::123456789012:role/web:x",
        "arn:aws:iam::123456789012:role/*",
        "arn:aws:iam::123456789012:role/we b",
        "arn:aws:iam::123456789012:role/te am/web",
        "arn:aws:iam::123456789012:role/team\x7f/web",
        "arn:aws:iam::123456789012:role/team\r\nX-Injected: 1/web",
        "arn:aws:iam::123456789012:role/web\0"s,
        "arn:aws:iam::123456789012:role/w\0eb"s,
        "arn:aws:iam::123456789012:role/wéb",
        "arn:aws:iam::１２３４５６７８９０１２:role/web",
        "аrn:aws:iam::123456789012:role/web",
        "arn:aws:iam::123456789012:role/" + std::string(1 << 20, 'a'),
    };
    for (const auto& arn : bad) {
        CAPTURE(arn.substr(0, 120));
        const auto parsed = role_arn::parse(arn);
        REQUIRE_FALSE(parsed);
        CHECK(parsed.error().kind == errc::malformed);
        const std::string message = parsed.error().message;
        CHECK(message.size() < 400);
        CHECK(std::all_of(message.begin(), message.end(), [](char c) { return c >= ' ' && c <= '~'; }));
    }
}

TEST_CASE("T29: an ARN with any one byte replaced parses only into parts of its own grammar") {
    const std::string good = "arn:aws:iam::123456789012:role/team/web";
    const auto path_starts = good.find("team"), name_starts = good.find("web");
    for (std::size_t at = 0; at < good.size(); ++at)
        for (int byte = 0; byte < 256; ++byte) {
            auto arn = good;
            arn[at] = static_cast<char>(byte);
            const auto parsed = role_arn::parse(arn);
            if (parsed)
                REQUIRE("arn:" + parsed->partition + ":iam::" + parsed->account + ":role" + parsed->path +
                            parsed->name ==
                        arn);
            const bool in_path = at >= path_starts && at < name_starts - 1;
            if (byte <= ' ' || byte > '~' ||
                (!in_path && (byte == '&' || byte == '<' || byte == '%' || byte == '*')))
                REQUIRE_FALSE(parsed);
            if (in_path && byte > ' ' && byte <= '~' && byte != '/')
                REQUIRE(parsed);
        }
}

TEST_CASE("each kind of failure has a name of its own") {
    std::set<std::string_view> names;
    for (const auto kind : {failure_kind::transient, failure_kind::throttled, failure_kind::token_rejected,
                            failure_kind::denied, failure_kind::misconfigured, failure_kind::unusable,
                            failure_kind::no_token, failure_kind::cancelled})
        names.insert(to_string(kind));
    CHECK(names.size() == 8);
}
