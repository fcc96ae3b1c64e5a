#include "sts/query.hpp"
#include "tests/support/results.hpp"

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <utility>
#include <vector>

using namespace credlet;
using namespace credlet::sts;
using std::chrono::seconds;

namespace {

credential_spec example() {
    credential_spec s;
    s.role_arn = "arn:aws:iam::123456789012:role/team/first";
    s.target_role_arn = "arn:aws:iam::210987654321:role/second";
    s.external_id = "customer:42/a";
    s.session_name = "shop.api=x@node-1";
    return s;
}

// Reads a form as a server does: every name with its decoded value, in order.
std::vector<std::pair<std::string, std::string>> decoded(std::string_view form) {
    std::vector<std::pair<std::string, std::string>> out;
    while (!form.empty()) {
        const auto item = form.substr(0, form.find('&'));
        form.remove_prefix(std::min(item.size() + 1, form.size()));
        const auto equals = item.find('=');
        REQUIRE(equals != std::string_view::npos);
        std::string value;
        for (std::size_t i = equals + 1; i < item.size(); ++i) {
            if (item[i] != '%') {
                value.push_back(item[i] == '+' ? ' ' : item[i]);
                continue;
            }
            value.push_back(static_cast<char>(std::stoi(std::string(item.substr(i + 1, 2)), nullptr, 16)));
            i += 2;
        }
        out.emplace_back(item.substr(0, equals), value);
    }
    return out;
}

} // namespace

TEST_CASE("AssumeRoleWithWebIdentity is a form with the API's version and every value encoded") {
    const auto form = web_identity_form(example(), seconds(3600), "eyJh.eyJz.c2ln-_");
    REQUIRE(form);
    CHECK(form->reveal() == "Action=AssumeRoleWithWebIdentity&Version=2011-06-15"
                            "&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fteam%2Ffirst"
                            "&RoleSessionName=shop.api%3Dx%40node-1&DurationSeconds=3600"
                            "&WebIdentityToken=eyJh.eyJz.c2ln-_");
}

TEST_CASE("T29: a role's path is encoded, whatever stands in it") {
    auto s = example();
    s.role_arn = s.target_role_arn = "arn:aws:iam::123456789012:role/a&Action=b%41<\"+:*?#/first";
    const auto web_identity = web_identity_form(s, seconds(3600), "token");
    const auto target = assume_role_form(s, seconds(3600));
    REQUIRE(web_identity);
    REQUIRE(target);
    for (const auto* form : {&*web_identity, &*target}) {
        const auto fields = decoded(form->reveal());
        CHECK(fields.size() == 6);
        CHECK(fields.at(2) == std::pair<std::string, std::string>("RoleArn", s.role_arn));
    }
}

TEST_CASE("AssumeRole names the target role, at most an hour, and the external id where there is one") {
    auto form = assume_role_form(example(), seconds(43200));
    REQUIRE(form);
    CHECK(form->reveal() == "Action=AssumeRole&Version=2011-06-15"
                            "&RoleArn=arn%3Aaws%3Aiam%3A%3A210987654321%3Arole%2Fsecond"
                            "&RoleSessionName=shop.api%3Dx%40node-1&DurationSeconds=3600"
                            "&ExternalId=customer%3A42%2Fa");
    auto without = example();
    without.external_id.clear();
    form = assume_role_form(without, seconds(900));
    REQUIRE(form);
    CHECK(form->reveal().find("ExternalId") == std::string_view::npos);
    CHECK(form->reveal().find("DurationSeconds=900") != std::string_view::npos);
}

TEST_CASE("T29: a form has exactly one value per field, whatever the values are") {
    std::mt19937 random(29);
    for (int round = 0; round < 3000; ++round) {
        auto s = example();
        const auto spoil = [&](std::string& field) {
            for (auto n = random() % 3; n > 0; --n)
                field.insert(random() % (field.size() + 1), 1, "&=%+ \r\n\0<>;/:@,.-_~x\xc3"[random() % 21]);
        };
        spoil(s.role_arn);
        spoil(s.target_role_arn);
        spoil(s.session_name);
        spoil(s.external_id);
        if (const auto form = web_identity_form(s, seconds(3600), "token")) {
            const auto fields = decoded(form->reveal());
            REQUIRE(fields ==
                    std::vector<std::pair<std::string, std::string>>{{"Action", "AssumeRoleWithWebIdentity"},
                                                                     {"Version", "2011-06-15"},
                                                                     {"RoleArn", s.role_arn},
                                                                     {"RoleSessionName", s.session_name},
                                                                     {"DurationSeconds", "3600"},
                                                                     {"WebIdentityToken", "token"}});
        }
        if (const auto form = assume_role_form(s, seconds(3600))) {
            const auto fields = decoded(form->reveal());
            REQUIRE(fields ==
                    std::vector<std::pair<std::string, std::string>>{{"Action", "AssumeRole"},
                                                                     {"Version", "2011-06-15"},
                                                                     {"RoleArn", s.target_role_arn},
                                                                     {"RoleSessionName", s.session_name},
                                                                     {"DurationSeconds", "3600"},
                                                                     {"ExternalId", s.external_id}});
        }
    }
}

TEST_CASE("T29: values out of STS's limits are refused before anything is sent") {
    using namespace std::string_literals;
    const auto refused_as = [](const credential_spec& s, seconds duration) {
        const auto form = assume_role_form(s, duration);
        REQUIRE_FALSE(form);
        CHECK(form.error().kind == failure_kind::misconfigured);
        CHECK(form.error().message.size() < 400);
        return form.error().code;
    };
    for (const auto& id : {"x"s, std::string(1225, 'x'), "a\r\nb"s, "a&Action=b"s, "<a/>"s, "a\0b"s, "é"s,
                           "a b"s, std::string(1 << 20, 'x')}) {
        auto s = example();
        s.external_id = id;
        CHECK(refused_as(s, seconds(3600)) == "InvalidExternalId");
    }
    for (const auto& name : {""s, "x"s, std::string(65, 'x'), "a\r\nb"s, "a&b"s, "a/b"s, "a\0b"s}) {
        auto s = example();
        s.session_name = name;
        CHECK(refused_as(s, seconds(3600)) == "InvalidSessionName");
    }
    for (const auto& arn : {""s, "web"s, "arn:aws:iam::210987654321:role/a&Action=b"s}) {
        auto s = example();
        s.target_role_arn = arn;
        CHECK(refused_as(s, seconds(3600)) == "InvalidRoleArn");
    }
    CHECK(refused_as(example(), seconds(899)) == "InvalidDuration");
}

TEST_CASE("limits of STS are inclusive") {
    auto s = example();
    s.external_id = std::string(1224, 'x');
    s.session_name = std::string(64, 'x');
    CHECK(assume_role_form(s, seconds(900)));
    s.external_id = "xx";
    s.session_name = "xx";
    CHECK(assume_role_form(s, seconds(3600)));
    CHECK(web_identity_form(s, seconds(43200), std::string(20000, 'x')));
    CHECK(web_identity_form(s, seconds(900), "xxxx"));
    const auto too_long = web_identity_form(s, seconds(43201), "xxxx");
    REQUIRE_FALSE(too_long);
    CHECK(too_long.error().code == "InvalidDuration");
}

TEST_CASE("T36: what is not a JWT is refused as a token, and not quoted") {
    using namespace std::string_literals;
    for (const auto& token : {""s, "abc"s, std::string(20001, 'x'), "canary.canary.canary\n"s,
                              "canary canary"s, "canary&Action=x"s, "canary\0canary"s, "canary%41"s}) {
        const auto form = web_identity_form(example(), seconds(3600), token);
        REQUIRE_FALSE(form);
        CHECK(form.error().kind == failure_kind::token_rejected);
        CHECK(form.error().code == "InvalidToken");
        CHECK(form.error().message.find("canary") == std::string::npos);
    }
}

TEST_CASE("percent-encoding leaves only unreserved characters") {
    secret_string out;
    append_percent_encoded(out, std::string_view("aZ09-._~ +/=&%\0\xff", 16));
    CHECK(out.reveal() == "aZ09-._~%20%2B%2F%3D%26%25%00%FF");
    out.clear();
    append_percent_encoded(out, "/a b", "/");
    CHECK(out.reveal() == "/a%20b");
}
