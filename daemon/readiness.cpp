#include "daemon/readiness.hpp"

namespace credlet::app {

readiness readiness_of(const start_progress& so_far) {
    readiness r;
    if (!so_far.pods_listed)
        r.reasons.emplace_back("the pods of this node have not been listed yet");
    if (!so_far.accounts_listed)
        r.reasons.emplace_back("the service accounts have not been listed yet");
    if (so_far.listens_on_node && so_far.listening == 0)
        r.reasons.emplace_back("no listener for pods is open yet");
    // In some of them nothing may be found for long, for reasons of their own: having looked is enough.
    if (so_far.listens_in_pods && !so_far.pods_looked_for)
        r.reasons.emplace_back("the pods' network namespaces have not been looked for yet");
    if (!so_far.cold.empty())
        r.reasons.push_back(so_far.cold);
    if (so_far.draining)
        r.reasons.emplace_back("draining");
    r.ready = r.reasons.empty();
    return r;
}

} // namespace credlet::app
