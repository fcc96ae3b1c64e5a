// /proc/PID/cgroup, in which containers have chosen names. Whatever it says, the outcome is nobody, or one
// uid that the text has, and that gives the very same pod's group back.

#include "metadata/pod_network/cgroup_path.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>

using namespace credlet::metadata;

namespace {

void must(bool holds) {
    if (!holds)
        std::abort();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    if (const auto uid = pod_of_process_cgroups(text)) {
        for (const char c : *uid)
            must((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || c == '-');
        auto escaped = *uid;
        std::ranges::replace(escaped, '-', '_');
        must(text.find(*uid) != std::string_view::npos || text.find(escaped) != std::string_view::npos);
        for (const auto* parent : {"kubepods", "burstable", "kubepods-besteffort.slice"}) {
            const auto name = cgroup_name_of(*uid, parent);
            must(name && pod_of_cgroup_name(*name) == uid);
            // A line for another pod takes it back, one for nobody does not, and neither does the order
            // matter.
            must(pod_of_process_cgroups("9:x:/a\n1:y:/" + *name + "\n" + std::string(text)) == uid);
        }
        must(!pod_of_process_cgroups("1:x:/kubepods/pod00000000000000000000000000000000\n" +
                                     std::string(text)) ||
             *uid == "00000000000000000000000000000000");
    }
    if (const auto uid = pod_of_cgroup(text))
        must(pod_of_cgroup(std::string(text) + "/kubepods/pod00000000000000000000000000000000") == uid);
    if (const auto name = cgroup_name_of(text, "kubepods.slice"))
        must(name->find('/') == std::string::npos && pod_of_cgroup_name(*name) == text);
    return 0;
}
