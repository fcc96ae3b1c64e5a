// Everything that can happen to the identity of callers and to their credentials, in any order: one generator
// drives pods and service accounts, their lagging watches, direct questions whose answers come late, tokens,
// STS calls that end in any order or fail, views that reach the serving loop late, listeners in pods that
// open and close late, and requests that wait.
//
// Each change of the truth has a version, which events, lists and direct answers carry along. A model keeps,
// by rules of its own, the newest state of each object that the service had been told of when the view in use
// was made, and says whether a reply was right.
//
// CREDLET_SEED=n runs that seed alone; seeds are printed. CREDLET_STEPS=n sets the steps per seed.

#include "tests/support/metadata_node.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <map>
#include <optional>
#include <set>

namespace {

using namespace credlet;
using namespace credlet::test;
using metadata::pod;
using metadata::service_account;

constexpr int address_count = 5;
constexpr std::size_t max_pods = 10;
constexpr int account_count = 4;
constexpr int role_count = 4;

// What the service has been told: of each object the newest state, in whatever order they came.
class knowledge {
public:
    [[nodiscard]] const std::map<std::string, pod>& pods() const { return pods_; }
    // None: it has no annotations, as far as told.
    [[nodiscard]] std::optional<service_account> account(const std::string& name) const {
        const auto found = accounts_.find(name);
        return found == accounts_.end() || found->second.annotations.empty() ? std::nullopt
                                                                             : std::optional(found->second);
    }

    void hear(const pod& p) {
        if (!gone_.contains(p.uid) && (!pods_.contains(p.uid) || pods_[p.uid].version <= p.version))
            pods_[p.uid] = p;
    }
    void hear_gone(const std::string& uid) {
        gone_.insert(uid);
        pods_.erase(uid);
    }
    // Also of one that has lost its annotations, or is gone.
    void hear(const service_account& account) {
        if (const auto known = accounts_.find(account.name);
            known == accounts_.end() || known->second.version <= account.version)
            accounts_[account.name] = account;
    }
    // All that there was at that version.
    void hear_all(const std::map<std::string, pod>& all, std::uint64_t version) {
        std::erase_if(pods_, [&](const auto& known) {
            return !all.contains(known.first) && known.second.version <= version;
        });
        for (const auto& [uid, p] : all)
            hear(p);
    }
    void hear_all(const std::map<std::string, service_account>& all) {
        for (const auto& [name, account] : all)
            hear(account);
    }

private:
    std::map<std::string, pod> pods_; // by uid
    std::set<std::string> gone_;
    std::map<std::string, service_account> accounts_; // by name
};

// What there was at one time.
struct snapshot {
    std::uint64_t version = 0;
    std::map<std::string, pod> pods;
    std::map<std::string, service_account> accounts;
};

struct session_facts {
    std::string pod_uid;
    bool by_token = false;
    boot_time expires;
};

struct token_facts {
    std::string pod_uid, pod_name, service_account, service_account_uid, audience;
    wall_time expires;
    bool genuine = true;
};

class world {
public:
    world(std::uint64_t seed_, metadata::identity_mode identity)
        : seed(seed_),
          dice(seed_),
          node(settings_for(identity), seed_ ^ 0x5eed) {
        change_truth();
        node.upstream.pods().pods_replaced({});
        for (int i = 0; i < account_count; ++i)
            change_account(i);
        relist_accounts();
        node.upstream.set_synced(true);
        turn();
    }

    void step() {
        struct event {
            int weight;
            void (world::*happen)();
        };
        static constexpr event events[] = {
            {4, &world::create_pod},
            {4, &world::give_some_address},
            {2, &world::finish_pod},
            {2, &world::terminate_pod},
            {2, &world::delete_pod},
            {1, &world::swap_addresses},
            {5, &world::change_some_account},
            {1, &world::recreate_some_account},
            {16, &world::pod_event},
            {8, &world::account_event},
            {1, &world::relist_some},
            {14, &world::turn},
            {16, &world::deliver},
            {16, &world::take_ask},
            {16, &world::answer_sts},
            {6, &world::read_direct_answer},
            {6, &world::bring_direct_answer},
            {20, &world::request},
            {8, &world::session_request},
            {4, &world::open_some_listener},
            {6, &world::close_some_listener},
            {12, &world::request_through_listener},
            {6, &world::some_time_passes},
            {3, &world::mint_token},
            {10, &world::verify_token},
        };
        static constexpr int total = [] {
            int sum = 0;
            for (const auto& e : events)
                sum += e.weight;
            return sum;
        }();
        int n = pick(total);
        for (const auto& e : events) {
            n -= e.weight;
            if (n < 0)
                return (this->*e.happen)();
        }
    }

    // All lag ends, STS answers: now every pod that should must get the credentials of its role, and the
    // service must know the truth and keep what is needed and nothing else.
    void settle() {
        for (int round = 0; round < 12; ++round) {
            while (!pod_events.empty())
                pod_event();
            while (!account_events.empty())
                account_event();
            while (!reads.empty() || have_lookups()) {
                read_direct_answer();
                bring_direct_answer();
            }
            while (!node.work.verifications.empty())
                verify_token();
            while (!node.asks.empty())
                take_ask();
            turn();
            while (!node.calls.empty())
                issue(0);
            turn();
            while (!node.deliveries.empty())
                deliver();
            time_passes(round < 6 ? 1000 : 10);
        }
        check_truth_is_known();
        check_what_is_kept();
        for (const auto& [uid, p] : truth_pods)
            check_pod_is_served(p);
        check_listeners();
        ++settled;
    }

    std::uint64_t seed;
    std::size_t served = 0, served_after_wait = 0, refused = 0, settled = 0, conflicts = 0,
                moved_while_waiting = 0, by_session = 0, through_listener = 0, listener_without_pod = 0;
    std::optional<std::string> wrong; // the first violation

private:
    static metadata::service_settings settings_for(metadata::identity_mode identity) {
        auto s = node_settings();
        s.identity = identity;
        s.caller_audiences = {"credlet"};
        s.pod_requests_per_second = 1e6;
        s.pod_request_burst = 1e6;
        s.bad_tokens_per_second = 1e6;
        return s;
    }

    // ---- chance
    int pick(int n) { return static_cast<int>(dice.next() % static_cast<std::uint64_t>(n)); }
    bool chance(int one_in) { return pick(one_in) == 0; }
    std::string address(int n) { return "10.0.0." + std::to_string(n + 1); }
    std::string some_uid() {
        if (truth_pods.empty())
            return {};
        return std::next(truth_pods.begin(), pick(static_cast<int>(truth_pods.size())))->first;
    }
    bool owned_in_truth(const std::string& a) {
        for (const auto& [uid, p] : truth_pods)
            if (!p.terminal && !p.host_network && !p.addresses.empty() && p.addresses[0].to_string() == a)
                return true;
        return false;
    }

    // ---- the truth, and the events that tell of it
    void change_truth() {
        ++version;
        history.push_back({version, truth_pods, truth_accounts});
        if (history.size() > 24)
            history.pop_front();
    }
    void tell_pod(const std::string& uid, bool deleted = false) {
        auto p = truth_pods[uid];
        p.version = version + 1;
        if (deleted)
            truth_pods.erase(uid);
        else
            truth_pods[uid] = p;
        change_truth();
        pod_events.push_back({p, deleted});
    }
    void tell_account(const std::string& name) {
        truth_accounts[name].version = version + 1;
        change_truth();
        account_events.push_back({truth_accounts[name], truth_accounts[name].annotations.empty()});
    }
    void create_pod() {
        if (truth_pods.size() >= max_pods)
            return;
        auto p = make_pod("u" + std::to_string(++last_pod), "sa" + std::to_string(pick(account_count)), "");
        const auto name_in_use = [&] {
            return std::any_of(truth_pods.begin(), truth_pods.end(),
                               [&](const auto& other) { return other.second.name == p.name; });
        };
        do // names come back
            p.name = "pod-" + std::to_string(pick(2 * static_cast<int>(max_pods)));
        while (name_in_use());
        p.host_network = chance(8);
        p.mirror = chance(16);
        if (p.host_network)
            p.addresses.push_back(asio::ip::make_address("192.168.0.1"));
        truth_pods[p.uid] = p;
        tell_pod(p.uid);
        if (chance(2))
            give_address(p.uid);
    }
    void give_some_address() { give_address(some_uid()); }
    void give_address(const std::string& uid) {
        if (uid.empty())
            return;
        auto& p = truth_pods[uid];
        const auto a = address(pick(address_count));
        // An address is given to one at a time; now and then a network plugin errs.
        if (p.host_network || p.terminal || !p.addresses.empty() || (owned_in_truth(a) && !chance(10)))
            return;
        p.addresses = {asio::ip::make_address(a)};
        tell_pod(uid);
    }
    void finish_pod() {
        const auto uid = some_uid();
        if (uid.empty() || truth_pods[uid].terminal || !chance(2))
            return;
        truth_pods[uid].terminal = true; // and keeps its address in its status
        tell_pod(uid);
    }
    void terminate_pod() {
        const auto uid = some_uid();
        if (uid.empty() || truth_pods[uid].terminating)
            return;
        truth_pods[uid].terminating = true;
        tell_pod(uid);
    }
    void delete_pod() {
        const auto uid = some_uid();
        if (uid.empty())
            return;
        tell_pod(uid, true);
    }
    void swap_addresses() {
        const auto a = some_uid(), b = some_uid();
        if (a == b || a.empty() || truth_pods[a].host_network || truth_pods[b].host_network)
            return;
        std::swap(truth_pods[a].addresses, truth_pods[b].addresses);
        tell_pod(a);
        tell_pod(b);
    }
    void change_account(int n) {
        const auto name = "sa" + std::to_string(n);
        auto& account = truth_accounts[name];
        const auto uid = account.uid.empty() ? "sa-uid-" + name : account.uid;
        const bool gone = chance(6), bare = chance(6);
        account = make_account(name, gone || bare ? "" : "role-" + std::to_string(pick(role_count)));
        account.uid = uid;
        if (!account.annotations.empty() && chance(4))
            account.annotations.emplace_back("eks.amazonaws.com/audience", "aud-" + std::to_string(pick(2)));
        std::sort(account.annotations.begin(), account.annotations.end());
        // The watch tells only of service accounts with an annotation; one that lost its own is removed.
        tell_account(name);
    }
    void change_some_account() {
        if (chance(2))
            change_account(pick(account_count));
    }
    void recreate_some_account() {
        if (!chance(4))
            return;
        const int n = pick(account_count);
        const auto name = "sa" + std::to_string(n);
        auto gone = truth_accounts[name];
        gone.version = ++version;
        gone.annotations.clear();
        account_events.push_back({gone, true});
        truth_accounts[name].uid = "sa-uid-" + name + "-" + std::to_string(++last_pod);
        tell_account(name);
    }

    // ---- what reaches the service, late
    void pod_event() {
        if (pod_events.empty())
            return;
        auto e = std::move(pod_events.front());
        pod_events.pop_front();
        pods_told = std::max(pods_told, e.first.version);
        if (e.second) {
            told.hear_gone(e.first.uid);
            node.upstream.pods().pod_removed(e.first.uid);
        } else {
            told.hear(e.first);
            node.upstream.pods().pod_changed(e.first);
        }
    }
    void account_event() {
        if (account_events.empty())
            return;
        auto e = std::move(account_events.front());
        account_events.pop_front();
        accounts_told = std::max(accounts_told, e.first.version);
        told.hear(e.first);
        if (e.second)
            node.upstream.pods().account_removed(e.first);
        else
            node.upstream.pods().account_changed(e.first);
    }
    void relist_some() {
        if (chance(4))
            chance(2) ? relist_pods() : relist_accounts();
    }
    // A list that may have been read some time ago, but not before the watch ended and the list before it
    // came.
    const snapshot& read_list(std::uint64_t not_before) {
        std::size_t oldest = history.size() - 1;
        while (oldest > 0 && history[oldest - 1].version >= not_before)
            --oldest;
        return history[oldest + static_cast<std::size_t>(pick(static_cast<int>(history.size() - oldest)))];
    }
    void relist_pods() {
        const auto& list = read_list(pods_told);
        pods_told = version;
        std::erase_if(pod_events, [&](const auto& e) { return e.first.version <= list.version; });
        pod_questions_overtaken = last_question();
        told.hear_all(list.pods, list.version);
        std::vector<pod> all;
        for (auto [uid, p] : list.pods) {
            p.version = list.version;
            all.push_back(std::move(p));
        }
        node.upstream.pods().pods_replaced(std::move(all));
    }
    void relist_accounts() {
        const auto& list = read_list(accounts_told);
        accounts_told = version;
        std::erase_if(account_events, [&](const auto& e) { return e.first.version <= list.version; });
        account_questions_overtaken = last_question();
        told.hear_all(list.accounts);
        std::vector<service_account> all;
        for (auto [name, account] : list.accounts)
            if (!account.annotations.empty()) {
                account.version = list.version;
                all.push_back(std::move(account));
            }
        node.upstream.pods().accounts_replaced(std::move(all));
    }
    metadata::directory::ticket last_question() {
        const auto ticket = node.upstream.pods().begin_lookup();
        node.upstream.pods().abandon(ticket);
        return ticket;
    }

    // ---- the loops
    void turn() {
        const auto before = node.deliveries.size();
        node.turn();
        if (node.deliveries.size() == before)
            return;
        published.push_back(told);
    }
    void deliver() {
        if (node.deliveries.empty())
            return;
        if (node.deliveries.front().new_view)
            serving_knows = published.front();
        published.pop_front();
        for (const auto& r : node.deliver())
            check(*r);
    }
    void take_ask() {
        if (!node.asks.empty())
            node.take_ask();
    }
    void time_passes(int milliseconds) {
        node.time.advance(std::chrono::milliseconds(milliseconds));
        node.upstream.asks().tick(node.time.now());
        node.collect_calls();
    }

    void some_time_passes() {
        // Mostly moments; now and then to the middle or to the last seconds of a set of credentials' life.
        static constexpr int leaps[] = {1800, 870, 3570};
        time_passes(chance(40) ? leaps[pick(3)] * 1000 : pick(200));
    }

    // ---- STS
    void issue(std::size_t which) {
        const auto spec = node.calls[which].spec;
        const auto life = std::chrono::seconds(chance(4) ? 900 : 3600);
        node.answer_call(which, life);
        issued[node.issued_count] = {spec, node.time.now() + life};
    }
    void answer_sts() {
        node.collect_calls();
        if (node.calls.empty())
            return;
        const auto which = static_cast<std::size_t>(pick(static_cast<int>(node.calls.size())));
        if (!chance(5))
            return issue(which);
        sts::failure f;
        f.kind = chance(2) ? sts::failure_kind::transient
                           : (chance(2) ? sts::failure_kind::denied : sts::failure_kind::throttled);
        f.code = "Failed";
        node.fail_call(which, f);
    }

    // ---- direct questions: read at one time, brought at a later one
    bool have_lookups() {
        return !node.work.addresses.empty() || !node.work.pods.empty() || !node.work.accounts.empty();
    }
    template <class T>
    static T take_first(std::vector<T>& from) {
        T first = std::move(from.front());
        from.erase(from.begin());
        return first;
    }
    void read_direct_answer() {
        const bool fails = chance(6);
        const auto down = fail(errc::unavailable, "the API server is away");
        if (!node.work.addresses.empty()) {
            auto w = take_first(node.work.addresses);
            std::vector<pod> found;
            for (const auto& [uid, p] : truth_pods)
                for (const auto& a : p.addresses)
                    if (metadata::address_key(a) == w.address)
                        found.push_back(p);
            result<std::vector<pod>> answer = std::move(found);
            if (fails)
                answer = down;
            reads.push_back([this, w, answer] {
                if (answer && w.ticket > pod_questions_overtaken)
                    for (const auto& p : *answer)
                        told.hear(p);
                node.upstream.asks().address_looked_up(w, answer, node.time.now());
            });
        } else if (!node.work.pods.empty()) {
            auto w = take_first(node.work.pods);
            std::optional<pod> found;
            for (const auto& [uid, p] : truth_pods)
                if (p.name == w.name)
                    found = p;
            result<std::optional<pod>> answer = std::move(found);
            if (fails)
                answer = down;
            reads.push_back([this, w, answer] {
                if (answer && *answer && w.ticket > pod_questions_overtaken)
                    told.hear(**answer);
                node.upstream.asks().pod_looked_up(w, answer, node.time.now(), node.time.wall());
            });
        } else if (!node.work.accounts.empty()) {
            auto w = take_first(node.work.accounts);
            std::optional<service_account> found;
            if (const auto at = truth_accounts.find(w.name); at != truth_accounts.end())
                found = at->second;
            result<std::optional<service_account>> answer = std::move(found);
            if (fails)
                answer = down;
            reads.push_back([this, w, answer] {
                if (answer && *answer && w.ticket > account_questions_overtaken)
                    told.hear(**answer);
                node.upstream.asks().account_looked_up(w, answer, node.time.now());
            });
        }
    }
    void bring_direct_answer() {
        if (reads.empty())
            return;
        const auto which = pick(static_cast<int>(reads.size()));
        auto bring = std::move(reads[static_cast<std::size_t>(which)]);
        reads.erase(reads.begin() + which);
        bring();
    }

    // ---- tokens
    std::string mint_for(const std::string& uid, bool sound = false) {
        const auto& p = truth_pods[uid];
        token_facts t{uid, p.name, p.service_account, truth_accounts[p.service_account].uid, "credlet", {}};
        t.expires = node.time.wall() + std::chrono::hours(1);
        if (!sound) {
            if (!chance(3))
                t.audience = chance(3) ? "aud-" + std::to_string(pick(2)) : "sts.amazonaws.com";
            if (chance(5))
                t.expires = node.time.wall() + std::chrono::seconds(20);
            t.genuine = !chance(8);
        }
        const auto text = "h." + std::to_string(++last_token) + ".s";
        tokens[text] = t;
        every_token[text] = t;
        return text;
    }
    void mint_token() {
        const auto uid = some_uid();
        if (!uid.empty())
            mint_for(uid);
        while (tokens.size() > 24)
            tokens.erase(std::next(tokens.begin(), pick(static_cast<int>(tokens.size()))));
    }
    void verify_token() {
        if (node.work.verifications.empty())
            return;
        const auto w = take_first(node.work.verifications);
        const auto found = tokens.find(std::string(w.token.reveal()));
        result<metadata::verified_token> outcome = fail(errc::untrusted, "forged");
        if (chance(10)) {
            outcome = fail(errc::unavailable, "no keys");
        } else if (found != tokens.end() && found->second.genuine &&
                   node.time.wall() < found->second.expires &&
                   std::find(w.audiences.begin(), w.audiences.end(), found->second.audience) !=
                       w.audiences.end()) {
            const auto& t = found->second;
            outcome = metadata::verified_token{"shop",       t.service_account, t.service_account_uid,
                                               t.pod_name,   t.pod_uid,         chance(2) ? "node-1" : "",
                                               {t.audience}, "issuer",          t.expires};
        }
        node.upstream.asks().verified(w.digest, std::move(outcome), node.time.now(), node.time.wall());
    }

    // ---- requests
    void request() {
        std::string from = chance(12) ? "192.168.0.1" : address(pick(address_count));
        const auto text = some_token();
        if (!text.empty()) {
            // Mostly from the pod it is of.
            if (const auto p = truth_pods.find(tokens[text].pod_uid);
                p != truth_pods.end() && !p->second.addresses.empty() && !chance(4))
                from = p->second.addresses[0].to_string();
        } else if (const auto uid = some_uid(); !uid.empty() && !truth_pods[uid].addresses.empty() &&
                                                !truth_pods[uid].terminal && !chance(4))
            from = truth_pods[uid].addresses[0].to_string();
        came(node.send(some_request(text), from));
    }
    // A token to send; empty: none.
    std::string some_token() {
        const bool needed = node.settings.identity == metadata::identity_mode::token ||
                            node.settings.identity == metadata::identity_mode::both;
        if (tokens.empty() || (needed ? chance(8) : chance(2)))
            return {};
        const bool fresh = needed && !truth_pods.empty() && chance(2);
        return fresh ? mint_for(some_uid())
                     : std::next(tokens.begin(), pick(static_cast<int>(tokens.size())))->first;
    }
    std::string some_request(const std::string& token) {
        const auto headers = token.empty() ? std::string() : with_token(token);
        const auto path =
            chance(3) ? "/v1/credentials/role-" + std::to_string(pick(role_count)) : "/v1/credentials";
        return chance(6) ? put_session(headers) : get(path, headers);
    }
    void came(const metadata_node::request_ptr& r) {
        if (r->state == metadata_node::request_state::answered)
            check(*r);
        else if (!r->listener_pod.empty() && r->last.lacking->what == metadata::need::address)
            fail_with("an address asked for of somebody whom the listener tells", *r);
    }

    // ---- listeners in pods: of whom the service wants them for, sooner or later
    void open_some_listener() {
        const auto wanted = node.upstream.pods().listened(false);
        if (!wanted.empty())
            listeners.insert(wanted[static_cast<std::size_t>(pick(static_cast<int>(wanted.size())))].uid);
    }
    void close_some_listener() {
        if (const auto uid = some_listener(); !uid.empty() && (chance(8) || !truth_pods.contains(uid)))
            listeners.erase(uid);
    }
    std::string some_listener() {
        return listeners.empty() ? std::string()
                                 : *std::next(listeners.begin(), pick(static_cast<int>(listeners.size())));
    }
    void request_through_listener() {
        const auto uid = some_listener();
        if (uid.empty())
            return;
        auto token = some_token();
        if (!token.empty() && truth_pods.contains(uid) && chance(2))
            token = mint_for(uid);
        came(node.send_through(uid, some_request(token), some_source()));
    }
    // Inside of its network a pod can have any address.
    std::string some_source() { return chance(2) ? "127.0.0.1" : address(pick(address_count)); }

    static std::string put_session(const std::string& headers) {
        return "PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\n"
               "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n" +
               headers + "\r\n";
    }
    void session_request() {
        if (sessions.empty())
            return;
        const auto& [session, of] = *std::next(sessions.begin(), pick(static_cast<int>(sessions.size())));
        auto from = address(pick(address_count));
        if (const auto p = truth_pods.find(of.pod_uid);
            p != truth_pods.end() && !p->second.addresses.empty() && !chance(4))
            from = p->second.addresses[0].to_string();
        std::string path = "/latest/meta-data/iam/security-credentials/";
        if (const auto p = truth_pods.find(of.pod_uid); p != truth_pods.end() && !chance(3)) {
            const auto arn = role_of(truth_accounts[p->second.service_account]);
            path += arn.substr(arn.rfind('/') + 1);
        } else if (chance(2)) {
            path += "role-" + std::to_string(pick(role_count));
        }
        const auto text = get(path, "X-aws-ec2-metadata-token: " + session + "\r\n");
        auto listener = listeners.contains(of.pod_uid) && !chance(4) ? of.pod_uid : some_listener();
        came(chance(2) || listener.empty() ? node.send(text, from)
                                           : node.send_through(listener, text, some_source()));
        while (sessions.size() > 24)
            sessions.erase(std::next(sessions.begin(), pick(static_cast<int>(sessions.size()))));
    }

    void fail_with(const std::string& what, const metadata_node::request& r) {
        if (!wrong)
            wrong = what + " (from " + r.from.peer.address().to_string() + ", through the listener of \"" +
                    r.listener_pod + "\", token \"" + std::string(r.facts.token) + "\", body " + r.body() +
                    ")";
    }

    // The whole rule of identity, said once more and as simply as can be.
    std::optional<pod> rightful_pod(const metadata_node::request& r) {
        if (!r.listener_pod.empty()) {
            const auto p = live_pod(r.listener_pod);
            return p ? rightful_pod(r, p) : std::nullopt;
        }
        std::vector<pod> claimants;
        for (const auto& [uid, p] : serving_knows.pods())
            for (const auto& a : p.addresses)
                if (!p.terminal && metadata::address_key(a) == r.from.peer)
                    claimants.push_back(p);
        const bool node_address =
            std::any_of(claimants.begin(), claimants.end(), [](auto& p) { return p.host_network; });
        std::optional<pod> by_address;
        if (claimants.size() > 1 && !node_address)
            return std::nullopt;
        if (claimants.size() == 1 && !node_address)
            by_address = claimants.front();
        return rightful_pod(r, by_address);
    }
    // by_address: whose address it came from, or whose listener it came through.
    std::optional<pod> rightful_pod(const metadata_node::request& r, const std::optional<pod>& by_address) {
        const auto where = r.facts.what.where;
        if (metadata::is_imds(where) && where != metadata::route::imds_token)
            return pod_of_session(r, by_address);
        const auto mode = node.settings.identity;
        if (mode == metadata::identity_mode::address || !r.facts.has_authorization)
            return mode == metadata::identity_mode::any || mode == metadata::identity_mode::address
                       ? by_address
                       : std::nullopt;
        const auto p = pod_of_token(r);
        if (!p || (by_address && by_address->uid != p->uid) ||
            (mode == metadata::identity_mode::both && !by_address))
            return std::nullopt;
        return p;
    }
    std::optional<pod> live_pod(const std::string& uid) {
        const auto found = serving_knows.pods().find(uid);
        return found == serving_knows.pods().end() || found->second.terminal ? std::nullopt
                                                                             : std::optional(found->second);
    }
    std::optional<pod> pod_of_token(const metadata_node::request& r) {
        const auto found = every_token.find(std::string(r.facts.token));
        if (found == every_token.end() || !found->second.genuine || node.time.wall() >= found->second.expires)
            return std::nullopt;
        const auto& token = found->second;
        const auto p = live_pod(token.pod_uid);
        if (!p)
            return std::nullopt;
        const auto account = serving_knows.account(p->service_account);
        if (account && account->uid != token.service_account_uid)
            return std::nullopt;
        const bool for_all = token.audience == "credlet" || token.audience == "sts.amazonaws.com";
        return for_all || (account && audience_of(*account) == token.audience) ? p : std::nullopt;
    }
    std::optional<pod> pod_of_session(const metadata_node::request& r, const std::optional<pod>& by_address) {
        const auto found = every_session.find(std::string(r.facts.session));
        if (found == every_session.end() || node.time.now() >= found->second.expires)
            return std::nullopt;
        const auto& session = found->second;
        const auto mode = node.settings.identity;
        const bool by_both = mode == metadata::identity_mode::both;
        if ((by_both || mode == metadata::identity_mode::token) && !session.by_token)
            return std::nullopt;
        if (by_address)
            return by_address->uid == session.pod_uid ? by_address : std::nullopt;
        return session.by_token && !by_both && mode != metadata::identity_mode::address
                   ? live_pod(session.pod_uid)
                   : std::nullopt;
    }

    static std::string annotation_of(const service_account& account, const std::string& wanted) {
        for (const auto& [key, value] : account.annotations)
            if (key == "eks.amazonaws.com/" + wanted)
                return value;
        return {};
    }
    static std::string role_of(const service_account& account) { return annotation_of(account, "role-arn"); }
    static std::string audience_of(const service_account& account) {
        return annotation_of(account, "audience");
    }

    void check_session(const metadata_node::request& r, const pod& who) {
        session_facts session{who.uid, false, node.time.now() + std::chrono::seconds(60)};
        session.by_token =
            r.facts.has_authorization && node.settings.identity != metadata::identity_mode::address;
        if (session.by_token)
            session.expires =
                std::min(session.expires, node.time.now() + (every_token[std::string(r.facts.token)].expires -
                                                             node.time.wall()));
        sessions[r.body()] = session;
        every_session[r.body()] = session;
    }

    void check(const metadata_node::request& r) {
        const auto where = r.facts.what.where;
        const bool denied_in_imds =
            where == metadata::route::imds_role && member_of(r.body(), "Code") != "Success";
        if (r.status() != 200 || denied_in_imds) {
            ++refused;
            conflicts += r.last.reason == "address_conflict" ? 1 : 0;
            moved_while_waiting += r.last.reason == "identity_changed" ? 1 : 0;
            listener_without_pod += !r.listener_pod.empty() && !live_pod(r.listener_pod) ? 1 : 0;
            return;
        }
        const auto who = rightful_pod(r);
        if (!who)
            return fail_with("an answer for somebody who is nobody", r);
        if (!r.listener_pod.empty() && who->uid != r.listener_pod)
            return fail_with("an answer for " + who->uid + " through another pod's listener", r);
        if (who->mirror)
            return fail_with("an answer for a static pod", r);
        if (!r.so_far.pod_uid.empty() && r.so_far.pod_uid != who->uid)
            return fail_with("the request of " + r.so_far.pod_uid + " answered as " + who->uid, r);
        if (where == metadata::route::imds_token)
            return check_session(r, *who);
        const auto account = serving_knows.account(who->service_account);
        if (!account)
            return fail_with("a role of a service account that has none", r);
        if (where == metadata::route::imds_list) {
            if (role(r.body()) != role_of(*account))
                fail_with("another role in the list than is annotated", r);
            return;
        }
        ++served;
        served_after_wait += r.waited ? 1 : 0;
        by_session += where == metadata::route::imds_role ? 1 : 0;
        through_listener += r.listener_pod.empty() ? 0 : 1;
        const auto id = member_of(r.body(), "AccessKeyId");
        const auto found = issued.find(static_cast<std::size_t>(std::atoll(id.substr(4).c_str())));
        if (found == issued.end())
            return fail_with("credentials that were never issued", r);
        const auto& [spec, expires] = found->second;
        if (spec->service_account != who->service_account || spec->namespace_name != who->namespace_name)
            return fail_with("credentials of service account " + spec->service_account + " for " + who->uid,
                             r);
        if (account->uid != spec->service_account_uid)
            return fail_with("credentials of a service account that is another one now", r);
        if (role_of(*account) != spec->final_role_arn())
            return fail_with(
                "credentials of a role that is not annotated (any more): " + spec->final_role_arn(), r);
        if (!r.facts.what.role.empty() && role(std::string(r.facts.what.role)) != spec->final_role_arn())
            return fail_with("another role than was asked for", r);
        if (expires - node.time.now() < std::chrono::seconds(60))
            return fail_with("credentials with less than 60 s of life", r);
    }

    // ---- when all has come to rest
    void violation(const std::string& what) {
        if (!wrong)
            wrong = what;
    }
    void check_truth_is_known() {
        std::map<std::string, pod> known;
        for (const auto& p : node.upstream.pods().pods().all()) {
            known[p->uid] = *p;
            known[p->uid].version = truth_pods[p->uid].version;
        }
        if (known != truth_pods)
            violation("the pods known are not the pods there are");
        for (const auto& [name, account] : truth_accounts) {
            const auto* have = node.upstream.pods().account("shop", name);
            if (!account.annotations.empty() &&
                (have == nullptr || have->uid != account.uid || have->annotations != account.annotations))
                violation("service account " + name + " is not known as it is");
            if (account.annotations.empty() && have != nullptr && !have->annotations.empty())
                violation("service account " + name + " is still known with its old annotation");
        }
        if (node.upstream.asks().waiting() != 0)
            violation("an ask was never answered");
    }
    void check_what_is_kept() {
        std::set<std::string> wanted;
        for (const auto& [uid, p] : truth_pods)
            if (const auto& account = truth_accounts[p.service_account];
                !p.terminal && !p.mirror && !account.annotations.empty())
                wanted.insert(account.uid);
        if (node.kept() != wanted.size())
            violation("the store keeps " + std::to_string(node.kept()) + " sets of credentials where " +
                      std::to_string(wanted.size()) + " are wanted");
    }
    void check_pod_is_served(const pod& p) {
        const auto& account = truth_accounts[p.service_account];
        if (p.terminal || p.mirror || p.host_network || account.annotations.empty())
            return;
        check_served(p,
                     [&](const std::string& text) { return node.send_through(p.uid, text, some_source()); });
        if (p.addresses.empty())
            return;
        for (const auto& [uid, other] : truth_pods)
            if (uid != p.uid && !other.terminal && !other.addresses.empty() && other.addresses == p.addresses)
                return;
        check_served(p, [&](const std::string& text) { return node.send(text, p.addresses[0].to_string()); });
    }
    void check_served(const pod& p,
                      const std::function<metadata_node::request_ptr(const std::string&)>& send) {
        const auto mode = node.settings.identity;
        std::string headers;
        if (mode == metadata::identity_mode::token || mode == metadata::identity_mode::both) {
            headers = with_token(mint_for(p.uid, true));
        }
        const auto r = send(get("/v1/credentials", headers));
        for (int i = 0; i < 60 && r->state != metadata_node::request_state::answered; ++i) {
            while (!node.asks.empty())
                take_ask();
            while (!node.work.verifications.empty())
                verify_token();
            turn();
            while (!node.calls.empty())
                issue(0);
            turn();
            while (!node.deliveries.empty())
                deliver();
            if (i > 2)
                time_passes(100);
        }
        check(*r);
        if (r->status() != 200 && !wrong)
            wrong = "pod " + p.uid + " should be served now" +
                    (r->listener_pod.empty() ? "" : " through its listener") + " and gets " +
                    std::to_string(r->status()) + " " + r->body();
    }
    // They are wanted for the pods that run in networks of their own; the others' are worth nothing.
    void check_listeners() {
        std::set<std::string> rightful, wanted;
        for (const auto& [uid, p] : truth_pods)
            if (!p.terminal && !p.mirror && !p.host_network)
                rightful.insert(uid);
        for (const auto& p : node.upstream.pods().listened(false))
            wanted.insert(p.uid);
        if (wanted != rightful)
            violation("listeners are wanted for other pods than there are");
        for (const auto& uid : listeners)
            if (!rightful.contains(uid) &&
                node.send_through(uid, get("/v1/credentials", with_token("h.1.s")))->last.reason !=
                    "pod_not_here")
                violation("the listener of " + uid + ", which is gone, still tells somebody");
    }

    seeded_random dice;
    metadata_node node;
    std::map<std::string, pod> truth_pods;
    std::map<std::string, service_account> truth_accounts;
    std::deque<std::pair<pod, bool>> pod_events;
    std::deque<std::pair<service_account, bool>> account_events;
    std::uint64_t version = 0;
    std::deque<snapshot> history;                   // the last states of the truth
    std::uint64_t pods_told = 0, accounts_told = 0; // no list is older
    metadata::directory::ticket pod_questions_overtaken = 0, account_questions_overtaken = 0; // by a list
    knowledge told;
    std::deque<knowledge> published; // what was told when each delivery under way was made
    knowledge serving_knows;
    std::map<std::string, token_facts> tokens, every_token;       // in use; ever minted
    std::map<std::string, session_facts> sessions, every_session; // in use; ever issued
    std::map<std::size_t, std::pair<std::shared_ptr<const sts::credential_spec>, boot_time>> issued;
    std::set<std::string> listeners; // open, by the uids of their pods
    std::vector<std::function<void()>> reads;
    int last_pod = 0, last_token = 0;
};

std::uint64_t number_from_environment(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name); // NOLINT(concurrency-mt-unsafe): the test has one thread
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

void run_seed(std::uint64_t seed, metadata::identity_mode identity, std::uint64_t steps, bool fixed) {
    world w(seed, identity);
    for (std::uint64_t i = 0; i < steps && !w.wrong; ++i) {
        w.step();
        if (i % 2000 == 1999)
            w.settle();
    }
    const std::string violation = w.wrong.value_or("");
    INFO("reproduce with CREDLET_SEED=", seed, " identity mode ", static_cast<int>(identity));
    INFO(violation);
    CHECK(!w.wrong);
    // A run in which little happened proves little.
    if (!w.wrong && fixed && steps >= 20000) {
        CHECK(w.served > steps / 500);
        CHECK(w.served_after_wait > steps / 2000);
        CHECK(w.by_session > 0);
        CHECK(w.through_listener > steps / 2000);
        CHECK(w.listener_without_pod > 0);
        CHECK(w.conflicts > 0);
        CHECK(w.settled > 0);
    }
    MESSAGE("seed ", seed, ": ", steps, " steps, ", w.served, " served (", w.served_after_wait,
            " after a wait, ", w.by_session, " by session, ", w.through_listener, " through a listener), ",
            w.refused, " refused, ", w.conflicts, " by address conflict, ", w.listener_without_pod,
            " behind a listener without a pod, ", w.moved_while_waiting, " moved on while waiting");
}

TEST_CASE("T7: whatever comes in whatever order, nobody gets credentials that are not his") {
    const auto steps = number_from_environment("CREDLET_STEPS", 20000);
    const auto of_this_run = static_cast<std::uint64_t>(system_clock().wall().time_since_epoch().count());
    std::vector<std::uint64_t> seeds{2, 7, of_this_run};
    if (const auto chosen = number_from_environment("CREDLET_SEED", 0); chosen != 0)
        seeds = {chosen};
    for (const auto seed : seeds)
        for (const auto identity : {metadata::identity_mode::any, metadata::identity_mode::address,
                                    metadata::identity_mode::token, metadata::identity_mode::both})
            run_seed(seed, identity, steps, seed < of_this_run);
}

} // namespace
