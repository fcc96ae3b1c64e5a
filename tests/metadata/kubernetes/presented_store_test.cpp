#include "metadata/kubernetes/presented_store.hpp"
#include "tests/support/manual_clock.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::metadata;
using namespace credlet::metadata::kubernetes;
using namespace std::chrono_literals;

namespace {

struct fixture {
    test::manual_clock time;
    presented_store store{time, 4};

    void remember(const std::string& pod, const std::string& jwt, std::chrono::seconds life,
                  std::vector<std::string> audiences = {"sts"}, const std::string& account = "sa") {
        verified_token t;
        t.service_account_uid = account;
        t.pod_uid = pod;
        t.audiences = std::move(audiences);
        t.expires = time.wall() + life;
        store.remember(t, secret_string(jwt));
    }
    [[nodiscard]] std::string find(const std::string& pod = "", const std::string& audience = "sts",
                                   const std::string& account = "sa") const {
        const auto found = store.find(account, audience, pod);
        return found.empty() ? "" : std::string(found.front().jwt->reveal());
    }
};

} // namespace

TEST_CASE("T23: the newest token of a pod is kept, until it expires or the pod is gone") {
    fixture f;
    f.remember("p1", "old", 100s);
    f.remember("p1", "new", 200s);
    f.remember("p1", "shorter", 150s);
    CHECK(f.find() == "new");
    CHECK(f.find("p1") == "new");
    CHECK(f.find("p2").empty());
    CHECK(f.find("", "other").empty());
    CHECK(f.find("", "sts", "other").empty());
    f.remember("p2", "other pod", 300s);
    CHECK(f.find() == "other pod");
    CHECK(f.find("p1") == "new");
    f.store.forget_pod("p2");
    CHECK(f.find() == "new");
    f.time.advance(200s);
    CHECK(f.find().empty());
    f.store.drop_expired();
    CHECK(f.store.size() == 0);
    f.remember("p1", "expired", 0s);
    CHECK(f.store.size() == 0);
}

TEST_CASE("the store is bounded: what expires first makes room, and one token fills few places") {
    fixture f;
    f.remember("p1", "a", 400s);
    f.remember("p2", "b", 100s);
    f.remember("p3", "c", 300s);
    f.remember("p4", "d", 200s);
    f.remember("p5", "e", 500s);
    CHECK(f.store.size() == 4);
    CHECK(f.find("p2").empty());
    CHECK(f.find("p5") == "e");
    presented_store roomy(f.time);
    verified_token greedy;
    greedy.service_account_uid = "sa";
    greedy.pod_uid = "p";
    greedy.expires = f.time.wall() + 100s;
    for (int i = 0; i < 50; ++i)
        greedy.audiences.push_back("a" + std::to_string(i));
    roomy.remember(greedy, secret_string("x"));
    CHECK(roomy.size() == presented_store::max_audiences);
}
