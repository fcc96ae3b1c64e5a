#pragma once
// From the JSON of the Kubernetes API to the few fields credlet uses. Unknown fields are ignored; a field
// that every object has and credlet needs, when missing, is errc::malformed.
// https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/

#include "metadata/objects.hpp"
#include "runtime/json.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace credlet::metadata::kubernetes {

// Needs uid, namespace and name, and spec.serviceAccountName but for mirror pods, which must not have one.
// Addresses that are not IP addresses are left out: no peer can have them.
result<pod> parse_pod(simdjson::dom::element object);

// Needs uid, namespace and name. Takes the annotations that role_annotations.hpp names and no others; a value
// that is longer than any valid one is replaced by a short one that is not valid either. Every node keeps
// those of the whole cluster, and whoever may edit one service account must not be able to fill their memory.
// A PartialObjectMetadata will do.
result<service_account> parse_service_account(simdjson::dom::element object,
                                              const std::vector<std::string>& annotation_prefixes);

// A resourceVersion, which was opaque to clients once. 0: not a number, or one that no object has.
std::uint64_t version_number(std::string_view text);

// Of any object, or of a list.
struct object_version {
    std::string uid; // empty for a list
    std::string resource_version;
};
object_version version_of(simdjson::dom::element object);

// What the members of a list need besides its items.
struct list_metadata {
    std::string resource_version; // never empty: errc::malformed
    std::string continue_token;   // empty: this was the last page
};
result<list_metadata> parse_list_metadata(simdjson::dom::element list);

// `items`; none where it is null, absent or no array.
std::optional<simdjson::dom::array> list_items(simdjson::dom::element list);

// A Status object, the API's way to say no.
// https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
struct api_status {
    unsigned code = 0;
    std::string reason;  // "Expired", "Forbidden", ...
    std::string message; // on one line, at most 512 bytes
    bool version_too_large =
        false; // a cause is ResourceVersionTooLarge: the server lags behind what was asked for
    std::optional<unsigned> retry_after_seconds;
};
// None: it is not a Status.
std::optional<api_status> parse_status(simdjson::dom::element object);

// At most `longest` bytes, control characters replaced: fit for a log line and an error message.
std::string one_line(std::string_view text, std::size_t longest = 512);

// IPv4-mapped IPv6 addresses become IPv4. None: not an address, or one with a zone.
std::optional<boost::asio::ip::address> parse_address(std::string_view text);

} // namespace credlet::metadata::kubernetes
