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

namespace {

// A node where pods have listeners: pod "a" is the one to explain.
class listening_node {
public:
    explicit listening_node(pod p, identity_mode identity = identity_mode::any, bool on_node = false) {
        settings.identity = identity;
        settings.listens_on_node = on_node;
        node.emplace(settings);
        node->upstream.pods().accounts_replaced({make_account("web", "web-role")});
        node->upstream.pods().pods_replaced({std::move(p), make_pod("other", "web", "10.0.0.2")});
        about.found = node->upstream.pods().pods().by_uid("a");
        about.here = about.synced = true;
        about.listening.emplace();
    }
    listening_node& state(pod_listener_state s) {
        about.listening->state = std::move(s);
        return *this;
    }
    [[nodiscard]] std::vector<explain_step> steps() const {
        return explain_entitlement(node->upstream.pods(), settings, about);
    }

    service_settings settings = node_settings();
    std::optional<metadata_node> node;
    explained_pod about;
};

const pod_listener_state open_listener{true, "127.0.0.1:9799, by process 4711", {}};
const pod_listener_state taken_port{false, "127.0.0.1:9799 is taken in the pod", "See what listens there."};

std::vector<std::string> names_of(const std::vector<explain_step>& steps) {
    std::vector<std::string> names;
    for (const auto& step : steps)
        names.push_back(step.name);
    return names;
}

} // namespace

TEST_CASE("where pods have listeners, an explanation has a step for them, behind the address") {
    const std::vector<std::string> entitlement{"pod", "address", "listener", "service account", "role"};
    listening_node with(make_pod("a", "web", "10.0.0.1"));
    const auto steps = with.state(open_listener).steps();
    CHECK(names_of(steps) == entitlement);
    CHECK(steps.at(2).ok);
    CHECK(steps.at(2).detail == open_listener.detail);
    auto all = entitlement;
    all.insert(all.end(), {"token", "sts", "credentials"});
    CHECK(names_of(completed(steps, true)) == all);
    CHECK(names_of(completed({}, true)) == all);

    with.about.listening.reset();
    std::erase(all, "listener");
    CHECK(names_of(completed(with.steps(), false)) == all);
    CHECK(names_of(completed({}, false)) == all);
}

TEST_CASE("a listener that is not open is the failure, with what it is told to do about it") {
    listening_node with(make_pod("a", "web", "10.0.0.1"));
    auto failed = with.state(taken_port).steps();
    CHECK(names_of(failed) == std::vector<std::string>{"pod", "address", "listener"});
    CHECK_FALSE(failed.back().ok);
    CHECK(failed.back().detail == taken_port.detail);
    CHECK(failed.back().advice == taken_port.advice);
    with.about.listening->state = {false, "its control group is not there yet", {}};
    CHECK(with.steps().back().advice.starts_with("Ask again"));
    with.about.listening->state.reset();
    CHECK_FALSE(with.steps().back().ok);
    CHECK_FALSE(with.steps().back().advice.empty());
    with.settings.listens_on_node = true;
    CHECK(with.state(taken_port).steps().back().advice ==
          taken_port.advice + " Until then it can ask the node's listener.");
}

TEST_CASE("an address that is another's as well, or is not there yet, is no failure where a listener tells "
          "who asks") {
    for (const std::string address : {"10.0.0.2", ""})
        for (const auto identity : {identity_mode::any, identity_mode::address, identity_mode::both}) {
            CAPTURE(address);
            listening_node with(make_pod("a", "web", address), identity, true);
            CHECK(with.state(open_listener).steps().at(1).ok);
            CHECK(with.steps().size() == 5);
            // The node's listener alone cannot tell.
            const bool token_will_do = address.empty() && identity == identity_mode::any;
            CHECK(with.state(taken_port).steps().at(1).ok == token_will_do);
            // Where the node has none, it is the pod's own that is wanting.
            with.settings.listens_on_node = false;
            const auto steps = with.steps();
            CHECK(steps.at(1).ok);
            REQUIRE(steps.size() == 3);
            CHECK(steps[2].detail == taken_port.detail);
        }
}

TEST_CASE("a pod on the host network cannot ask at all where only pods have listeners, and is told so") {
    auto host = make_pod("a", "web", "192.168.0.1");
    host.host_network = true;
    for (const auto identity :
         {identity_mode::any, identity_mode::token, identity_mode::address, identity_mode::both}) {
        const auto steps = listening_node(host, identity).steps();
        REQUIRE(steps.size() == 3);
        CHECK(steps[1].ok);
        CHECK_FALSE(steps[2].ok);
        CHECK(steps[2].advice.find("--listen") != std::string::npos);
        const bool by_token = identity == identity_mode::any || identity == identity_mode::token;
        CHECK((steps[2].advice.find("--identity") == std::string::npos) == by_token);
        CHECK(listening_node(host, identity, true).steps().size() == (by_token ? 5 : 2));
    }
}

TEST_CASE("where only pods with a role have listeners, a pod without is told of the role it lacks") {
    listening_node with(make_pod("a", "plain", "10.0.0.1"));
    CHECK(with.steps().back().name == "listener");
    with.about.listening->only_with_role = true;
    CHECK(with.steps().back().name == "service account");
    CHECK_FALSE(with.steps().back().ok);
    listening_node due(make_pod("a", "web", "10.0.0.1")); // has one, and waits for its listener
    due.about.listening->only_with_role = true;
    CHECK(due.steps().back().name == "listener");
}
