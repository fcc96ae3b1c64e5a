#include "metadata/credential_board.hpp"

#include "metadata/replies.hpp"

namespace credlet::metadata {

void credential_board::update(const sts::credential_key& key, const sts::lookup_result& found) {
    const auto before = find(key);
    auto ready = std::make_shared<ready_credentials>();
    if (found.usable) {
        ready->source = found.usable;
        ready->valid_until = found.usable->expires - serve_until_before_expiry;
        ready->reply =
            before && before->source == found.usable ? before->reply : render_credentials(*found.usable);
        if (!ready->reply) { // they cannot be handed out, and that is how the next ones will be
            ready->denial_ecs =
                render_error(403, "CredentialsTooLarge",
                             "STS issued credentials that are too large for the AWS SDKs; use fewer "
                             "session tags or policies.");
            ready->denial_imds =
                render_imds_denial("CredentialsTooLarge", "STS issued credentials that are too large "
                                                          "for the AWS SDKs.");
            ready->denial_until = ready->valid_until;
        }
    }
    if (found.problem) {
        ready->throttled = found.problem->kind == sts::failure_kind::throttled;
        if (found.problem_is_definitive && !found.usable) {
            ready->denial_ecs = render_ecs_denial(*found.problem);
            ready->denial_imds = render_imds_denial(*found.problem);
            ready->denial_until = found.problem_until;
        }
    }
    ready_.insert_or_assign(key, std::move(ready));
    changed_ = true;
}

void credential_board::forget(const sts::credential_key& key) { changed_ |= ready_.erase(key) != 0; }

ready_ptr credential_board::find(const sts::credential_key& key) const {
    const auto found = ready_.find(key);
    return found == ready_.end() ? nullptr : found->second;
}

std::shared_ptr<const reply_map> credential_board::replies() {
    changed_ = false;
    return std::make_shared<const reply_map>(ready_);
}

} // namespace credlet::metadata
