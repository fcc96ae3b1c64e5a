#pragma once
// This node's pods by uid, by name and by address, and who owns an address. No I/O; upstream loop only.
//
// Who owns an address: the one live pod that has it. A pod whose phase is terminal owns nothing (its address
// may be somebody else's already); a pod that is terminating still runs and owns its address until it is
// terminal or gone. Two live pods with one address: a conflict, and nobody owns it until one of them is gone.
// The addresses of host-network pods are the node's own and identify nobody.

#include "metadata/address_key.hpp"
#include "metadata/objects.hpp"

#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered/unordered_map.hpp>

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace credlet::metadata {

using pod_ptr = std::shared_ptr<const pod>;

enum class claim_kind {
    none,         // no live pod of this node has the address
    owned,        // exactly one has
    conflict,     // several have
    host_network, // the node's own address
};

struct address_claim {
    claim_kind kind = claim_kind::none;
    pod_ptr owner; // when owned
};

class pod_index {
public:
    // The pod as it is now; a pod of that uid known before is replaced.
    void put(pod p);
    void remove(std::string_view uid);

    [[nodiscard]] pod_ptr by_uid(std::string_view uid) const;
    // Names are reused (a StatefulSet's pods): of several, a live one before a terminal one.
    [[nodiscard]] pod_ptr by_name(std::string_view namespace_name, std::string_view name) const;
    [[nodiscard]] address_claim claim(const address_key& address) const;
    // Every address some live pod has.
    [[nodiscard]] std::vector<address_key> addresses() const;
    // By uid, in no order.
    [[nodiscard]] std::vector<pod_ptr> all() const;
    [[nodiscard]] std::size_t size() const { return by_uid_.size(); }

private:
    void unlink(const pod& p);

    std::map<std::string, pod_ptr, std::less<>> by_uid_;
    boost::unordered_map<address_key, std::vector<pod_ptr>, address_key_hash> claimants_; // live pods only
};

} // namespace credlet::metadata
