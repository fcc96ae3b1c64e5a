#pragma once
// The replies that are ready, by key, as the next view will show them. Upstream loop only.

#include "metadata/view.hpp"
#include "sts/credential_store.hpp"

#include <memory>

namespace credlet::metadata {

using sts::serve_until_before_expiry;

class credential_board {
public:
    // Takes in what the store says about a key now.
    void update(const sts::credential_key& key, const sts::lookup_result& found);
    void forget(const sts::credential_key& key);

    // nullptr: nothing is known.
    [[nodiscard]] ready_ptr find(const sts::credential_key& key) const;
    [[nodiscard]] bool changed() const { return changed_; }
    [[nodiscard]] std::shared_ptr<const reply_map> replies();

private:
    reply_map ready_;
    bool changed_ = false;
};

} // namespace credlet::metadata
