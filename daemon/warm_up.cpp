#include "daemon/warm_up.hpp"

namespace credlet::app {

std::string warm_up::missing(const sts::credential_store::counts& c, boot_time now) {
    if (done_)
        return {};
    if (!begun_)
        return "another process serves, and what it serves is not known here yet";
    const auto all = c.pending + c.fresh + c.renewing + c.stale + c.failed;
    const auto missing = c.pending + c.failed - c.refused;
    const bool no_answers = c.pending + c.unanswered == all;
    const auto limit = no_answers ? boot_time::duration(patience_without_answers) : patience;
    done_ = missing == 0 || now - *begun_ >= limit;
    if (done_)
        return {};
    return "another process serves, and " + std::to_string(missing) + " of " + std::to_string(all) +
           " credentials are not here yet";
}

} // namespace credlet::app
