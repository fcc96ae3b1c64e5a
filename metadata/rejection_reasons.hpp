#pragma once
// Why a request is refused, as the label of credlet_rejections_total. A closed set.

#include <array>
#include <string_view>

namespace credlet::metadata::reason {

// Of the request itself.
inline constexpr std::string_view forwarded = "forwarded";       // X-Forwarded-For, Forwarded, Via, X-Real-IP
inline constexpr std::string_view browser = "browser";           // Origin, Sec-Fetch-*
inline constexpr std::string_view wrong_host = "wrong_host";     // Host is none of ours
inline constexpr std::string_view unknown_path = "unknown_path"; // 404
inline constexpr std::string_view wrong_method = "wrong_method"; // 405
inline constexpr std::string_view bad_ttl = "bad_ttl";           // IMDS token lifetime
// Of who asks.
inline constexpr std::string_view missing_token = "missing_token";   // the identity mode wants one
inline constexpr std::string_view bad_token_form = "bad_token_form"; // not a token at all
inline constexpr std::string_view bad_token = "bad_token";           // a check of the token failed
inline constexpr std::string_view pod_not_here =
    "pod_not_here"; // the pod of the token or the listener does not run on this node, or no longer
inline constexpr std::string_view identity_mismatch =
    "identity_mismatch"; // the token is another pod's than the address or the listener
inline constexpr std::string_view identity_changed = "identity_changed"; // while the request waited
inline constexpr std::string_view unknown_address = "unknown_address";
inline constexpr std::string_view host_network = "host_network"; // the node's address identifies nobody
inline constexpr std::string_view address_conflict = "address_conflict";
inline constexpr std::string_view mirror_pod = "mirror_pod";   // a static pod has no service-account token
inline constexpr std::string_view bad_session = "bad_session"; // IMDS session token missing, forged, expired
// Of what is asked for.
inline constexpr std::string_view no_role = "no_role";
inline constexpr std::string_view bad_annotation = "bad_annotation";
inline constexpr std::string_view foreign_role = "foreign_role"; // not a role of this pod
inline constexpr std::string_view role_policy = "role_policy";
inline constexpr std::string_view denied_by_sts = "denied_by_sts";
// Of how much.
inline constexpr std::string_view rate_limit = "rate_limit";
inline constexpr std::string_view bad_token_limit = "bad_token_limit";
inline constexpr std::string_view too_many_waiting = "too_many_waiting";
// Of the daemon's own state.
inline constexpr std::string_view not_synced = "not_synced";
inline constexpr std::string_view unavailable = "unavailable";

inline constexpr std::array all{
    forwarded,        browser,          wrong_host,      unknown_path,      wrong_method,    bad_ttl,
    missing_token,    bad_token,        pod_not_here,    identity_mismatch, unknown_address, host_network,
    address_conflict, mirror_pod,       bad_session,     no_role,           bad_annotation,  foreign_role,
    role_policy,      denied_by_sts,    rate_limit,      not_synced,        unavailable,     bad_token_form,
    bad_token_limit,  too_many_waiting, identity_changed};

} // namespace credlet::metadata::reason
