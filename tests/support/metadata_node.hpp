#pragma once
// One node's metadata service without sockets and without time of its own: the real upstream core, serving
// core and credential store, and between them queues whose messages move only when told to.

#include "metadata/serving_core.hpp"
#include "metadata/upstream_core.hpp"
#include "sts/credential_store.hpp"
#include "tests/support/manual_clock.hpp"

#include <deque>
#include <memory>
#include <set>
#include <string>

namespace credlet::test {

inline metadata::pod make_pod(const std::string& uid, const std::string& service_account,
                              const std::string& address, const std::string& namespace_name = "shop") {
    metadata::pod p;
    p.uid = uid;
    p.namespace_name = namespace_name;
    p.name = "pod-" + uid;
    p.service_account = service_account;
    p.node_name = "node-1";
    if (!address.empty())
        p.addresses.push_back(asio::ip::make_address(address));
    return p;
}

inline std::string role(const std::string& name) { return "arn:aws:iam::123456789012:role/" + name; }

inline metadata::service_account make_account(const std::string& name, const std::string& role_name,
                                              const std::string& namespace_name = "shop") {
    metadata::service_account account;
    account.uid = "sa-uid-" + name;
    account.namespace_name = namespace_name;
    account.name = name;
    if (!role_name.empty())
        account.annotations.emplace_back("eks.amazonaws.com/role-arn", role(role_name));
    return account;
}

inline metadata::service_settings node_settings() {
    metadata::service_settings s;
    s.node_name = "node-1";
    return s;
}

// A head that outlives the text it was parsed from. Throws if the text is not a request.
class test_request {
public:
    explicit test_request(std::string text) : text_(std::move(text)) {
        std::size_t scanned = 0;
        if (parse_request_head(text_, 24 * 1024, scanned, head_).state != parse_state::complete)
            throw std::runtime_error("not a request: " + text_);
    }
    test_request(const test_request&) = delete;
    test_request& operator=(const test_request&) = delete;
    [[nodiscard]] const request_head& head() const { return head_; }

private:
    std::string text_;
    request_head head_;
};

inline std::string get(const std::string& path, const std::string& more_headers = {}) {
    return "GET " + path + " HTTP/1.1\r\nHost: 169.254.170.2\r\n" + more_headers + "\r\n";
}
inline std::string with_token(const std::string& token) { return "Authorization: " + token + "\r\n"; }

// The value of a string member, found without a parser; empty if there is none.
inline std::string member_of(std::string_view body, const std::string& name) {
    const auto at = body.find("\"" + name + "\":\"");
    if (at == std::string_view::npos)
        return {};
    const auto start = at + name.size() + 4;
    return std::string(body.substr(start, body.find('"', start) - start));
}

class metadata_node : public metadata::credential_source {
public:
    explicit metadata_node(metadata::service_settings s = node_settings(), std::uint64_t seed = 1,
                           sts::store_settings store_rules = {})
        : random(seed),
          settings(std::move(s)),
          store(store_rules, random),
          upstream(settings, random, *this),
          serving(settings, metadata::imds_sessions::key{7}) {}

    // ---- what the credential service does
    void retain(const sts::credential_spec& spec, std::chrono::nanoseconds delay) override {
        last_prefetch_delay = delay;
        kept_.insert(spec.key());
        store.retain(spec, time.now(), delay);
    }
    void release(const sts::credential_key& key) override {
        kept_.erase(key);
        store.release(key, time.now());
    }
    // How many sets of credentials the node keeps.
    [[nodiscard]] std::size_t kept() const { return kept_.size(); }
    void demand(const sts::credential_key& key, std::chrono::milliseconds patience) override {
        store.demand(key, time.now(), time.now() + patience);
    }
    [[nodiscard]] sts::lookup_result lookup(const sts::credential_key& key) const override {
        return store.lookup(key, time.now());
    }
    // Calls that STS has to answer.
    void collect_calls() {
        for (auto& c : store.due(time.now()))
            calls.push_back(std::move(c));
    }
    // Issues credentials for the first call that waits. The access key id says for which role and account.
    void answer_call(std::size_t which = 0, std::chrono::seconds life = std::chrono::seconds(3600)) {
        auto c = std::move(calls.at(which));
        calls.erase(calls.begin() + static_cast<std::ptrdiff_t>(which));
        sts::credentials issued;
        issued.access_key_id = "AKIA" + std::to_string(++issued_count) + "/" + c.spec->service_account_uid +
                               "/" + c.spec->final_role_arn();
        issued.secret_access_key = secret_string("secret");
        issued.session_token = secret_string("token");
        issued.expiration = time.wall() + life;
        issued.issued = time.wall();
        issued.fetched = time.now();
        issued.expires = time.now() + life;
        issued.account_id = "123456789012";
        issued.role_arn = c.spec->final_role_arn();
        store.finish(c.id, std::move(issued), time.now());
        upstream.credentials_changed(store.take_changed());
    }
    void fail_call(std::size_t which, sts::failure problem) {
        const auto id = calls.at(which).id;
        calls.erase(calls.begin() + static_cast<std::ptrdiff_t>(which));
        store.finish(id, std::move(problem), time.now());
        upstream.credentials_changed(store.take_changed());
    }

    // ---- what the loops do
    // Ends a turn of the upstream loop.
    void turn() {
        upstream.credentials_changed(store.take_changed());
        auto t = upstream.finish_turn(time.now(), time.wall());
        if (t.out)
            deliveries.push_back(std::move(*t.out));
        append(work.verifications, t.work.verifications);
        append(work.addresses, t.work.addresses);
        append(work.pods, t.work.pods);
        append(work.accounts, t.work.accounts);
        append(work.presentations, t.work.presentations);
        departed.insert(departed.end(), t.departed.begin(), t.departed.end());
        collect_calls();
    }

    enum class request_state { asking, answered };
    struct request {
        request(const std::string& text, const std::string& peer, const std::string& listener_pod_ = {})
            : parsed(text),
              listener_pod(listener_pod_),
              facts(metadata::read_facts(parsed.head())),
              from{metadata::address_key(asio::ip::make_address(peer)),
                   asio::ip::make_address(listener_pod.empty() ? "169.254.170.2" : "127.0.0.1"),
                   listener_pod.empty() ? nullptr : &listener_pod} {}
        test_request parsed;
        std::string listener_pod; // empty: it came in on the node
        metadata::request_facts facts;
        metadata::caller from;
        metadata::progress so_far;
        request_state state = request_state::asking;
        metadata::step last;
        boot_time deadline;
        std::uint64_t ask_id = 0;
        bool waited = false;

        [[nodiscard]] unsigned status() const { return last.reply ? last.reply->status() : 0; }
        [[nodiscard]] std::string body() const { return last.reply ? std::string(last.reply->body()) : ""; }
        [[nodiscard]] std::string head() const { return last.reply ? std::string(last.reply->head()) : ""; }
        [[nodiscard]] std::string code() const { return member_of(body(), "code"); }
    };
    using request_ptr = std::shared_ptr<request>;

    // A request comes in: answered from memory, or an ask is under way.
    request_ptr send(const std::string& text, const std::string& peer) {
        return take(std::make_shared<request>(text, peer));
    }
    // Likewise, through the listener in that pod's network namespace.
    request_ptr send_through(const std::string& pod_uid, const std::string& text,
                             const std::string& peer = "127.0.0.1") {
        return take(std::make_shared<request>(text, peer, pod_uid));
    }
    request_ptr take(request_ptr r) {
        r->deadline =
            time.now() + (metadata::is_imds(r->facts.what.where) ? settings.imds_hold : settings.ecs_hold);
        r->last = serving.begin(r->facts, r->from, time.now(), time.wall());
        if (!settle(*r)) {
            r->waited = true;
            r->last = serving.resume(r->facts, r->from, time.now(), time.wall(), r->so_far);
            if (!settle(*r))
                post_ask(r);
        }
        return r;
    }
    // The oldest ask reaches the upstream loop.
    void take_ask() {
        auto a = std::move(asks.front());
        asks.pop_front();
        upstream.asks().submit(std::move(a), time.now());
    }
    // The oldest delivery reaches the serving loop. Returns the requests that were answered by it.
    std::vector<request_ptr> deliver() {
        auto d = std::move(deliveries.front());
        deliveries.pop_front();
        if (d.new_view)
            for (auto& address : serving.apply(std::move(d.new_view)))
                closed_peers.push_back(std::move(address));
        std::vector<request_ptr> answered;
        for (auto& a : d.answers) {
            const auto found = waiting.find(a.id);
            if (found == waiting.end())
                continue;
            auto r = found->second;
            waiting.erase(found);
            serving.learn(*r->last.lacking, std::move(a), r->so_far);
            r->last = serving.resume(r->facts, r->from, time.now(), time.wall(), r->so_far);
            if (settle(*r))
                answered.push_back(std::move(r));
            else
                post_ask(r);
        }
        return answered;
    }
    // The callers of all requests that wait hang up.
    void hang_up_all() {
        for (const auto& [id, r] : std::exchange(waiting, {}))
            serving.give_up(*r->last.lacking);
    }
    // Everything that is under way between the loops arrives; STS answers every call.
    void run(bool answer_calls = true) {
        for (int quiet = 0; quiet < 2; ++quiet) {
            turn();
            while (!asks.empty())
                take_ask(), quiet = 0;
            while (answer_calls && !calls.empty())
                answer_call(), quiet = 0;
            if (!asks.empty() || !calls.empty())
                turn();
            while (!deliveries.empty())
                deliver(), quiet = 0;
        }
    }
    // Time passes in small steps, and everything happens that it brings about.
    void pass(std::chrono::milliseconds d, bool answer_calls = true) {
        const auto end = time.now() + d;
        run(answer_calls);
        while (time.now() < end) {
            time.advance(std::min<std::chrono::nanoseconds>(std::chrono::milliseconds(50), end - time.now()));
            upstream.asks().tick(time.now());
            run(answer_calls);
        }
    }

    manual_clock time;
    seeded_random random;
    metadata::service_settings settings;
    sts::credential_store store;
    metadata::upstream_core upstream;
    metadata::serving_core serving;

    std::vector<sts::call> calls;
    std::deque<metadata::ask> asks;
    std::deque<metadata::delivery> deliveries;
    std::map<std::uint64_t, request_ptr> waiting;
    metadata::broker_work work; // for the test to carry out
    std::vector<std::string> departed;
    std::vector<asio::ip::address> closed_peers;
    std::chrono::nanoseconds last_prefetch_delay{-1};
    std::size_t issued_count = 0;

private:
    template <class T>
    static void append(std::vector<T>& to, std::vector<T>& from) {
        for (auto& item : from)
            to.push_back(std::move(item));
    }
    static bool settle(request& r) {
        if (r.last.reply)
            r.state = request_state::answered;
        return r.last.reply != nullptr;
    }
    void post_ask(const request_ptr& r) {
        metadata::ask a;
        a.id = r->ask_id = ++last_id_;
        a.lacking = *r->last.lacking;
        a.deadline = r->deadline;
        if (a.lacking.what == metadata::need::token)
            a.token = secret_string(r->facts.token);
        asks.push_back(std::move(a));
        waiting.emplace(r->ask_id, r);
    }
    std::uint64_t last_id_ = 0;
    std::set<sts::credential_key> kept_;
};

} // namespace credlet::test
