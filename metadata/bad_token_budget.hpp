#pragma once
// How many tokens that turn out to be bad a caller may have verified. Each verification is charged when it
// begins, once however many requests bring the token meanwhile, and given back if the token was not to blame.
// Serving loop only.

#include "metadata/request_limits.hpp"
#include "metadata/token_digest.hpp"

#include <boost/unordered/unordered_flat_map.hpp>

namespace credlet::metadata {

class bad_token_budget {
public:
    static constexpr std::size_t max_under_way = 8192;

    // longest_wait: a verification of which nothing was heard for so long is over.
    bad_token_budget(double per_second, std::chrono::nanoseconds longest_wait)
        : limits_(per_second, per_second),
          longest_wait_(longest_wait) {}

    // Whether the token may be verified for that caller now.
    [[nodiscard]] bool charge(const token_digest& digest, std::uint64_t caller, boot_time now);
    // A request that waited for the verification has heard how it ended, or waits no longer.
    void keep(const token_digest& digest) { under_way_.erase(digest); }
    void refund(const token_digest& digest);

    [[nodiscard]] std::size_t under_way() const { return under_way_.size(); }

private:
    struct entry {
        std::uint64_t caller; // who was charged
        boot_time until;
    };

    request_limits limits_;
    std::chrono::nanoseconds longest_wait_;
    boost::unordered_flat_map<token_digest, entry, token_digest_hash> under_way_;
};

} // namespace credlet::metadata
