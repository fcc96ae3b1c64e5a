#pragma once
// Decides which pod is to be looked for when, whether a namespace that was found is that pod's, and what
// becomes of its listeners. No I/O, no clock of its own; discovery loop only.
//
// - A namespace is a pod's if a process of its control group runs there, or else if it is the only pinned one
//   that has the pod's published addresses, no other pod has them, and nobody's processes run in it.
// - Whatever says so, once addresses are published it must have all of them.
// - One namespace, one pod: it stays with whom it was found for first, unless that pod is elsewhere by now.
// - A pod is looked for when something happens to its control group, and besides, rarer and rarer, only while
//   it has no listener, or an address of its is taken by somebody else in the pod.

#include "metadata/service.hpp"
#include "runtime/clock.hpp"
#include "runtime/network_namespace.hpp"

#include <boost/asio/ip/tcp.hpp>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace credlet::metadata {

enum class listener_failure {
    port_taken,       // by another process of the pod
    wrong_addresses,  // the namespace does not have what Kubernetes says the pod has
    shared_namespace, // it is another pod's
    limit,            // as many namespaces are open as may be
    denied,           // this process may not enter it
    io,
};
[[nodiscard]] std::string_view to_string(listener_failure f);

// What was found of a pod, as far as decisions go.
struct sighting {
    enum class proof { nothing, process, pin };
    proof by = proof::nothing;
    namespace_id net;                         // when something was found
    std::vector<asio::ip::address> addresses; // of its links
    std::string how;                          // for operators
    std::string missing;                      // when nothing was found
    bool imminent = false;                    // when nothing was found: something of the pod is there already
    bool group_gone = false;                  // it has no control group (any more)
};

// A pinned namespace, as far as decisions go.
struct pinned_facts {
    namespace_id net;
    std::string path;
    std::vector<asio::ip::address> addresses;
    std::vector<std::string> tenants; // pods with processes in it
};

class listener_book {
public:
    // endpoints: how many addresses each pod's listener has.
    listener_book(std::size_t endpoints, std::size_t max_namespaces)
        : endpoints_(endpoints),
          max_namespaces_(max_namespaces) {}

    struct roll {
        std::vector<std::string> come, gone; // uids; what is open for those that are gone is to be closed
    };
    // The pods that are to have listeners, all of them.
    [[nodiscard]] roll pods(std::vector<listened_pod> all, boot_time now);
    // Something happened to its control group.
    void changed(const std::string& uid, boot_time now);
    void pins_changed(boot_time now);

    // Whom to look for now, who has waited longest first.
    [[nodiscard]] std::vector<std::string> due(boot_time now) const;
    [[nodiscard]] std::optional<boot_time> next() const;

    // The pin that is this pod's, where it has no process.
    [[nodiscard]] const pinned_facts* pin_of(const std::string& uid,
                                             const std::vector<pinned_facts>& pins) const;
    // Whether asking for pins makes sense: its addresses are published, and it has no listener. Pins are not
    // cheap to ask for: after asking in vain not before something is new, or a minute has passed.
    [[nodiscard]] bool may_be_pinned(const std::string& uid, boot_time now) const;
    // It was asked for, and none is this pod's.
    void not_pinned(const std::string& uid, boot_time now);
    // Who has this namespace; empty: nobody.
    [[nodiscard]] std::string tenant_of(const namespace_id& net) const;

    enum class verdict {
        wait,   // nothing to do; what is open stays open
        open,   // there, the addresses that missing_endpoints() names; what is open elsewhere is to be closed
        vacate, // what is open is to be closed
    };
    // What to do about what was found. Before a namespace that is another pod's is decided on, that pod is to
    // be looked for and decided on.
    [[nodiscard]] verdict decide(const std::string& uid, const sighting& s, boot_time now);
    // Positions of the addresses that are not open in the pod's namespace.
    [[nodiscard]] std::vector<std::size_t> missing_endpoints(const std::string& uid) const;

    // How opening ended, for each of missing_endpoints(). nullopt: it listens.
    struct outcome {
        std::size_t endpoint = 0;
        std::optional<error> problem;
    };
    void opened(const std::string& uid, const std::vector<outcome>& outcomes, boot_time now);

    // Looking for it, or into what was found, has failed.
    void failed(const std::string& uid, const error& why, boot_time now);

    // Whether the pod listens somewhere and nothing has to be awaited for it.
    [[nodiscard]] bool at_rest(const std::string& uid) const;

    struct standing {
        bool open = false;
        std::optional<listener_failure> failure; // also of one address while another is open
        std::string detail, advice;
        std::optional<boot_time> first_sign; // of its sandbox
        friend bool operator==(const standing&, const standing&) = default;
    };
    [[nodiscard]] standing state_of(const std::string& uid, const std::vector<std::string>& endpoints) const;

    struct counts {
        std::size_t listening = 0, waiting = 0, failed = 0;
        friend bool operator==(const counts&, const counts&) = default;
    };
    [[nodiscard]] counts count() const;
    // Whether everybody who was there at the beginning has been tried, or has had the time for it.
    [[nodiscard]] bool settled(boot_time now) const;

private:
    struct entry {
        listened_pod pod;
        boot_time due{};
        std::chrono::nanoseconds pause{0}; // before the next look but one
        bool scheduled = true;             // whether `due` counts
        bool of_the_beginning = false, tried = false;
        sighting::proof by = sighting::proof::nothing;
        std::optional<namespace_id> net; // whose namespace is open
        std::set<std::size_t> open;      // positions of addresses
        std::set<std::size_t> absent;    // of those whose family the namespace does not have
        std::optional<listener_failure> failure;
        std::string how, problem; // found how; what fails or is awaited
        std::optional<boot_time> first_sign, mismatched_since;
        boot_time pins_from{}; // before that pins are not asked for
    };
    static void look_at_once(entry& e, boot_time now);
    void look_again(entry& e, std::chrono::nanoseconds first, std::chrono::nanoseconds most, boot_time now);
    void release(entry& e);
    void fail_with(entry& e, listener_failure kind, std::string problem, boot_time now);
    [[nodiscard]] bool complete(const entry& e) const {
        return e.open.size() + e.absent.size() == endpoints_;
    }

    std::size_t endpoints_, max_namespaces_;
    std::map<std::string, entry, std::less<>> entries_;
    std::map<namespace_id, std::string> tenants_;
    std::optional<boot_time> begun_;
};

} // namespace credlet::metadata
