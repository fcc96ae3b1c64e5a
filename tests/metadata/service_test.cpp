// The service as the daemon runs it: two loops on two threads, real sockets on loopback, the real credential
// service; Kubernetes and STS are played by the test.

#include "metadata/service.hpp"
#include "runtime/listening_socket.hpp"
#include "runtime/waiters.hpp"
#include "tests/support/metadata_node.hpp"
#include "tests/support/recording_log.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/asio/write.hpp>
#include <doctest/doctest.h>

#include <atomic>
#include <future>
#include <semaphore>
#include <thread>

using namespace credlet;
using namespace credlet::test;
using namespace std::chrono_literals;
using asio::ip::tcp;

namespace {

// Kubernetes. Used on the upstream loop only.
class played_cluster final : public metadata::cluster {
public:
    awaitable<result<std::vector<metadata::pod>>> pods_by_address(asio::ip::address) override {
        co_return std::vector<metadata::pod>();
    }
    awaitable<result<std::optional<metadata::pod>>> pod_by_name(std::string, std::string name) override {
        std::optional<metadata::pod> found;
        if (const auto at = elsewhere.find(name); at != elsewhere.end())
            found = at->second;
        co_return found;
    }
    awaitable<result<std::optional<metadata::service_account>>>
    service_account_by_name(std::string, std::string name) override {
        if (away)
            co_return fail(errc::unavailable, "the API server is away");
        std::optional<metadata::service_account> found;
        if (const auto at = unlisted.find(name); at != unlisted.end())
            found = at->second;
        co_return found;
    }
    awaitable<result<metadata::verified_token>> verify(secret_string jwt, std::vector<std::string>) override {
        ++verified;
        if (std::exchange(throwing, false))
            throw std::runtime_error("a bug");
        if (jwt.reveal() != "good.token.a")
            co_return fail(errc::untrusted, "forged");
        co_return metadata::verified_token{"shop",
                                           "web",
                                           "sa-uid-web",
                                           "pod-a",
                                           "a",
                                           "node-1",
                                           {"sts.amazonaws.com"},
                                           "issuer",
                                           system_clock().wall() + 1h};
    }
    std::string issuer() const override { return "https://issuer.example"; }

    std::map<std::string, metadata::pod> elsewhere;
    std::map<std::string, metadata::service_account> unlisted;
    bool away = false, throwing = false;
    int verified = 0;
};

class played_sts final : public sts::client {
public:
    awaitable<sts::outcome<sts::credentials>> assume_role_with_web_identity(const sts::credential_spec& spec,
                                                                            std::chrono::seconds,
                                                                            secret_string) override {
        ++calls;
        const auto role_arn = spec.role_arn;
        const auto session_name = spec.session_name;
        while (held)
            (void)co_await released_.wait(step_limit::after(std::chrono::minutes(1)));
        if (denying) {
            sts::failure denial;
            denial.kind = sts::failure_kind::denied;
            denial.code = "AccessDenied";
            denial.message = "Not authorized to perform sts:AssumeRoleWithWebIdentity";
            denial.request_id = "request-77";
            co_return denial;
        }
        sts::credentials c;
        c.access_key_id = "AKIA" + std::to_string(calls);
        c.secret_access_key = secret_string("secret");
        c.session_token = secret_string("token");
        const system_clock time;
        c.issued = time.wall();
        c.expiration = c.issued + 1h;
        c.fetched = time.now();
        c.expires = c.fetched + 1h;
        c.account_id = "123456789012";
        c.role_arn = role_arn;
        c.assumed_role_arn = "arn:aws:sts::123456789012:assumed-role/web-role/" + session_name;
        co_return c;
    }
    awaitable<sts::outcome<sts::credentials>> assume_role(const sts::credential_spec&, std::chrono::seconds,
                                                          const sts::credentials&) override {
        co_return sts::failure{};
    }
    // Calls end when they are released, on the upstream loop.
    void hold() { held = true; }
    void release() {
        held = false;
        released_.wake_all();
    }
    std::atomic<int> calls{0};
    std::atomic<bool> denying{false};

private:
    bool held = false;
    waiters released_;
};

class played_tokens final : public sts::web_identity_tokens {
public:
    awaitable<sts::outcome<sts::web_identity_token>> obtain(std::shared_ptr<const sts::credential_spec>,
                                                            bool) override {
        sts::web_identity_token token;
        token.jwt = secret_string("a.b.c");
        token.source = "request";
        co_return token;
    }
};

// Both loops write.
class kept_log final : public logger {
public:
    bool enabled(log_level) const override { return true; }
    void write(log_level level, std::string_view message, std::initializer_list<log_field> fields) override {
        const std::lock_guard lock(mutex_);
        log_.write(level, message, fields);
    }
    // Whose requests were refused for that reason, a line each.
    std::vector<std::string> refused(std::string_view reason) const {
        const std::lock_guard lock(mutex_);
        std::vector<std::string> peers;
        for (const auto& line : log_.lines)
            if (line.field("reason") == reason)
                peers.push_back(line.field("peer"));
        return peers;
    }

private:
    mutable std::mutex mutex_;
    recording_log log_;
};

class loop_thread {
public:
    loop_thread() : thread_([this] { loop.run(); }) {}
    ~loop_thread() { stop(); }
    loop_thread(const loop_thread&) = delete;
    loop_thread& operator=(const loop_thread&) = delete;
    void stop() {
        guard_.reset();
        loop.stop();
        if (thread_.joinable())
            thread_.join();
    }
    asio::io_context loop{1};

private:
    asio::executor_work_guard<asio::io_context::executor_type> guard_ = asio::make_work_guard(loop);
    std::thread thread_;
};

class running_service {
public:
    explicit running_service(metadata::service_settings s = node_settings())
        : registry(metrics::make_registry(time)),
          tasks(upstream.loop.get_executor()),
          credentials(upstream.loop.get_executor(), tasks, time, random, sts, tokens, registry->sts(), log,
                      {}),
          subject(metadata::make_service(serving.loop, upstream.loop, tasks, time, random,
                                         registry->serving(), registry->kubernetes(), log, std::move(s))) {
        on_upstream([&] {
            subject->connect(kubernetes, nullptr, credentials);
            subject->service_accounts().replaced(
                {make_account("web", "web-role"), make_account("api", "api-role")});
            subject->pods().replaced({});
            subject->set_synced(true);
        });
        std::promise<tcp::endpoint> bound;
        asio::post(serving.loop, [&] {
            const auto listened = subject->listen({asio::ip::make_address("127.0.0.1"), 0});
            bound.set_value(listened ? subject->endpoints().front() : tcp::endpoint());
        });
        where = bound.get_future().get();
    }
    ~running_service() {
        asio::co_spawn(serving.loop, subject->drain(100ms), asio::use_future).get();
        on_upstream([&] {
            credentials.stop();
            tasks.cancel();
        });
        asio::co_spawn(upstream.loop, tasks.drained(), asio::use_future).get();
        serving.stop();
        upstream.stop();
    }
    void on_upstream(const std::function<void()>& what) {
        std::promise<void> done;
        asio::post(upstream.loop, [&] {
            what();
            done.set_value();
        });
        done.get_future().get();
    }
    void add(const metadata::pod& p) {
        on_upstream([&] { subject->pods().changed(p); });
    }
    void remove(const metadata::pod& p) {
        on_upstream([&] { subject->pods().removed(p); });
    }
    // A listener of that pod, as if in its network namespace. Returns where it listens.
    tcp::endpoint open_listener(std::uint64_t key, const std::string& uid) {
        auto socket = make_listening_socket({asio::ip::make_address("127.0.0.1"), 0}, {});
        REQUIRE(socket.has_value());
        const auto endpoint = endpoint_of(*socket);
        REQUIRE(endpoint.has_value());
        on_serving([&] { CHECK(subject->listen_for_pod(key, uid, std::move(*socket)).has_value()); });
        return *endpoint;
    }
    void on_serving(const std::function<void()>& what) {
        std::promise<void> done;
        asio::post(serving.loop, [&] {
            what();
            done.set_value();
        });
        done.get_future().get();
    }
    // Waits until the serving loop has what the upstream loop knows now: it is published behind what told of
    // it.
    void settle() {
        on_upstream([] {});
        on_serving([] {});
    }
    std::vector<metadata::explain_step> explain(const std::string& name) {
        return asio::co_spawn(upstream.loop, subject->explain("shop", name), asio::use_future).get();
    }

    system_clock time;
    system_random random;
    kept_log log;
    std::unique_ptr<metrics::registry> registry;
    played_cluster kubernetes;
    played_sts sts;
    played_tokens tokens;
    loop_thread serving, upstream;
    task_group tasks;
    sts::credential_service credentials;
    std::unique_ptr<metadata::service> subject;
    tcp::endpoint where;
};

// A connection of a pod.
class pod_client {
public:
    pod_client(const running_service& to, const std::string& from) : pod_client(to.where, from) {}
    explicit pod_client(const tcp::endpoint& where, const std::string& from = "127.0.0.1")
        : socket_(loop_),
          where_(where) {
        socket_.open(tcp::v4());
        socket_.bind({asio::ip::make_address(from), 0});
        socket_.connect(where);
    }
    void send(const std::string& path, const std::string& headers = {}) {
        asio::write(socket_, asio::buffer("GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1:" +
                                          std::to_string(where_.port()) + "\r\n" + headers + "\r\n"));
    }
    // Status and body; 0 when the connection was closed instead.
    std::pair<unsigned, std::string> receive() {
        boost::system::error_code problem;
        const auto size = asio::read_until(socket_, asio::dynamic_buffer(buffer_), "\r\n\r\n", problem);
        if (problem)
            return {0, ""};
        const auto head = buffer_.substr(0, size);
        const auto at = head.find("Content-Length: ");
        const auto length = static_cast<std::size_t>(std::atoll(head.c_str() + at + 16));
        if (buffer_.size() < size + length)
            asio::read(socket_, asio::dynamic_buffer(buffer_),
                       asio::transfer_exactly(size + length - buffer_.size()));
        auto body = buffer_.substr(size, length);
        buffer_.erase(0, size + length);
        return {static_cast<unsigned>(std::atoi(head.c_str() + 9)), std::move(body)};
    }
    std::pair<unsigned, std::string> ask(const std::string& path, const std::string& headers = {}) {
        send(path, headers);
        return receive();
    }
    void close() { socket_.close(); }

private:
    asio::io_context loop_;
    tcp::socket socket_;
    tcp::endpoint where_;
    std::string buffer_;
};

const std::string ecs = "/v1/credentials";

} // namespace

TEST_CASE("from the connection to the credentials: a pod asks before the watch has told of it") {
    running_service node;
    pod_client client(node, "127.0.0.2");
    client.send(ecs);
    node.add(make_pod("a", "web", "127.0.0.2"));
    const auto [status, body] = client.receive();
    CHECK(status == 200);
    CHECK(member_of(body, "RoleArn") == role("web-role"));
    CHECK(client.ask(ecs).first == 200);
    CHECK(node.sts.calls == 1);
    CHECK(node.registry->expose().find("credlet_requests_total") != std::string::npos);
}

TEST_CASE("T8: connections of an address that went to another pod are closed") {
    running_service node;
    const auto a = make_pod("a", "web", "127.0.0.2");
    node.add(a);
    pod_client client(node, "127.0.0.2");
    REQUIRE(client.ask(ecs).first == 200);
    node.remove(a);
    node.add(make_pod("b", "api", "127.0.0.2"));
    CHECK(client.receive().first == 0); // closed, without a request
    pod_client successor(node, "127.0.0.2");
    const auto [status, body] = successor.ask(ecs);
    CHECK(status == 200);
    CHECK(member_of(body, "RoleArn") == role("api-role"));
}

TEST_CASE("F34: callers that hang up while they wait do not disturb the others") {
    running_service node;
    node.on_upstream([&] { node.sts.hold(); });
    node.add(make_pod("a", "web", "127.0.0.2"));
    std::vector<std::unique_ptr<pod_client>> clients;
    for (int i = 0; i < 30; ++i) {
        clients.push_back(std::make_unique<pod_client>(node, "127.0.0.2"));
        clients.back()->send(ecs);
    }
    for (std::size_t i = 0; i < 10; ++i)
        clients[i]->close();
    node.on_upstream([&] { node.sts.release(); });
    for (std::size_t i = 10; i < 30; ++i)
        CHECK(clients[i]->receive().first == 200);
    CHECK(node.sts.calls == 1);
}

TEST_CASE("requests over the bound of waiting ones are refused at once") {
    auto s = node_settings();
    s.max_waiting_per_pod = 2;
    running_service node(s);
    node.on_upstream([&] { node.sts.hold(); });
    node.add(make_pod("a", "web", "127.0.0.2"));
    std::counting_semaphore<6> answered(0);
    std::vector<std::future<unsigned>> statuses;
    for (int i = 0; i < 6; ++i)
        statuses.push_back(std::async(std::launch::async, [&] {
            const auto status = pod_client(node, "127.0.0.2").ask(ecs).first;
            answered.release();
            return status;
        }));
    for (int i = 0; i < 4; ++i)
        answered.acquire(); // while the other two wait
    node.on_upstream([&] { node.sts.release(); });
    int served = 0, refused = 0;
    for (auto& status : statuses) {
        const auto got = status.get();
        served += got == 200;
        refused += got == 429;
    }
    CHECK(served == 2);
    CHECK(refused == 4);
}

TEST_CASE("a bug on the way to the cluster blocks no token: the next attempt is made") {
    running_service node;
    node.add(make_pod("a", "web", "127.0.0.2"));
    node.on_upstream([&] { node.kubernetes.throwing = true; });
    pod_client client(node, "127.0.0.2");
    CHECK(client.ask(ecs, with_token("good.token.a")).first == 200);
    node.on_upstream([&] { CHECK(node.kubernetes.verified == 2); });
}

TEST_CASE("a token is verified once, however many requests bring it") {
    running_service node;
    node.add(make_pod("a", "web", "127.0.0.2"));
    pod_client client(node, "127.0.0.9"); // an address of no pod
    for (int i = 0; i < 5; ++i)
        CHECK(client.ask(ecs, with_token("good.token.a")).first == 200);
    CHECK(client.ask(ecs, with_token("bad.token.a")).first == 403);
    pod_client other(node, "127.0.0.9");
    CHECK(other.ask(ecs, with_token("Bearer good.token.a")).first == 200);
    node.on_upstream([&] { CHECK(node.kubernetes.verified == 2); });
}

TEST_CASE("F25: an address of nobody is refused when the hold time is over") {
    auto s = node_settings();
    s.ecs_hold = 200ms;
    running_service node(s);
    pod_client client(node, "127.0.0.3");
    const auto started = std::chrono::steady_clock::now();
    CHECK(client.ask(ecs).first == 403);
    CHECK(std::chrono::steady_clock::now() - started >= 190ms);
}

TEST_CASE("explain goes the whole way for a pod that gets its credentials") {
    running_service node;
    node.add(make_pod("a", "web", "127.0.0.2"));
    const auto steps = node.explain("pod-a");
    REQUIRE(steps.size() == 7);
    const std::vector<std::string> names{"pod",   "address", "service account", "role",
                                         "token", "sts",     "credentials"};
    for (std::size_t i = 0; i < steps.size(); ++i) {
        CHECK(steps[i].name == names[i]);
        CHECK(steps[i].ok);
        CHECK(steps[i].advice.empty());
    }
    CHECK(steps[6].detail.find("assumed-role/web-role/shop.web.node-1") != std::string::npos);
    CHECK(steps[6].detail.find("secret") == std::string::npos);
}

TEST_CASE("explain says what the role's trust policy must name when STS denies") {
    running_service node;
    node.sts.denying = true;
    node.add(make_pod("a", "web", "127.0.0.2"));
    const auto steps = node.explain("pod-a");
    REQUIRE(steps.size() == 7);
    CHECK(steps[4].ok);
    CHECK_FALSE(steps[5].ok);
    CHECK(steps[5].detail.find("AccessDenied: Not authorized") != std::string::npos);
    CHECK(steps[5].detail.find("request-77") != std::string::npos);
    for (const auto* part : {"sub = system:serviceaccount:shop:web", "aud = sts.amazonaws.com",
                             "https://issuer.example", "arn:aws:iam::123456789012:role/web-role"})
        CHECK(steps[5].advice.find(part) != std::string::npos);
    CHECK_FALSE(steps[6].reached);
    // While the denial is remembered, it is the answer: nobody waits, and STS is not asked again.
    const auto calls = node.sts.calls.load();
    CHECK(node.explain("pod-a")[5].detail == steps[5].detail);
    CHECK(node.sts.calls.load() == calls);
}

TEST_CASE("explain names the first step that fails, and what to do about it") {
    running_service node;
    auto ended = make_pod("ended", "web", "127.0.0.3");
    ended.terminal = true;
    auto fixed = make_pod("fixed", "web", "127.0.0.4");
    fixed.mirror = true;
    auto account = make_account("wrong", "wrong-role");
    account.annotations.emplace_back("credlet.io/session-duration", "1");
    auto far = make_pod("far", "web", "");
    far.node_name = "node-2";
    node.on_upstream([&] {
        node.kubernetes.elsewhere["pod-far"] = far;
        node.subject->service_accounts().changed(account);
        for (const auto& p :
             {ended, fixed, make_pod("plain", "plain", "127.0.0.5"), make_pod("wrong", "wrong", "127.0.0.6"),
              make_pod("one", "web", "127.0.0.7"), make_pod("two", "web", "127.0.0.7")})
            node.subject->pods().changed(p);
    });
    const auto first_failure = [&](const std::string& name) {
        for (const auto& step : node.explain(name))
            if (!step.ok) {
                CHECK_FALSE(step.advice.empty());
                return step.name + ": " + step.detail;
            }
        return std::string("none");
    };
    CHECK(first_failure("pod-nobody").starts_with("pod: there is no such pod"));
    CHECK(first_failure("pod-far").find("another node") != std::string::npos);
    CHECK(first_failure("pod-ended").find("has ended") != std::string::npos);
    CHECK(first_failure("pod-fixed").find("static pod") != std::string::npos);
    CHECK(first_failure("pod-one").starts_with("address: 127.0.0.7 is claimed"));
    CHECK(first_failure("pod-plain").starts_with("service account: "));
    CHECK(first_failure("pod-wrong").find("credlet.io/session-duration") != std::string::npos);
}

TEST_CASE("explain asks for a service account that the watch does not show, as a request does") {
    running_service node;
    node.on_upstream([&] {
        node.kubernetes.unlisted["late"] = make_account("late", "late-role");
        node.subject->pods().changed(make_pod("late", "late", "127.0.0.5"));
        node.subject->pods().changed(make_pod("dark", "dark", "127.0.0.6"));
    });
    const auto found = node.explain("pod-late");
    REQUIRE(found.size() == 7);
    CHECK(found[6].ok);
    node.on_upstream([&] { node.kubernetes.away = true; });
    const auto unknown = node.explain("pod-dark");
    CHECK_FALSE(unknown[2].ok);
    CHECK(unknown[2].detail.find("the API server is away") != std::string::npos);
    CHECK(unknown[2].advice.find("annotate") == std::string::npos);
    node.on_upstream([&] { node.subject->set_synced(false); });
    CHECK(node.explain("pod-dark")[2].detail.find("have not listed yet") != std::string::npos);
}

TEST_CASE("pods that share an address get each their own role through their listeners") {
    running_service node;
    node.add(make_pod("a", "web", "127.0.0.2"));
    node.add(make_pod("b", "api", "127.0.0.2"));
    pod_client of_a(node.open_listener(1, "a"), "127.0.0.2"), of_b(node.open_listener(2, "b"), "127.0.0.2");
    node.settle();
    for (int i = 0; i < 2; ++i) {
        CHECK(member_of(of_a.ask(ecs).second, "RoleArn") == role("web-role"));
        CHECK(member_of(of_b.ask(ecs).second, "RoleArn") == role("api-role"));
    }
    CHECK(of_a.ask(ecs + "/api-role").first == 403);
    CHECK(pod_client(node, "127.0.0.2").ask(ecs).first == 503); // at the node they cannot be told apart
    CHECK(of_b.ask(ecs, with_token("good.token.a")).second.find("another pod") != std::string::npos);
    CHECK(of_a.ask(ecs, with_token("good.token.a")).first == 200);
}

TEST_CASE("T8: an address that changes hands closes no connection through a listener in a pod") {
    running_service node;
    const auto before = make_pod("before", "web", "127.0.0.1");
    node.add(make_pod("a", "web", ""));
    node.add(before);
    pod_client inside(node.open_listener(1, "a")), outside(node, "127.0.0.1");
    node.settle();
    REQUIRE(inside.ask(ecs).first == 200);
    REQUIRE(outside.ask(ecs).first == 200);
    node.remove(before);
    node.add(make_pod("after", "api", "127.0.0.1"));
    CHECK(outside.receive().first == 0);
    CHECK(member_of(inside.ask(ecs).second, "RoleArn") == role("web-role"));
}

TEST_CASE("a listener that has outlived its pod refuses whoever comes, and closes what came through it") {
    running_service node;
    const auto a = make_pod("a", "web", "127.0.0.2");
    node.add(a);
    const auto where = node.open_listener(1, "a");
    pod_client earlier(where), waiting(where);
    node.settle();
    REQUIRE(earlier.ask(ecs).first == 200);
    node.remove(a);
    node.add(make_pod("b", "web", "127.0.0.2"));
    node.settle();
    CHECK(earlier.ask(ecs).first == 403);
    pod_client later(where, "127.0.0.2");
    CHECK(later.ask(ecs).second.find("does not run on this node") != std::string::npos);
    CHECK(later.ask(ecs, with_token("good.token.a")).first == 403);
    node.on_serving([&] { node.subject->close_listener(1); });
    CHECK(earlier.receive().first == 0);
    CHECK(later.receive().first == 0);
    CHECK(node.log.refused("pod_not_here") == std::vector<std::string>{"pod of uid a"}); // once in 10 s
}

TEST_CASE("T7: who waits behind a listener is refused when his pod is gone meanwhile") {
    running_service node;
    node.on_upstream([&] { node.sts.hold(); });
    const auto a = make_pod("a", "web", "127.0.0.2");
    node.add(a);
    pod_client client(node.open_listener(1, "a"));
    node.settle();
    client.send(ecs);
    node.remove(a);
    CHECK(client.receive().first == 403);
    node.on_upstream([&] { node.sts.release(); });
}

TEST_CASE("the bound of waiting requests is each pod's own, though all come from one loopback address") {
    auto s = node_settings();
    s.max_waiting_per_pod = 2;
    running_service node(s);
    node.on_upstream([&] { node.sts.hold(); });
    node.add(make_pod("a", "web", ""));
    node.add(make_pod("b", "web", ""));
    const auto of_a = node.open_listener(1, "a"), also_of_a = node.open_listener(2, "a");
    const auto of_b = node.open_listener(3, "b");
    node.settle();
    std::counting_semaphore<8> answered(0);
    const auto ask = [&](const tcp::endpoint& where, const std::string& from) {
        return std::async(std::launch::async, [&answered, where, from] {
            const auto status = pod_client(where, from).ask(ecs).first;
            answered.release();
            return status;
        });
    };
    std::vector<std::future<unsigned>> of_one;
    for (int i = 1; i <= 3; ++i) {
        of_one.push_back(ask(of_a, "127.0.0." + std::to_string(i)));
        of_one.push_back(ask(also_of_a, "127.0.0." + std::to_string(i)));
    }
    for (int i = 0; i < 4; ++i)
        answered.acquire(); // while the other two wait
    std::vector<std::future<unsigned>> of_other;
    for (int i = 0; i < 3; ++i)
        of_other.push_back(ask(of_b, "127.0.0.1"));
    answered.acquire();
    node.on_upstream([&] { node.sts.release(); });
    const auto served = [](std::vector<std::future<unsigned>>& statuses) {
        return std::count_if(statuses.begin(), statuses.end(), [](auto& s) { return s.get() == 200; });
    };
    CHECK(served(of_one) == 2);
    CHECK(served(of_other) == 2);
}

TEST_CASE("the log names the pod whose listener a refused caller came through, each pod a line") {
    running_service node;
    node.add(make_pod("a", "web", ""));
    node.add(make_pod("b", "api", ""));
    const auto of_a = node.open_listener(1, "a"), of_b = node.open_listener(2, "b");
    node.settle();
    for (const auto* from : {"127.0.0.1", "127.0.0.2", "127.0.0.3"})
        CHECK(pod_client(of_a, from).ask(ecs + "/api-role").first == 403);
    CHECK(pod_client(of_b).ask(ecs + "/web-role").first == 403);
    CHECK(node.log.refused("foreign_role") == std::vector<std::string>{"pod shop/pod-a", "pod shop/pod-b"});
}

TEST_CASE("which pods are to have listeners is told at once, and then only when it has changed") {
    running_service node;
    auto host = make_pod("host", "web", "192.168.0.1");
    host.host_network = true;
    auto fixed = make_pod("fixed", "web", "127.0.0.4");
    fixed.mirror = true;
    auto ended = make_pod("ended", "web", "127.0.0.5");
    ended.terminal = true;
    for (const auto& p : {host, fixed, ended, make_pod("a", "web", "")})
        node.add(p);
    std::vector<std::vector<metadata::listened_pod>> told; // upstream loop
    const auto uids = [](const std::vector<metadata::listened_pod>& pods) {
        std::string all;
        for (const auto& p : pods)
            all += p.uid + " ";
        return all;
    };
    const auto last = [&] {
        node.settle();
        std::pair<std::size_t, std::string> seen;
        node.on_upstream([&] { seen = {told.size(), uids(told.back())}; });
        return seen;
    };
    using seen = std::pair<std::size_t, std::string>;
    node.on_upstream([&] {
        node.subject->watch_listened_pods(false, [&](auto pods) { told.push_back(std::move(pods)); });
        REQUIRE(told.size() == 1);
        CHECK(told[0] == std::vector<metadata::listened_pod>{{"a", "shop", "pod-a", {}}});
    });
    node.add(make_pod("a", "web", "127.0.0.2")); // its address is news
    CHECK(last() == seen{2, "a "});
    node.on_upstream([&] { CHECK(told[1][0].addresses.front().to_string() == "127.0.0.2"); });
    node.add(make_pod("a", "web", "127.0.0.2"));
    node.add(make_pod("host2", "web", ""));
    CHECK(last() == seen{3, "a host2 "});
    auto host2 = make_pod("host2", "web", "");
    host2.terminating = true; // still runs
    node.add(host2);
    node.remove(fixed);
    node.on_upstream([&] { node.subject->service_accounts().changed(make_account("web", "new-role")); });
    CHECK(last() == seen{3, "a host2 "});
    host2.terminal = true;
    node.add(host2);
    CHECK(last() == seen{4, "a "});
    node.remove(make_pod("a", "web", ""));
    CHECK(last() == seen{5, ""});
}

TEST_CASE("where only pods with a role are to have listeners, they come and go with the annotation") {
    running_service node;
    node.add(make_pod("a", "web", ""));
    node.add(make_pod("p", "plain", ""));
    std::vector<std::string> told;
    node.on_upstream([&] {
        node.subject->watch_listened_pods(true, [&](const std::vector<metadata::listened_pod>& pods) {
            std::string all;
            for (const auto& p : pods)
                all += p.uid + " ";
            told.push_back(all);
        });
    });
    const auto change = [&](const metadata::service_account& account) {
        node.on_upstream([&] { node.subject->service_accounts().changed(account); });
        node.settle();
    };
    change(make_account("plain", "plain-role"));
    change(make_account("web", ""));
    node.on_upstream([&] { CHECK(told == std::vector<std::string>{"a ", "a p ", "p "}); });
}

TEST_CASE("explain tells of the pod's listener from the moment on at which pods have them") {
    running_service node;
    node.add(make_pod("a", "web", "127.0.0.2"));
    CHECK(node.explain("pod-a").size() == 7);
    node.on_upstream([&] {
        node.subject->explain_listeners([](const std::string& uid) {
            return uid == "a" ? std::optional(metadata::pod_listener_state{true, "127.0.0.1:9799", {}})
                              : std::nullopt;
        });
    });
    const auto steps = node.explain("pod-a");
    REQUIRE(steps.size() == 8);
    CHECK(steps[2].name == "listener");
    CHECK(steps[2].detail == "127.0.0.1:9799");
    CHECK(steps[7].ok);
    CHECK(node.explain("pod-nobody").size() == 8);
    node.add(make_pod("late", "web", "127.0.0.3"));
    CHECK_FALSE(node.explain("pod-late")[2].ok);
    CHECK_FALSE(node.explain("pod-late")[7].reached);
}
