#include "metadata/pod_network/listener_book.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::metadata;
using namespace std::chrono_literals;
using verdict = listener_book::verdict;

namespace {

std::vector<asio::ip::address> addresses(std::initializer_list<const char*> texts) {
    std::vector<asio::ip::address> all;
    for (const auto* text : texts)
        all.push_back(asio::ip::make_address(text));
    return all;
}

listened_pod at(const std::string& uid, std::initializer_list<const char*> published = {}) {
    return {uid, "shop", "name-of-" + uid, addresses(published)};
}

sighting by_process(std::uint64_t inode, std::initializer_list<const char*> has = {}) {
    sighting s;
    s.by = sighting::proof::process;
    s.net = {1, inode};
    s.addresses = addresses(has);
    s.how = "process 7";
    return s;
}

sighting by_pin(std::uint64_t inode, std::initializer_list<const char*> has = {}) {
    auto s = by_process(inode, has);
    s.by = sighting::proof::pin;
    return s;
}

sighting nothing(bool imminent = false, bool group_gone = false) {
    sighting s;
    s.missing = "it has no process yet";
    s.imminent = imminent;
    s.group_gone = group_gone;
    return s;
}

error problem(errc kind) { return fail(kind, "it did not work"); }

struct book_of_two_addresses : listener_book {
    explicit book_of_two_addresses(std::size_t most = 100) : listener_book(2, most) {}
    boot_time now{1h};

    // What is found is opened without a problem.
    verdict see(const std::string& uid, const sighting& s) {
        const auto v = decide(uid, s, now);
        if (v == verdict::open) {
            std::vector<outcome> fine;
            for (const auto i : missing_endpoints(uid))
                fine.push_back({i, std::nullopt});
            opened(uid, fine, now);
        }
        return v;
    }
    [[nodiscard]] standing state(const std::string& uid) const {
        return state_of(uid, {"127.0.0.1:9799", "[::1]:9799"});
    }
};

using uids = std::vector<std::string>;

} // namespace

TEST_CASE("a pod is looked for at once, and no more when it listens") {
    book_of_two_addresses book;
    CHECK(book.pods({at("a"), at("b")}, book.now).come == uids{"a", "b"});
    CHECK(book.due(book.now) == uids{"a", "b"});
    CHECK(book.see("a", by_process(1)) == verdict::open);
    CHECK(book.see("b", by_process(2)) == verdict::open);
    CHECK(book.due(book.now + 1h).empty());
    CHECK(!book.next());
    CHECK(book.at_rest("a"));
    CHECK(book.state("a").open);
    CHECK(book.state("a").detail == "127.0.0.1:9799, [::1]:9799 in its network namespace (process 7)");
    CHECK(book.count() == listener_book::counts{2, 0, 0});
}

TEST_CASE("while something of a pod is there already it is looked for within milliseconds, then rarer") {
    book_of_two_addresses book;
    (void)book.pods({at("a")}, book.now);
    CHECK(book.see("a", nothing(true)) == verdict::wait);
    REQUIRE(book.next());
    CHECK(*book.next() - book.now == 1ms);
    auto waited = 0ms;
    for (int looks = 0; looks < 9; ++looks) {
        waited += std::chrono::duration_cast<std::chrono::milliseconds>(*book.next() - book.now);
        book.now = *book.next();
        (void)book.see("a", nothing(true));
    }
    CHECK(waited < 600ms);
    for (int looks = 0; looks < 5; ++looks) {
        book.now = *book.next();
        (void)book.see("a", nothing(true));
        CHECK(*book.next() - book.now <= 4s);
    }
    CHECK(!book.at_rest("a"));
}

TEST_CASE("of a pod of which nothing is there a scan goes on, never rarer than every four seconds") {
    book_of_two_addresses book;
    (void)book.pods({at("a")}, book.now);
    for (int looks = 0; looks < 20; ++looks) {
        (void)book.see("a", nothing());
        CHECK(*book.next() - book.now >= 50ms);
        CHECK(*book.next() - book.now <= 4s);
        book.now = *book.next();
    }
    CHECK(book.count() == listener_book::counts{0, 1, 0});
    CHECK(book.state("a").detail == "it has no process yet");
}

TEST_CASE("an event has the pod looked for at once, and the intervals begin anew") {
    book_of_two_addresses book;
    (void)book.pods({at("a")}, book.now);
    for (int looks = 0; looks < 20; ++looks) {
        (void)book.see("a", nothing());
        book.now = *book.next();
    }
    (void)book.see("a", nothing());
    book.changed("a", book.now);
    CHECK(book.due(book.now) == uids{"a"});
    (void)book.see("a", nothing(true));
    CHECK(*book.next() - book.now == 1ms);
    book.changed("nobody", book.now);
    CHECK(book.due(book.now).empty());
}

TEST_CASE("a namespace that lacks an address which Kubernetes says the pod has is not served") {
    book_of_two_addresses book;
    (void)book.pods({at("a", {"10.0.0.1", "fd00::1"})}, book.now);
    CHECK(book.see("a", by_process(1, {"10.0.0.1"})) == verdict::wait);
    CHECK(!book.state("a").open);
    CHECK(book.tenant_of({1, 1}).empty());
    SUBCASE(
        "and that is a fault only after a while: a new sandbox is there before its address is published") {
        CHECK(!book.state("a").failure);
        book.now += 9s;
        (void)book.see("a", by_process(1, {"10.0.0.1"}));
        CHECK(!book.state("a").failure);
        book.now += 1s;
        (void)book.see("a", by_process(1, {"10.0.0.1"}));
        CHECK(book.state("a").failure == listener_failure::wrong_addresses);
        CHECK(book.state("a").detail ==
              "its network namespace (process 7) has 10.0.0.1, not 10.0.0.1, fd00::1 as "
              "Kubernetes says");
        CHECK(book.count() == listener_book::counts{0, 0, 1});
    }
    CHECK(book.see("a", by_process(1, {"fd00::1", "10.0.0.1", "10.9.9.9"})) == verdict::open);
    CHECK(!book.state("a").failure);
}

TEST_CASE("addresses that are published later are checked then, and what does not have them is closed") {
    book_of_two_addresses book;
    (void)book.pods({at("a"), at("b")}, book.now);
    CHECK(book.see("a", by_process(1)) == verdict::open);
    CHECK(book.see("b", by_process(2)) == verdict::open);
    (void)book.pods({at("a", {"10.0.0.1"}), at("b", {"10.0.0.2"})}, book.now);
    CHECK(book.due(book.now) == uids{"a", "b"});
    CHECK(book.see("a", by_process(1, {"10.0.0.1"})) == verdict::wait);
    CHECK(book.state("a").open);
    CHECK(book.see("b", by_process(2, {"10.0.0.1"})) == verdict::vacate);
    CHECK(!book.state("b").open);
    CHECK(book.tenant_of({1, 2}).empty());
}

TEST_CASE("a namespace is one pod's: the next one is refused while the first is there") {
    book_of_two_addresses book;
    (void)book.pods({at("a"), at("b")}, book.now);
    CHECK(book.see("a", by_process(1)) == verdict::open);
    CHECK(book.tenant_of({1, 1}) == "a");
    CHECK(book.see("b", by_process(1)) == verdict::wait);
    CHECK(book.state("b").failure == listener_failure::shared_namespace);
    CHECK(book.state("b").detail ==
          "its processes run in the network namespace (process 7) of pod shop/name-of-a");
    CHECK(*book.next() - book.now == 1s);
    SUBCASE("and has it when the first is elsewhere") {
        CHECK(book.see("a", by_process(2)) == verdict::open);
        CHECK(book.see("b", by_process(1)) == verdict::open);
        CHECK(book.tenant_of({1, 1}) == "b");
    }
    SUBCASE("or gone") {
        CHECK(book.pods({at("b")}, book.now).gone == uids{"a"});
        CHECK(book.see("b", by_process(1)) == verdict::open);
    }
}

TEST_CASE("a pod that has a namespace keeps it when its processes are seen in another pod's") {
    book_of_two_addresses book;
    (void)book.pods({at("a"), at("b")}, book.now);
    (void)book.see("a", by_process(1));
    (void)book.see("b", by_process(2));
    CHECK(book.see("b", by_process(1)) == verdict::wait);
    CHECK(book.tenant_of({1, 2}) == "b");
    CHECK(book.state("b").open);
    CHECK(!book.state("b").failure);
}

TEST_CASE(
    "while its processes are seen in another pod's, an address that is taken is tried again after a while") {
    book_of_two_addresses book;
    (void)book.pods({at("a"), at("b")}, book.now);
    (void)book.see("a", by_process(1));
    (void)book.decide("b", by_process(2), book.now);
    book.opened("b", {{0, std::nullopt}, {1, problem(errc::in_use)}}, book.now);
    book.now = *book.next();
    CHECK(book.due(book.now) == uids{"b"});
    CHECK(book.see("b", by_process(1)) == verdict::wait);
    REQUIRE(book.next());
    CHECK(*book.next() - book.now >= 1s);
}

TEST_CASE("who has waited longest is looked for first") {
    book_of_two_addresses book;
    (void)book.pods({at("a"), at("b"), at("c")}, book.now);
    (void)book.see("a", nothing());
    (void)book.see("b", nothing(true));
    (void)book.see("c", nothing(true));
    (void)book.see("c", nothing(true));
    CHECK(book.due(book.now + 1h) == uids{"b", "c", "a"});
}

TEST_CASE("with a new sandbox the listener is opened there") {
    book_of_two_addresses book;
    (void)book.pods({at("a")}, book.now);
    (void)book.see("a", by_process(1));
    book.changed("a", book.now);
    CHECK(book.see("a", nothing(true)) == verdict::wait); // its processes are gone, the next are to come
    CHECK(book.state("a").open);
    CHECK(!book.at_rest("a"));
    CHECK(book.see("a", by_process(5)) == verdict::open);
    CHECK(book.tenant_of({1, 1}).empty());
    CHECK(book.tenant_of({1, 5}) == "a");
    CHECK(book.at_rest("a"));
}

TEST_CASE("between two containers the namespace stays the pod's, without its control group it does not") {
    book_of_two_addresses book;
    (void)book.pods({at("a")}, book.now);
    (void)book.see("a", by_process(1));
    CHECK(book.see("a", nothing()) == verdict::wait);
    CHECK(book.state("a").open);
    CHECK(!book.next());
    CHECK(book.see("a", nothing(false, true)) == verdict::vacate);
    CHECK(!book.state("a").open);
    CHECK(book.tenant_of({1, 1}).empty());
    CHECK(book.next());
}

TEST_CASE("a port that is taken in the pod is a fault, and is tried again, rarer and rarer") {
    book_of_two_addresses book;
    (void)book.pods({at("a")}, book.now);
    CHECK(book.decide("a", by_process(1), book.now) == verdict::open);
    CHECK(book.missing_endpoints("a") == std::vector<std::size_t>{0, 1});
    book.opened("a", {{0, problem(errc::in_use)}, {1, problem(errc::in_use)}}, book.now);
    CHECK(book.state("a").failure == listener_failure::port_taken);
    CHECK(!book.state("a").advice.empty());
    CHECK(book.count() == listener_book::counts{0, 0, 1});
    CHECK(*book.next() - book.now == 1s);
    for (int tries = 0; tries < 10; ++tries) {
        book.now = *book.next();
        CHECK(book.decide("a", by_process(1), book.now) == verdict::open);
        book.opened("a", {{0, problem(errc::in_use)}, {1, problem(errc::in_use)}}, book.now);
        CHECK(*book.next() - book.now <= 30s);
    }
    CHECK(book.see("a", by_process(1)) == verdict::open);
    CHECK(!book.state("a").failure);
    CHECK(book.at_rest("a"));
}

TEST_CASE("where one address listens and the other is taken the pod is served, and told of the other") {
    book_of_two_addresses book;
    (void)book.pods({at("a")}, book.now);
    (void)book.decide("a", by_process(1), book.now);
    book.opened("a", {{0, std::nullopt}, {1, problem(errc::in_use)}}, book.now);
    CHECK(book.state("a").open);
    CHECK(book.state("a").failure == listener_failure::port_taken);
    CHECK(book.state("a").detail == "127.0.0.1:9799 in its network namespace (process 7); it did not work");
    CHECK(book.count() == listener_book::counts{1, 0, 0});
    CHECK(book.missing_endpoints("a") == std::vector<std::size_t>{1});
    book.now += 1s;
    CHECK(book.due(book.now) == uids{"a"});
    SUBCASE("also while no process of it is seen") { CHECK(book.see("a", nothing()) == verdict::open); }
    SUBCASE("or when it is") { CHECK(book.see("a", by_process(1)) == verdict::open); }
    CHECK(!book.state("a").failure);
}

TEST_CASE("an address family that a namespace does not have is no fault where there is another") {
    book_of_two_addresses book;
    (void)book.pods({at("a")}, book.now);
    (void)book.decide("a", by_process(1), book.now);
    book.opened("a", {{0, std::nullopt}, {1, problem(errc::unavailable)}}, book.now);
    CHECK(book.at_rest("a"));
    CHECK(!book.state("a").failure);
    CHECK(book.missing_endpoints("a").empty());

    (void)book.pods({at("a"), at("b")}, book.now);
    (void)book.decide("b", by_process(2), book.now);
    book.opened("b", {{0, problem(errc::unavailable)}, {1, problem(errc::unavailable)}}, book.now);
    CHECK(book.state("b").failure == listener_failure::io);
    CHECK(book.missing_endpoints("b").size() == 2);
}

TEST_CASE("no more namespaces are held open than may be") {
    book_of_two_addresses book(2);
    (void)book.pods({at("a"), at("b"), at("c")}, book.now);
    CHECK(book.see("a", by_process(1)) == verdict::open);
    CHECK(book.see("b", by_process(2)) == verdict::open);
    CHECK(book.see("c", by_process(3)) == verdict::wait);
    CHECK(book.state("c").failure == listener_failure::limit);
    CHECK(book.see("a", by_process(4)) == verdict::open); // in place of the one it had
    (void)book.pods({at("b"), at("c")}, book.now);
    CHECK(book.see("c", by_process(3)) == verdict::open);
    CHECK(!book.state("c").failure);
}

TEST_CASE("what cannot be entered is a fault, and tried again") {
    book_of_two_addresses book;
    (void)book.pods({at("a")}, book.now);
    book.failed("a", problem(errc::denied), book.now);
    CHECK(book.state("a").failure == listener_failure::denied);
    CHECK(*book.next() - book.now == 1s);
    CHECK(book.see("a", by_process(1)) == verdict::open);
    book.failed("a", problem(errc::io_failed), book.now); // at a later look: what is open stays open
    CHECK(book.state("a").open);
    CHECK(!book.state("a").failure);
}

// ---- pinned namespaces

TEST_CASE("a pod without a process has the one pinned namespace with its published addresses") {
    book_of_two_addresses book;
    (void)book.pods({at("a", {"10.0.0.1"}), at("b")}, book.now);
    const std::vector<pinned_facts> pins{{{1, 1}, "/run/netns/x", addresses({"10.0.0.1", "fe80::1"}), {}},
                                         {{1, 2}, "/run/netns/y", addresses({"10.0.0.2"}), {}}};
    CHECK(book.may_be_pinned("a", book.now));
    REQUIRE(book.pin_of("a", pins) != nullptr);
    CHECK(book.pin_of("a", pins)->path == "/run/netns/x");
    SUBCASE("not before its addresses are published") {
        CHECK(!book.may_be_pinned("b", book.now));
        CHECK(book.pin_of("b", pins) == nullptr);
    }
    SUBCASE("not when a second one has any of them") {
        auto more = pins;
        more.push_back({{1, 3}, "/run/netns/z", addresses({"10.0.0.1"}), {}});
        CHECK(book.pin_of("a", more) == nullptr);
    }
    SUBCASE("not when another pod has one of them too") {
        (void)book.pods({at("a", {"10.0.0.1"}), at("b", {"10.0.0.1"})}, book.now);
        CHECK(book.pin_of("a", pins) == nullptr);
        CHECK(book.pin_of("b", pins) == nullptr);
    }
    SUBCASE("not when somebody else's process runs in it") {
        auto used = pins;
        used[0].tenants = {"a"};
        CHECK(book.pin_of("a", used) != nullptr);
        used[0].tenants = {"a", "stranger"};
        CHECK(book.pin_of("a", used) == nullptr);
    }
    SUBCASE("not when it is another pod's by its listener") {
        (void)book.see("b", by_process(1));
        CHECK(book.pin_of("a", pins) == nullptr);
    }
    SUBCASE("not when it has only a part of them") {
        (void)book.pods({at("a", {"10.0.0.1", "fd00::1"})}, book.now);
        CHECK(book.pin_of("a", pins) == nullptr);
    }
}

TEST_CASE("the first process of a pod says more than the pin: the listener goes where it runs") {
    book_of_two_addresses book;
    (void)book.pods({at("a", {"10.0.0.1"})}, book.now);
    CHECK(book.see("a", by_pin(1, {"10.0.0.1"})) == verdict::open);
    CHECK(!book.may_be_pinned("a", book.now));
    CHECK(book.see("a", nothing(false, true)) == verdict::wait); // no group yet is no sign of its end
    CHECK(book.state("a").open);
    SUBCASE("the same") { CHECK(book.see("a", by_process(1, {"10.0.0.1"})) == verdict::wait); }
    SUBCASE("another") {
        CHECK(book.see("a", by_process(2, {"10.0.0.1"})) == verdict::open);
        CHECK(book.tenant_of({1, 1}).empty());
    }
    CHECK(book.state("a").open);
}

TEST_CASE("a pin that comes has those looked for that it may be of, and nobody else") {
    book_of_two_addresses book;
    (void)book.pods({at("a", {"10.0.0.1"}), at("b"), at("c", {"10.0.0.3"})}, book.now);
    (void)book.see("a", nothing());
    (void)book.see("b", nothing());
    (void)book.see("c", by_process(3, {"10.0.0.3"}));
    CHECK(book.due(book.now).empty());
    book.pins_changed(book.now);
    CHECK(book.due(book.now) == uids{"a"});
}

TEST_CASE("pins are asked for in vain once a minute, and whenever something of them is new") {
    book_of_two_addresses book;
    (void)book.pods({at("a", {"10.0.0.1"})}, book.now);
    CHECK(book.may_be_pinned("a", book.now));
    book.not_pinned("a", book.now);
    CHECK(!book.may_be_pinned("a", book.now + 59s));
    CHECK(book.may_be_pinned("a", book.now + 60s));
    SUBCASE("a pin") { book.pins_changed(book.now); }
    SUBCASE("an address") { (void)book.pods({at("a", {"10.0.0.2"})}, book.now); }
    CHECK(book.may_be_pinned("a", book.now));
    CHECK(book.due(book.now) == uids{"a"});
}

// ---- the beginning

TEST_CASE("it is settled when those of the beginning have been tried, or had their time") {
    book_of_two_addresses book;
    CHECK(!book.settled(book.now));
    (void)book.pods({at("a"), at("b"), at("c")}, book.now);
    CHECK(!book.settled(book.now));
    (void)book.see("a", by_process(1));
    (void)book.see("b", nothing()); // not begun: nobody waits for it
    (void)book.see("c", nothing(true));
    CHECK(!book.settled(book.now));
    CHECK(book.settled(book.now + 5s));
    (void)book.pods({at("a"), at("b"), at("c"), at("later")}, book.now);
    (void)book.see("c", by_process(3));
    CHECK(book.settled(book.now));
}

TEST_CASE("a node without pods is settled as soon as that is known") {
    book_of_two_addresses book;
    (void)book.pods({}, book.now);
    CHECK(book.settled(book.now));
    CHECK(!book.next());
}

TEST_CASE("the first sign of a sandbox is when something of it was there") {
    book_of_two_addresses book;
    (void)book.pods({at("a")}, book.now);
    (void)book.see("a", nothing());
    CHECK(!book.state("a").first_sign);
    book.now += 1s;
    const auto sign = book.now;
    (void)book.see("a", nothing(true));
    book.now += 20ms;
    (void)book.see("a", by_process(1));
    CHECK(book.state("a").first_sign == sign);
}

TEST_CASE("a new sandbox has a first sign of its own") {
    book_of_two_addresses book;
    (void)book.pods({at("a", {"10.1.0.1"})}, book.now);
    (void)book.see("a", by_process(1, {"10.1.0.1"}));
    book.now += 1h;
    const auto sign = book.now;
    CHECK(book.see("a", by_process(5, {"10.1.0.2"})) == verdict::vacate); // nothing is published of it yet
    book.now += 300ms;
    (void)book.pods({at("a", {"10.1.0.2"})}, book.now);
    CHECK(book.see("a", by_process(5, {"10.1.0.2"})) == verdict::open);
    CHECK(book.state("a").first_sign == sign);
}
