#include "daemon/audit.hpp"

#include <array>
#include <cstdio>

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

// YYYY-MM-DDTHH:MM:SSZ, as STS writes it.
std::string utc(wall_time t) {
    const auto day = std::chrono::floor<std::chrono::days>(t);
    const std::chrono::year_month_day date(day);
    const std::chrono::hh_mm_ss time(t - day);
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "%04d-%02u-%02uT%02d:%02d:%02dZ", static_cast<int>(date.year()),
                  static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                  static_cast<int>(time.hours().count()), static_cast<int>(time.minutes().count()),
                  static_cast<int>(time.seconds().count()));
    return text.data();
}

} // namespace

void write_audit_line(logger& log, const sts::credential_spec& spec, const sts::credentials& issued,
                      sts::call_reason reason, const std::optional<metadata::pod>& pod) {
    log.info("credentials issued",
             {{"namespace", spec.namespace_name},
              {"service_account", spec.service_account},
              {"pod", pod ? std::string_view(pod->name) : std::string_view()},
              {"pod_uid", pod ? std::string_view(pod->uid) : std::string_view(spec.pod_uid)},
              {"role_arn", spec.final_role_arn()},
              {"web_identity_role_arn", spec.role_arn},
              {"role_session_name", issued.session_name},
              {"assumed_role_arn", issued.assumed_role_arn},
              {"access_key_id", issued.access_key_id},
              {"expiration", utc(issued.expiration)},
              {"reason", to_string(reason)}});
}

} // namespace credlet::app
