#pragma once
// The audit line: one for every set of credentials that STS issued, saying who got what for how long. It
// holds the access key id, which CloudTrail has too, and no secret.

#include "metadata/objects.hpp"
#include "runtime/log.hpp"
#include "sts/credential_service.hpp"

#include <optional>

namespace credlet::app {

// pod: the one that stood for the service account, whose token was traded; none if it has left meanwhile.
// Every pod of the account gets these credentials, unless sessions are per pod. Level info: with --log-level
// warn or error there is no audit trail.
void write_audit_line(logger& log, const sts::credential_spec& spec, const sts::credentials& issued,
                      sts::call_reason reason, const std::optional<metadata::pod>& pod);

} // namespace credlet::app
