#pragma once
// The audit line: one for every set of credentials that STS issued, saying who got what for how long. It
// holds the access key id, which CloudTrail has too, and no secret.

#include "runtime/log.hpp"
#include "sts/credential_service.hpp"

#include <functional>
#include <string>

namespace credlet::app {

// The name of a pod by its uid; empty if it is not known any more.
using pod_name_lookup = std::function<std::string(const std::string& pod_uid)>;

// Level info: with --log-level warn or error there is no audit trail.
void write_audit_line(logger& log, const sts::credential_spec& spec, const sts::credentials& issued,
                      sts::call_reason reason, const pod_name_lookup& pod_name = {});

} // namespace credlet::app
