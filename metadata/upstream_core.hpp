#pragma once
// The upstream half without its I/O: directory, board of ready replies and broker, and what they make of each
// turn of the loop. The service carries it out; the tests drive it by hand. Upstream loop only.

#include "metadata/broker.hpp"
#include "metadata/credential_board.hpp"
#include "metadata/directory.hpp"
#include "metadata/messages.hpp"

#include <optional>
#include <string>
#include <vector>

namespace credlet::metadata {

// What the core needs of the credential service.
class credential_source {
public:
    virtual ~credential_source() = default;
    virtual void retain(const sts::credential_spec& spec, std::chrono::nanoseconds prefetch_delay) = 0;
    virtual void release(const sts::credential_key& key) = 0;
    virtual void demand(const sts::credential_key& key, std::chrono::milliseconds patience) = 0;
    [[nodiscard]] virtual sts::lookup_result lookup(const sts::credential_key& key) const = 0;
};

class upstream_core {
public:
    // All outlive the core.
    upstream_core(const service_settings& settings, random_source& random, credential_source& credentials);

    [[nodiscard]] directory& pods() { return directory_; }
    [[nodiscard]] const directory& pods() const { return directory_; }
    [[nodiscard]] broker& asks() { return broker_; }
    [[nodiscard]] bool synced() const { return view_.synced; }
    void set_synced(bool synced);
    // Keys whose lookup may have changed.
    void credentials_changed(const std::vector<sts::credential_key>& keys);

    struct turn {
        std::optional<delivery> out;       // for the serving loop
        broker_work work;                  // to be carried out
        std::vector<std::string> departed; // uids of pods that ended or went away
        bool pods_changed = false;
    };
    // To be called once after whatever happened in a turn of the loop.
    [[nodiscard]] turn finish_turn(boot_time now, wall_time wall);

private:
    void follow_directory();

    credential_source& credentials_;
    directory directory_;
    credential_board board_;
    broker broker_;
    view view_;
    bool synced_changed_ = false;
    std::vector<sts::credential_key> changed_keys_;
};

} // namespace credlet::metadata
