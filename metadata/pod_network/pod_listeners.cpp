#include "metadata/pod_network/pod_listeners.hpp"

#include "runtime/listening_socket.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <sstream>

namespace credlet::metadata {

namespace {

// Of one pod's own callers.
constexpr int backlog = 1024;
// Pods looked for before the news of others have their turn.
constexpr std::size_t looked_for_per_turn = 32;

std::string shown(const asio::ip::tcp::endpoint& where) {
    std::ostringstream text;
    text << where;
    return text.str();
}

// Carries out what the book decides.
class discovering final : public pod_listeners {
public:
    discovering(asio::io_context& loop, const clock& time, pod_listener_settings settings,
                pod_listener_events events, std::unique_ptr<namespace_finder> finder,
                pod_network_access access)
        : loop_(loop),
          time_(time),
          settings_(std::move(settings)),
          events_(std::move(events)),
          access_(std::move(access)),
          finder_(std::move(finder)),
          book_(settings_.where.size(), settings_.max_namespaces),
          timer_(loop) {
        for (const auto& where : settings_.where)
            shown_.push_back(shown(where));
        finder_->changed = [this](const std::string& uid) {
            book_.changed(uid, time_.now());
            wake();
        };
        finder_->pins_changed = [this] {
            book_.pins_changed(time_.now());
            wake();
        };
    }
    discovering(const discovering&) = delete;
    discovering& operator=(const discovering&) = delete;
    ~discovering() override { stop(); }

    void pods(std::vector<listened_pod> all) override {
        if (!finder_)
            return;
        for (const auto& p : all)
            named_[p.uid] = {p.namespace_name, p.name};
        const auto roll = book_.pods(std::move(all), time_.now());
        for (const auto& uid : roll.come)
            finder_->follow(uid);
        for (const auto& uid : roll.gone) {
            finder_->forget(uid);
            close(uid);
            told_.erase(uid);
            tell(uid, std::nullopt, {}, {});
            named_.erase(uid);
        }
        wake();
    }

    void stop() override {
        timer_.cancel();
        *alive_ = false;
        finder_.reset();
        held_.clear();
    }

private:
    // What is open of a pod.
    struct held {
        network_namespace net;
        std::map<std::size_t, std::uint64_t> keys; // of the sockets that were handed out, by address
    };
    struct name {
        std::string namespace_name, name;
    };

    // Has work() run after what is going on now.
    void wake() {
        if (std::exchange(woken_, true))
            return;
        asio::post(loop_, [this, alive = alive_] {
            if (!*alive)
                return;
            woken_ = false;
            work();
        });
    }

    void work() {
        const auto due = book_.due(time_.now());
        std::size_t left = looked_for_per_turn;
        for (const auto& uid : due) {
            if (left-- == 0)
                break;
            look_for(uid);
        }
        pins_.reset();
        if (auto why = finder_->trouble(); !why.empty() && why != std::exchange(hampered_, why))
            events_.hampered(why);
        if (!settled_ && book_.settled(time_.now())) {
            settled_ = true;
            events_.settled();
        }
        if (due.size() > looked_for_per_turn)
            return wake();
        set_timer();
    }

    void set_timer() {
        auto next = book_.next();
        if (!settled_ && next) // by itself, too, time settles it
            next = std::min(*next, time_.now() + std::chrono::milliseconds(100));
        if (!next) {
            timer_.cancel();
            return;
        }
        timer_.expires_after(std::max(*next - time_.now(), boot_time::duration(0)));
        timer_.async_wait([this, alive = alive_](const boost::system::error_code& problem) {
            if (!problem && *alive)
                work();
        });
    }

    void look_for(const std::string& uid) {
        auto seen = finder_->look(uid);
        if (seen.found) {
            const auto tenant = book_.tenant_of(seen.found->net.id());
            if (!tenant.empty() && tenant != uid)
                act_on(tenant, finder_->look(tenant)); // is it still there? then the other one is refused
        }
        act_on(uid, std::move(seen));
    }

    void act_on(const std::string& uid, process_sighting seen) {
        decide(uid, std::move(seen));
        settle(uid);
    }

    void decide(const std::string& uid, process_sighting seen) {
        const auto now = time_.now();
        if (seen.blind)
            return book_.failed(uid, fail(errc::denied, std::move(seen.missing)), now);
        sighting s;
        s.missing = std::move(seen.missing);
        s.imminent = seen.imminent;
        s.group_gone = seen.group_gone;
        std::optional<network_namespace> net;
        if (seen.found) {
            s.by = sighting::proof::process;
            s.how = std::move(seen.found->how);
            net.emplace(std::move(seen.found->net));
        } else if (book_.may_be_pinned(uid, now)) {
            net = pinned_for(uid, s);
            if (!net)
                book_.not_pinned(uid, now);
        }
        if (net) {
            auto addresses = access_.addresses(*net);
            if (addresses.has_error())
                return book_.failed(uid, addresses.error(), now);
            s.net = net->id();
            s.addresses = std::move(*addresses);
        }
        switch (book_.decide(uid, s, now)) {
        case listener_book::verdict::wait:
            break;
        case listener_book::verdict::vacate:
            close(uid);
            break;
        case listener_book::verdict::open:
            open(uid, std::move(net));
            break;
        }
    }

    // Fills in what the pin proves.
    std::optional<network_namespace> pinned_for(const std::string& uid, sighting& s) {
        if (!pins_) {
            pins_.emplace();
            for (auto& pin : finder_->pinned()) {
                pins_->facts.push_back(
                    {pin.found.net.id(), pin.found.how, std::move(pin.addresses), std::move(pin.tenants)});
                pins_->nets.push_back(std::move(pin.found.net));
            }
        }
        const auto* pin = book_.pin_of(uid, pins_->facts);
        if (pin == nullptr)
            return std::nullopt;
        s.by = sighting::proof::pin;
        s.how = pin->path;
        // Not opened anew by its path: who has a file of a mount open keeps the runtime from unmounting it.
        return std::move(pins_->nets[static_cast<std::size_t>(pin - pins_->facts.data())]);
    }

    // net: where; or else where it is open in part already.
    void open(const std::string& uid, std::optional<network_namespace> net) {
        auto at = held_.find(uid);
        std::map<std::size_t, std::uint64_t> before;
        if (net && (at == held_.end() || at->second.net.id() != net->id())) {
            if (at != held_.end())
                before = std::move(at->second.keys);
            at = held_.insert_or_assign(uid, held{std::move(*net), {}}).first;
        }
        if (at == held_.end())
            return;
        std::vector<listener_book::outcome> outcomes;
        for (const auto i : book_.missing_endpoints(uid)) {
            auto socket = access_.listen(at->second.net, settings_.where[i]);
            if (socket.has_error()) {
                outcomes.push_back({i, socket.error()});
                continue;
            }
            const auto key = next_key_++;
            at->second.keys.emplace(i, key);
            events_.opened(key, uid, std::move(*socket));
            outcomes.push_back({i, std::nullopt});
        }
        for (const auto& [i, key] : before)
            events_.closed(key);
        book_.opened(uid, outcomes, time_.now());
    }

    void close(const std::string& uid) {
        const auto at = held_.find(uid);
        if (at == held_.end())
            return;
        for (const auto& [i, key] : at->second.keys)
            events_.closed(key);
        held_.erase(at);
    }

    // Awaits what the pod's state calls for, and tells of it if it is news.
    void settle(const std::string& uid) {
        finder_->watch_processes(uid, !book_.at_rest(uid));
        auto now = book_.state_of(uid, shown_);
        auto& before = told_[uid];
        if (now == before)
            return;
        std::optional<listener_failure> failed;
        if (now.failure && now.failure != before.failure)
            failed = now.failure;
        std::optional<std::chrono::nanoseconds> opened_after;
        if (now.open && !before.open && now.first_sign)
            opened_after = time_.now() - *now.first_sign;
        pod_listener_state state{now.open, now.detail, now.advice};
        before = std::move(now);
        tell(uid, std::move(state), failed, opened_after);
    }

    void tell(const std::string& uid, std::optional<pod_listener_state> state,
              std::optional<listener_failure> failed, std::optional<std::chrono::nanoseconds> opened_after) {
        const auto& named = named_[uid];
        events_.told(
            {uid, named.namespace_name, named.name, std::move(state), failed, opened_after, book_.count()});
    }

    // Pins as they were at the beginning of a turn.
    struct pins {
        std::vector<pinned_facts> facts;
        std::vector<network_namespace>
            nets; // theirs, until taken; open: their numbers are given to no others
    };

    asio::io_context& loop_;
    const clock& time_;
    const pod_listener_settings settings_;
    const pod_listener_events events_;
    const pod_network_access access_;
    std::unique_ptr<namespace_finder> finder_; // nullptr: stopped
    listener_book book_;
    asio::steady_timer timer_;
    std::vector<std::string> shown_; // the addresses as they are written
    std::map<std::string, held, std::less<>> held_;
    std::map<std::string, name, std::less<>> named_;
    std::map<std::string, listener_book::standing, std::less<>> told_;
    std::optional<pins> pins_;
    std::string hampered_; // as told last
    std::uint64_t next_key_ = 1;
    bool woken_ = false, settled_ = false;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace

std::unique_ptr<pod_listeners> make_pod_listeners(asio::io_context& discovery, const clock& time,
                                                  pod_listener_settings settings, pod_listener_events events,
                                                  std::unique_ptr<namespace_finder> finder,
                                                  pod_network_access access) {
    return std::make_unique<discovering>(discovery, time, std::move(settings), std::move(events),
                                         std::move(finder), std::move(access));
}

result<std::unique_ptr<pod_listeners>> make_pod_listeners(asio::io_context& discovery, const clock& time,
                                                          pod_listener_settings settings,
                                                          pod_listener_events events) {
    auto made = namespace_visitor::make();
    if (!made)
        return made.error();
    const auto visitor = std::make_shared<const namespace_visitor>(std::move(*made));
    // Who may enter his own may enter others.
    if (const auto entered = visitor->inside(visitor->home(), [] { return result<void>(); }); !entered)
        return in_context("listening in pods takes CAP_SYS_ADMIN", entered.error());
    auto finder = make_namespace_finder(discovery, *visitor, settings.finder);
    if (!finder)
        return finder.error();
    pod_network_access access;
    access.addresses = [visitor](const network_namespace& there) {
        return visitor->inside(there, addresses_here);
    };
    access.listen = [visitor](const network_namespace& there, const asio::ip::tcp::endpoint& where) {
        const listening_socket_settings how{backlog, sharing::yes, address_presence::awaited};
        return visitor->inside(there, [&] { return make_listening_socket(where, how); });
    };
    return make_pod_listeners(discovery, time, std::move(settings), std::move(events), std::move(*finder),
                              std::move(access));
}

} // namespace credlet::metadata
