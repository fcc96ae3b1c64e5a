#include "runtime/error.hpp"

namespace credlet {

std::string_view to_string(errc kind) {
    switch (kind) {
    case errc::cancelled:
        return "cancelled";
    case errc::timed_out:
        return "timed_out";
    case errc::resolve_failed:
        return "resolve_failed";
    case errc::connect_failed:
        return "connect_failed";
    case errc::tls_failed:
        return "tls_failed";
    case errc::connection_lost:
        return "connection_lost";
    case errc::too_large:
        return "too_large";
    case errc::malformed:
        return "malformed";
    case errc::overloaded:
        return "overloaded";
    case errc::not_found:
        return "not_found";
    case errc::denied:
        return "denied";
    case errc::rejected:
        return "rejected";
    case errc::throttled:
        return "throttled";
    case errc::unavailable:
        return "unavailable";
    case errc::untrusted:
        return "untrusted";
    case errc::in_use:
        return "in_use";
    case errc::io_failed:
        return "io_failed";
    case errc::internal:
        return "internal";
    }
    return "internal";
}

} // namespace credlet
