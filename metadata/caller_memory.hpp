#pragma once
// What the serving loop remembers of earlier answers: tokens that verified, and refusals for a short while,
// so that a flood of requests that were refused once does not reach the other loop. Bounded. Serving loop
// only.
//
// A refusal is looked at only where the view lacks something: as soon as the view has it, the refusal is
// moot.

#include "metadata/messages.hpp"

#include <boost/unordered/unordered_flat_map.hpp>

namespace credlet::metadata {

class caller_memory {
public:
    static constexpr std::size_t max_tokens_per_pod = 16;
    static constexpr std::size_t max_refusals = 8192; // of each kind

    explicit caller_memory(std::size_t max_tokens) : max_tokens_(max_tokens) {}

    // A pod's seventeenth token takes its first one's place, and when the table is full some token gives way:
    // it is verified again when it comes again.
    void remember(const token_digest& digest, remembered_token token);
    // nullptr: unknown or expired.
    [[nodiscard]] const remembered_token* token(const token_digest& digest, boot_time now);
    // Forgets the tokens of pods that are not in the map.
    void keep_only(const identity_map& pods);

    void refuse(const lack& lacking, refusal why, boot_time until);
    [[nodiscard]] std::optional<refusal> refused(const lack& lacking, boot_time now) const;

    [[nodiscard]] std::size_t tokens() const { return tokens_.size(); }

private:
    struct entry {
        refusal why;
        boot_time until;
    };
    template <class Map, class Key>
    static void put(Map& map, const Key& key, entry e);
    template <class Map, class Key>
    static std::optional<refusal> get(const Map& map, const Key& key, boot_time now);
    void forget(const token_digest& gone);

    std::size_t max_tokens_;
    boost::unordered_flat_map<token_digest, remembered_token, token_digest_hash> tokens_;
    string_map<std::vector<token_digest>> tokens_of_; // by pod uid, oldest first
    boost::unordered_flat_map<token_digest, entry, token_digest_hash> refused_tokens_;
    boost::unordered_flat_map<address_key, entry, address_key_hash> refused_addresses_;
    string_map<entry> refused_pods_;
};

} // namespace credlet::metadata
