#include "metadata/bad_token_budget.hpp"

namespace credlet::metadata {

bool bad_token_budget::charge(const token_digest& digest, std::uint64_t caller, boot_time now) {
    const auto found = under_way_.find(digest);
    if (found != under_way_.end() && now < found->second.until)
        return true;
    if (!limits_.take(caller, now))
        return false;
    if (under_way_.size() >= max_under_way)
        boost::unordered::erase_if(under_way_, [&](const auto& e) { return now >= e.second.until; });
    if (under_way_.size() >= max_under_way)
        under_way_.clear(); // some charges are not given back
    under_way_.insert_or_assign(digest, entry{caller, now + longest_wait_});
    return true;
}

void bad_token_budget::refund(const token_digest& digest) {
    const auto found = under_way_.find(digest);
    if (found == under_way_.end())
        return;
    limits_.refund(found->second.caller);
    under_way_.erase(found);
}

} // namespace credlet::metadata
