#pragma once
// The few fields of Kubernetes objects that credlet uses. Everything else is dropped while parsing.

#include <boost/asio/ip/address.hpp>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace credlet::metadata {

struct pod {
    std::string uid;
    std::string namespace_name;
    std::string name;
    std::string service_account; // spec.serviceAccountName; the API server always sets it
    std::string node_name;
    bool host_network = false;
    bool terminal = false;    // phase Succeeded or Failed: its address may belong to another pod already
    bool terminating = false; // deletionTimestamp is set: still runs, still owns its address
    bool mirror = false;      // a static pod: it has no service-account token
    std::vector<boost::asio::ip::address> addresses; // status.podIPs; never IPv4-mapped IPv6
    std::uint64_t version = 0; // resourceVersion of the object, or of the list that showed it; 0: no number

    friend bool operator==(const pod&, const pod&) = default;
};

struct service_account {
    std::string uid;
    std::string namespace_name;
    std::string name;
    // Only those under a configured prefix, by their full keys, sorted.
    std::vector<std::pair<std::string, std::string>> annotations;
    std::uint64_t version = 0; // resourceVersion of the object, or of the list that showed it; 0: no number

    friend bool operator==(const service_account&, const service_account&) = default;
};

// Takes what a list and a watch bring, on the upstream loop.
template <class Object>
class object_sink {
public:
    virtual ~object_sink() = default;
    // The whole truth at once, after a (re)list; what is not in it is gone. Applied atomically.
    virtual void replaced(std::vector<Object> all) = 0;
    // Added or modified.
    virtual void changed(Object object) = 0;
    virtual void removed(const Object& last_state) = 0;
};

} // namespace credlet::metadata
