#include "daemon/audit.hpp"

#include "metadata/replies.hpp"

namespace credlet::app {

namespace {

std::string_view to_string(sts::call_reason reason) {
    switch (reason) {
    case sts::call_reason::demand:
        return "demand";
    case sts::call_reason::renewal:
        return "renewal";
    case sts::call_reason::prefetch:
        return "prefetch";
    }
    return "demand";
}

} // namespace

void write_audit_line(logger& log, const sts::credential_spec& spec, const sts::credentials& issued,
                      sts::call_reason reason, const std::optional<metadata::pod>& pod) {
    log.audit("credentials issued",
              {{"namespace", spec.namespace_name},
               {"service_account", spec.service_account},
               {"pod", pod ? std::string_view(pod->name) : std::string_view()},
               {"pod_uid", pod ? std::string_view(pod->uid) : std::string_view(spec.pod_uid)},
               {"role_arn", spec.final_role_arn()},
               {"web_identity_role_arn", spec.role_arn},
               {"role_session_name", issued.session_name},
               {"assumed_role_arn", issued.assumed_role_arn},
               {"access_key_id", issued.access_key_id},
               {"expiration", metadata::utc_seconds(issued.expiration)},
               {"reason", to_string(reason)}});
}

} // namespace credlet::app
