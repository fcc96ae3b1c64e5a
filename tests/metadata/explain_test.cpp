#include "metadata/explain.hpp"
#include "tests/support/metadata_node.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::metadata;
using namespace credlet::test;
using namespace std::chrono_literals;

namespace {

sts::credential_spec some_spec() {
    sts::credential_spec spec;
    spec.namespace_name = "shop";
    spec.service_account = "web";
    spec.role_arn = role("web-role");
    spec.audience = "sts.amazonaws.com";
    return spec;
}

sts::lookup_result warm(std::size_t token_size = 100) {
    sts::credentials c;
    c.session_token = secret_string(std::string(token_size, 'x'));
    c.expiration = wall_time(2h);
    sts::lookup_result found;
    found.state = sts::entry_state::stale;
    found.usable = std::make_shared<const sts::credentials>(std::move(c));
    return found;
}

std::vector<explain_step> explained(const sts::lookup_result& found) {
    return explain_credentials(some_spec(), found, std::nullopt, "https://issuer.example", wall_time(1h));
}

} // namespace

TEST_CASE(
    "while earlier credentials are served, a token that could not be obtained is told and is no failure") {
    auto found = warm();
    found.problem.emplace();
    found.problem->kind = sts::failure_kind::no_token;
    found.problem->code = "NoToken";
    found.problem->message = "Kubernetes refused it";
    const auto steps = explained(found);
    REQUIRE(steps.size() == 3);
    CHECK(steps[0].ok);
    CHECK(steps[0].detail.find("NoToken: Kubernetes refused it), earlier credentials are still good") !=
          std::string::npos);
    CHECK(steps[1].ok);
    CHECK(steps[2].ok);
    found.usable = nullptr;
    CHECK_FALSE(explained(found).back().ok);
}

TEST_CASE("credentials that are too large to be served are not told as good") {
    const auto steps = explained(warm(10000));
    REQUIRE(steps.size() == 3);
    CHECK_FALSE(steps[2].ok);
    CHECK(steps[2].detail.find("too large") != std::string::npos);
    CHECK(explained(warm()).back().ok);
}

TEST_CASE("credentials that nobody here is entitled to any more are not waited for") {
    const auto steps = explained({});
    REQUIRE(steps.size() == 1);
    CHECK(steps[0].advice.find("ask again") != std::string::npos);
}

TEST_CASE("a pod without an address can be served where its token will do") {
    for (const auto identity :
         {identity_mode::any, identity_mode::token, identity_mode::address, identity_mode::both}) {
        auto settings = node_settings();
        settings.identity = identity;
        metadata_node node(settings);
        node.upstream.pods().accounts_replaced({make_account("web", "web-role")});
        node.upstream.pods().pods_replaced({make_pod("a", "web", "")});
        const auto steps = explain_entitlement(node.upstream.pods(), settings,
                                               {node.upstream.pods().pods().by_uid("a"), true, true, {}, {}});
        CHECK(steps.at(1).ok == (identity == identity_mode::any || identity == identity_mode::token));
    }
}
