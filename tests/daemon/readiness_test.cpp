#include "daemon/readiness.hpp"

#include <doctest/doctest.h>

using namespace credlet::app;

namespace {

using reasons = std::vector<std::string>;

// Of a daemon that listens on the node.
start_progress complete() {
    return {.pods_listed = true, .accounts_listed = true, .listens_on_node = true, .listening = 1};
}

reasons missing(const start_progress& p) {
    const auto r = readiness_of(p);
    CHECK(r.ready == r.reasons.empty());
    return r.reasons;
}

} // namespace

TEST_CASE("ready is who knows this node's pods, listens, and is not draining") {
    CHECK(missing(complete()).empty());
    CHECK(missing({.listens_on_node = true}) == reasons{"the pods of this node have not been listed yet",
                                                        "the service accounts have not been listed yet",
                                                        "no listener for pods is open yet"});
    auto p = complete();
    p.draining = true;
    CHECK(missing(p) == reasons{"draining"});
}

TEST_CASE("who is to take another's place is ready with what the other has") {
    auto p = complete();
    p.cold = "another process serves, and 1 of 2 credentials are not here yet";
    CHECK(missing(p) == reasons{p.cold});
}

TEST_CASE("who listens in pods alone needs no listener on the node") {
    auto p = complete();
    p.listens_on_node = false;
    p.listening = 0;
    p.listens_in_pods = p.pods_looked_for = true;
    CHECK(missing(p).empty());
}

TEST_CASE("who listens in pods is ready once those that were here have been looked for") {
    auto p = complete();
    p.listens_in_pods = true;
    const reasons not_looked{"the pods' network namespaces have not been looked for yet"};
    CHECK(missing(p) == not_looked);
    p.listens_on_node = false;
    p.listening = 0;
    CHECK(missing(p) == not_looked);
    p.pods_looked_for = true;
    CHECK(missing(p).empty());
}

TEST_CASE("who listens in pods and on the node is ready with both") {
    auto p = complete();
    p.listens_in_pods = p.pods_looked_for = true;
    CHECK(missing(p).empty());
    p.listening = 0;
    CHECK(missing(p) == reasons{"no listener for pods is open yet"});
}
