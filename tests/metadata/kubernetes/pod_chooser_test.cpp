#include "metadata/directory.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::metadata;

namespace {

pod make_pod(const std::string& uid, const std::string& account) {
    pod p;
    p.uid = uid;
    p.namespace_name = "prod";
    p.name = "app-" + uid;
    p.service_account = account;
    return p;
}

std::vector<std::string> uids(const std::vector<pod>& pods) {
    std::vector<std::string> all;
    for (const auto& p : pods)
        all.push_back(p.uid);
    return all;
}

} // namespace

TEST_CASE("all live pods of a service account may stand for it, those that are terminating last") {
    const service_settings settings;
    seeded_random random(1);
    directory subject(settings, random);
    service_account app;
    app.uid = "sa-1";
    app.namespace_name = "prod";
    app.name = "app";
    subject.account_changed(app);
    auto leaving = make_pod("a", "app");
    leaving.terminating = true;
    auto done = make_pod("b", "app");
    done.terminal = true;
    auto mirror = make_pod("c", "app");
    mirror.mirror = true;
    for (const auto& p :
         {leaving, done, mirror, make_pod("d", "app"), make_pod("e", "app"), make_pod("f", "other")})
        subject.pod_changed(p);
    using expected = std::vector<std::string>;
    CHECK(uids(subject.live_pods("sa-1", "")) == expected{"d", "e", "a"});
    CHECK(uids(subject.live_pods("sa-1", "e")) == expected{"e"});
    CHECK(subject.live_pods("sa-1", "b").empty());
    CHECK(subject.live_pods("sa-1", "f").empty());
    CHECK(subject.live_pods("sa-2", "").empty());
    CHECK(subject.choose_pod("sa-1", "")->uid == "d");
    CHECK_FALSE(subject.choose_pod("sa-2", "").has_value());
}
