#include "sts/expiry_board.hpp"

#include <algorithm>

namespace credlet::sts {

void expiry_board::set(const credential_key& key, const credential_spec& spec, wall_time expires) {
    const auto& where =
        labels_of_.try_emplace(key, spec.namespace_name, spec.service_account, spec.final_role_arn())
            .first->second;
    const auto which = series_.try_emplace(where).first;
    which->second.insert_or_assign(key, expires);
    show(which);
}

void expiry_board::remove(const credential_key& key) {
    const auto found = labels_of_.find(key);
    if (found == labels_of_.end())
        return;
    const auto which = series_.find(found->second);
    which->second.erase(key);
    show(which);
    labels_of_.erase(found);
}

void expiry_board::show(series::iterator which) {
    const auto& [where, expiries] = *which;
    const auto& [namespace_name, service_account, role] = where;
    if (expiries.empty()) {
        metrics_.expiry_gone(namespace_name, service_account, role);
        series_.erase(which);
        return;
    }
    const auto earliest = std::min_element(expiries.begin(), expiries.end(),
                                           [](const auto& a, const auto& b) { return a.second < b.second; });
    metrics_.expiry(namespace_name, service_account, role, earliest->second);
}

} // namespace credlet::sts
