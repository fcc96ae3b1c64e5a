#include "runtime/connection_table.hpp"

#include <utility>

namespace credlet {

connection_table::admission connection_table::admit(const peer_id& peer) const {
    const std::size_t held = held_by(peer);
    if (held >= max_per_peer_) {
        open_connection* const own = longest_idle_of(peer);
        return own == nullptr ? admission{verdict::peer_limit} : admission{verdict::after_eviction, own};
    }
    if (all_.size() < max_total_)
        return {verdict::welcome};

    open_connection* chosen = nullptr;
    std::size_t chosen_held = held;
    for (open_connection* candidate : all_) {
        if (!candidate->is_idle())
            continue;
        const std::size_t theirs = *candidate->siblings_;
        const bool better = chosen == nullptr ? theirs >= chosen_held
                                              : std::pair(theirs, chosen->deadline()) >
                                                    std::pair(chosen_held, candidate->deadline());
        if (better) {
            chosen = candidate;
            chosen_held = theirs;
        }
    }
    return chosen == nullptr ? admission{verdict::server_full} : admission{verdict::after_eviction, chosen};
}

open_connection* connection_table::longest_idle_of(const peer_id& peer) const {
    open_connection* chosen = nullptr;
    for (open_connection* candidate : all_) {
        if (candidate->is_idle() && candidate->peer() == peer &&
            (chosen == nullptr || candidate->deadline() < chosen->deadline()))
            chosen = candidate;
    }
    return chosen;
}

void connection_table::add(open_connection& connection) {
    connection.place_ = all_.size();
    all_.push_back(&connection);
    std::size_t& count = held_[connection.peer()]; // stays where it is until it is erased
    ++count;
    connection.siblings_ = &count;
}

void connection_table::remove(open_connection& connection) {
    all_.back()->place_ = connection.place_;
    all_[connection.place_] = all_.back();
    all_.pop_back();
    const auto count = held_.find(connection.peer());
    if (--count->second == 0)
        held_.erase(count);
}

std::size_t connection_table::held_by(const peer_id& peer) const {
    const auto count = held_.find(peer);
    return count == held_.end() ? 0 : count->second;
}

} // namespace credlet
