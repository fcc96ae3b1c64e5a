#include "metadata/pod_network/pod_listeners.hpp"
#include "tests/support/manual_clock.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sched.h>
#include <thread>

using namespace credlet;
using namespace credlet::metadata;
using namespace std::chrono_literals;

namespace {

// What is found is what the test says.
struct scripted_finder final : namespace_finder {
    struct script {
        std::string path; // of a namespace; empty: none is found
        bool imminent = false, group_gone = false, blind = false;
    };
    std::map<std::string, script> pods;
    struct pin {
        std::string path;
        std::vector<asio::ip::address> addresses;
    };
    std::vector<pin> pins;
    std::set<std::string> followed, watched;
    std::vector<std::string> looked;

    void follow(const std::string& uid) override { followed.insert(uid); }
    void watch_processes(const std::string& uid, bool on) override {
        on ? (void)watched.insert(uid) : (void)watched.erase(uid);
    }
    void forget(const std::string& uid) override {
        followed.erase(uid);
        watched.erase(uid);
    }
    process_sighting look(const std::string& uid) override {
        looked.push_back(uid);
        process_sighting seen;
        const auto& s = pods[uid];
        if (!s.path.empty())
            seen.found.emplace(found_namespace{*network_namespace::open(s.path), "process of " + uid});
        else
            seen.missing = "it has no process yet";
        seen.imminent = s.imminent;
        seen.group_gone = s.group_gone;
        seen.blind = s.blind;
        return seen;
    }
    std::string hampered;
    [[nodiscard]] std::string trouble() const override { return hampered; }
    std::vector<pinned_namespace> pinned() override {
        std::vector<pinned_namespace> all;
        for (const auto& p : pins)
            all.push_back({{*network_namespace::open(p.path), p.path}, p.addresses, {}});
        return all;
    }
};

// A network namespace that a thread has made for the test, by a path that opens it.
class made_namespace {
public:
    made_namespace() {
        std::thread([this] {
            if (::unshare(CLONE_NEWNET) == 0)
                file_ = descriptor(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
        }).join();
        REQUIRE_MESSAGE(bool(file_), "a network namespace takes CAP_SYS_ADMIN");
    }
    [[nodiscard]] std::string path() const { return "/proc/self/fd/" + std::to_string(file_.get()); }
    [[nodiscard]] namespace_id id() const { return network_namespace::open(path())->id(); }

private:
    descriptor file_;
};

struct fixture {
    asio::io_context loop{1};
    test::manual_clock time;
    scripted_finder* finder = nullptr;
    std::map<std::uint64_t, std::string> sockets; // open ones: key, and whose
    std::vector<std::string> story;
    std::map<std::string, pod_listener_state> states;
    std::vector<pod_listener_update> updates;
    std::map<namespace_id, std::vector<asio::ip::address>> addresses;
    std::optional<error> listening_fails;
    std::vector<std::string> hampered;
    int settled = 0;
    std::unique_ptr<pod_listeners> listeners;

    fixture() {
        pod_listener_settings settings;
        settings.where = {{asio::ip::address_v4::loopback(), 9799}, {asio::ip::address_v6::loopback(), 9799}};
        pod_listener_events events;
        events.opened = [this](std::uint64_t key, const std::string& uid, descriptor socket) {
            CHECK(bool(socket));
            sockets[key] = uid;
            story.push_back("opened for " + uid);
        };
        events.closed = [this](std::uint64_t key) {
            story.push_back("closed of " + sockets[key]);
            CHECK(sockets.erase(key) == 1);
        };
        events.told = [this](pod_listener_update u) {
            if (u.state)
                states[u.pod_uid] = *u.state;
            else
                states.erase(u.pod_uid);
            updates.push_back(std::move(u));
        };
        events.hampered = [this](const std::string& why) { hampered.push_back(why); };
        events.settled = [this] { ++settled; };
        pod_network_access access;
        access.addresses = [this](const network_namespace& there) -> result<std::vector<asio::ip::address>> {
            return addresses[there.id()];
        };
        access.listen = [this](const network_namespace&,
                               const asio::ip::tcp::endpoint&) -> result<descriptor> {
            if (listening_fails)
                return *listening_fails;
            return descriptor(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        };
        auto made = std::make_unique<scripted_finder>();
        finder = made.get();
        listeners = make_pod_listeners(loop, time, std::move(settings), std::move(events), std::move(made),
                                       std::move(access));
    }

    static listened_pod at(const std::string& uid, std::vector<asio::ip::address> published = {}) {
        return {uid, "shop", "name-of-" + uid, std::move(published)};
    }
    void turn() {
        loop.restart();
        loop.poll();
    }
    void say(std::vector<listened_pod> all) {
        listeners->pods(std::move(all));
        turn();
    }
    void change(const std::string& uid) {
        finder->changed(uid);
        turn();
    }
    [[nodiscard]] std::size_t open_of(const std::string& uid) const {
        return static_cast<std::size_t>(
            std::count_if(sockets.begin(), sockets.end(), [&](const auto& s) { return s.second == uid; }));
    }
};

using lines = std::vector<std::string>;

} // namespace

TEST_CASE("a pod whose namespace is found gets a listener on every address, and its processes are awaited no "
          "more") {
    fixture f;
    const made_namespace net;
    f.say({fixture::at("a")});
    CHECK(f.finder->followed.contains("a"));
    CHECK(f.finder->watched.contains("a"));
    CHECK(!f.states["a"].open);
    CHECK(f.states["a"].detail == "it has no process yet");

    f.finder->pods["a"].path = net.path();
    f.change("a");
    CHECK(f.open_of("a") == 2);
    CHECK(f.states["a"].open);
    CHECK(f.updates.back().opened_after.has_value());
    CHECK(f.updates.back().now == listener_book::counts{1, 0, 0});
    CHECK(!f.finder->watched.contains("a"));
    CHECK(f.finder->followed.contains("a"));
}

TEST_CASE("a pod that is gone has its listeners closed and is followed no more") {
    fixture f;
    const made_namespace one, two;
    f.finder->pods["a"].path = one.path();
    f.finder->pods["b"].path = two.path();
    f.say({fixture::at("a"), fixture::at("b")});
    CHECK(f.sockets.size() == 4);
    f.say({fixture::at("b")});
    CHECK(f.open_of("a") == 0);
    CHECK(f.open_of("b") == 2);
    CHECK(!f.finder->followed.contains("a"));
    CHECK(!f.states.contains("a"));
    CHECK(f.updates.back().pod_name == "name-of-a");
    CHECK(f.updates.back().now == listener_book::counts{1, 0, 0});
}

TEST_CASE("with a new sandbox the new listener is there before the old one is closed") {
    fixture f;
    const made_namespace before, after;
    f.finder->pods["a"].path = before.path();
    f.say({fixture::at("a")});
    f.finder->pods["a"].path = after.path();
    f.change("a");
    CHECK(f.story == lines{"opened for a", "opened for a", "opened for a", "opened for a", "closed of a",
                           "closed of a"});
    CHECK(f.open_of("a") == 2);
}

TEST_CASE("no namespace is given to a second pod while the first is there, and that is looked at anew") {
    fixture f;
    const made_namespace one, two;
    f.finder->pods["a"].path = one.path();
    f.say({fixture::at("a"), fixture::at("b")});
    f.finder->pods["b"].path = one.path();
    f.finder->looked.clear();
    f.change("b");
    CHECK(f.finder->looked == lines{"b", "a"});
    CHECK(f.open_of("a") == 2);
    CHECK(f.open_of("b") == 0);
    CHECK(f.updates.back().failed == listener_failure::shared_namespace);
    CHECK(!f.states["b"].advice.empty());

    f.finder->pods["a"].path = two.path(); // it has moved, and nobody has said so
    f.change("b");
    CHECK(f.open_of("a") == 2);
    CHECK(f.open_of("b") == 2);
}

TEST_CASE("a port that is taken is told once, and opened when it is free") {
    fixture f;
    const made_namespace net;
    f.finder->pods["a"].path = net.path();
    f.listening_fails = fail(errc::in_use, "cannot listen on 127.0.0.1:9799: it is in use");
    f.say({fixture::at("a")});
    CHECK(f.updates.back().failed == listener_failure::port_taken);
    CHECK(f.finder->watched.contains("a"));
    const auto told = f.updates.size();
    f.time.advance(2s);
    f.change("a");
    CHECK(f.updates.size() == told);
    f.listening_fails.reset();
    f.change("a");
    CHECK(f.states["a"].open);
    CHECK(f.open_of("a") == 2);
}

TEST_CASE("whoever cannot see any process says which right is missing") {
    fixture f;
    f.finder->pods["a"].blind = true;
    f.say({fixture::at("a")});
    CHECK(f.updates.back().failed == listener_failure::denied);
    CHECK(!f.states["a"].open);
}

TEST_CASE("a pod without a process is served in the pinned namespace that has its addresses") {
    fixture f;
    const made_namespace one, two;
    const auto address = asio::ip::make_address("10.0.0.1");
    f.finder->pins = {{one.path(), {asio::ip::make_address("10.0.0.2")}}, {two.path(), {address}}};
    f.addresses[two.id()] = {address};
    f.say({fixture::at("a")});
    CHECK(f.open_of("a") == 0);
    f.say({fixture::at("a", {address})});
    CHECK(f.open_of("a") == 2);
    CHECK(f.states["a"].detail.find(two.path()) != std::string::npos);
    SUBCASE("and where its first process runs, once there is one") {
        const made_namespace real;
        f.addresses[real.id()] = {address};
        f.finder->pods["a"].path = real.path();
        f.change("a");
        CHECK(f.open_of("a") == 2);
        CHECK(f.states["a"].detail.find("process of a") != std::string::npos);
    }
}

TEST_CASE("a namespace without the published addresses is closed") {
    fixture f;
    const made_namespace net;
    f.finder->pods["a"].path = net.path();
    f.say({fixture::at("a")});
    CHECK(f.open_of("a") == 2);
    f.say({fixture::at("a", {asio::ip::make_address("10.0.0.1")})});
    CHECK(f.open_of("a") == 0);
    CHECK(!f.states["a"].open);
}

TEST_CASE("when a pod's control group is gone its listeners are closed, though Kubernetes still shows it") {
    fixture f;
    const made_namespace net;
    f.finder->pods["a"].path = net.path();
    f.say({fixture::at("a")});
    f.finder->pods["a"] = {"", false, true, false};
    f.change("a");
    CHECK(f.open_of("a") == 0);
    CHECK(!f.states["a"].open);
}

TEST_CASE("it looks again by itself for what is about to come") {
    fixture f;
    const made_namespace net;
    f.finder->pods["a"].imminent = true;
    f.say({fixture::at("a")});
    f.finder->pods["a"].path = net.path();
    f.time.advance(1ms);
    f.loop.restart();
    f.loop.run_one_for(5s); // the timer
    CHECK(f.open_of("a") == 2);
}

TEST_CASE("many pods at once are all looked for") {
    fixture f;
    std::vector<listened_pod> all;
    for (int i = 0; i < 250; ++i)
        all.push_back(fixture::at("pod-" + std::to_string(i)));
    f.say(all);
    CHECK(f.finder->looked.size() == 250);
    CHECK(f.settled == 1);
    f.time.advance(10s);
    f.change("pod-7");
    CHECK(f.settled == 1);
}

TEST_CASE("what keeps events away is told once") {
    fixture f;
    f.say({fixture::at("a")});
    CHECK(f.hampered.empty());
    f.finder->hampered = "fs.inotify.max_user_watches is reached";
    f.change("a");
    f.change("a");
    CHECK(f.hampered == lines{"fs.inotify.max_user_watches is reached"});
}

TEST_CASE("after the stop nothing is opened, and what is open is left to its owner") {
    fixture f;
    const made_namespace net;
    f.finder->pods["a"].path = net.path();
    f.say({fixture::at("a")});
    f.listeners->stop();
    f.say({});
    f.say({fixture::at("b")});
    CHECK(f.open_of("a") == 2);
    CHECK(f.open_of("b") == 0);
}
