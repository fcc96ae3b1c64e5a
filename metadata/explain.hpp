#pragma once
// Why a pod gets credentials, or why not: every step of a request's way, in order, with what to do about the
// first that fails. Upstream loop only.

#include "metadata/cluster.hpp"
#include "metadata/directory.hpp"
#include "metadata/service.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace credlet::metadata {

// Where pods have listeners of their own.
struct explained_listening {
    bool only_with_role = false;               // pods without a role have none
    std::optional<pod_listener_state> state{}; // of this pod's; none: nothing is known of it
};

// What is asked about, and what is known without asking anybody. found: the pod, wherever it was found.
struct explained_pod {
    pod_ptr found;     // nullptr: there is no such pod
    bool here = false; // it is one of this node's pods as the watch shows them
    bool synced = false;
    std::string lookup_problem;  // why the cluster could not be asked for it, if it could not
    std::string account_problem; // the same of its service account, where the watch shows none with a role
    std::optional<explained_listening> listening{}; // none: no listeners in pods
};

// "pod", "address", "listener" where pods have them, "service account", "role", without I/O. The pod's own
// role is the one explained.
[[nodiscard]] std::vector<explain_step>
explain_entitlement(const directory& pods, const service_settings& settings, const explained_pod& p);

// "token", "sts", "credentials", from what the store says and the last call did.
[[nodiscard]] std::vector<explain_step>
explain_credentials(const sts::credential_spec& spec, const sts::lookup_result& found,
                    const std::optional<sts::credential_service::last_call>& last, std::string_view issuer,
                    wall_time wall);

// Marks what comes after the first failure as not reached, and completes the list of steps. with_listener:
// whether there is one of that name.
[[nodiscard]] std::vector<explain_step> completed(std::vector<explain_step> steps, bool with_listener);

} // namespace credlet::metadata
