#include "metadata/upstream_core.hpp"

namespace credlet::metadata {

upstream_core::upstream_core(const service_settings& settings, random_source& random,
                             credential_source& credentials)
    : credentials_(credentials),
      directory_(settings, random),
      broker_(settings, directory_, board_) {}

void upstream_core::set_synced(bool synced) {
    synced_changed_ |= synced != view_.synced;
    view_.synced = synced;
    broker_.set_synced(synced);
}

void upstream_core::credentials_changed(const std::vector<sts::credential_key>& keys) {
    changed_keys_.insert(changed_keys_.end(), keys.begin(), keys.end());
}

upstream_core::turn upstream_core::finish_turn(boot_time now, wall_time wall) {
    turn t;
    bool changed = std::exchange(synced_changed_, false);
    const bool moved = directory_.identities_changed();
    if (moved)
        follow_directory();
    if (moved || changed) // a wait is over, too, when it is known that nothing more will come
        broker_.directory_changed(now, wall);
    if (moved) {
        t.departed = directory_.take_departed();
        t.pods_changed = true;
        view_.identity = directory_.identities();
        changed = true;
    }
    t.work = broker_.take_work();
    for (const auto& w : t.work.demands)
        credentials_.demand(w.key, w.patience);
    const auto keys = std::exchange(changed_keys_, {});
    for (const auto& key : keys)
        if (directory_.retains(key))
            board_.update(key, credentials_.lookup(key));
    broker_.credentials_changed(keys, now);
    if (board_.changed()) {
        view_.replies = board_.replies();
        changed = true;
    }
    auto answers = broker_.take_answers();
    if (changed || !answers.empty())
        t.out = delivery{changed ? std::make_shared<const view>(view_) : nullptr, std::move(answers)};
    return t;
}

// Has kept what somebody here is entitled to, and nothing else.
void upstream_core::follow_directory() {
    for (const auto& r : directory_.take_retentions()) {
        if (r.retain) {
            credentials_.retain(*r.retain, r.prefetch_delay);
            changed_keys_.push_back(r.retain->key());
        } else {
            credentials_.release(r.release);
            board_.forget(r.release);
        }
    }
}

} // namespace credlet::metadata
