// STS and the token source are both gone for an hour: what the pods of a node see of it, on a clock that
// nobody has to wait for.

#include "sts/answer.hpp"
#include "tests/support/metadata_node.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>

using namespace credlet;
using namespace credlet::test;
using namespace std::chrono_literals;

namespace {

const std::string ecs = "/v1/credentials";

sts::failure failing(sts::failure_kind kind, std::string code) {
    sts::failure f;
    f.kind = kind;
    f.code = std::move(code);
    return f;
}

class dark_node : public metadata_node {
public:
    explicit dark_node(std::uint64_t seed) : metadata_node(node_settings(), seed) {
        upstream.pods().accounts_replaced({make_account("web", "web-role"), make_account("api", "api-role")});
        upstream.pods().pods_replaced({make_pod("a", "web", "10.0.0.1"), make_pod("b", "api", "10.0.0.2")});
        upstream.set_synced(true);
        pass(15s); // beyond the spread of the first prefetches
    }

    // A second in which every attempt fails: for want of a token, or, where one is still at hand, at STS.
    void pass_a_dark_second() {
        pass(1s, false);
        for (; !calls.empty(); ++failed)
            fail_call(0, failed % 2 == 0 ? failing(sts::failure_kind::no_token, "NoToken")
                                         : failing(sts::failure_kind::transient, "ConnectionLost"));
    }
    wall_time expiry_of(const std::string& body) const {
        const auto expires = sts::parse_timestamp(member_of(body, "Expiration"));
        REQUIRE(expires.has_value());
        return *expires;
    }

    int failed = 0;
};

} // namespace

TEST_CASE("F20, F37: STS and the token source are gone for an hour, and pods notice nothing until 60 s "
          "before expiry") {
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
        dark_node node(seed);
        std::map<std::string, std::string> first;
        for (const auto* peer : {"10.0.0.1", "10.0.0.2"}) {
            const auto answer = node.send(get(ecs), peer);
            REQUIRE(answer->status() == 200);
            first[peer] = answer->body();
        }
        const auto began = node.time.now();
        while (node.time.now() - began < 1h) {
            node.pass_a_dark_second();
            for (const auto& [peer, body] : first) {
                const auto left = node.expiry_of(body) - node.time.wall();
                const auto answer = node.send(get(ecs), peer);
                INFO("seed ", seed, ", ", peer, " with ", left.count(), " ms left");
                if (left > 61s) {
                    CHECK(answer->status() == 200);
                    CHECK(answer->body() == body);
                } else if (left < 60s) {
                    CHECK(answer->status() != 200); // held, or refused
                }
            }
        }
        // Renewals fell due at half an hour. They were tried all the time since, and never in a hurry.
        CHECK(node.failed >= 2 * 25);
        CHECK(node.failed <= 2 * 120);

        std::vector<metadata_node::request_ptr> late;
        for (const auto& [peer, body] : first)
            late.push_back(node.send(get(ecs), peer));
        node.pass(5s, false);
        for (const auto& answer : late)
            CHECK(answer->status() == 503);

        node.pass(5s);
        for (const auto& [peer, body] : first) {
            const auto answer = node.send(get(ecs), peer);
            CHECK(answer->status() == 200);
            CHECK(answer->body() != body);
            CHECK(member_of(answer->body(), "RoleArn") == member_of(body, "RoleArn"));
        }
    }
}
