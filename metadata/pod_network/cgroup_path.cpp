#include "metadata/pod_network/cgroup_path.hpp"

#include "runtime/ascii.hpp"

#include <algorithm>

namespace credlet::metadata {

namespace {

constexpr std::string_view slice = ".slice";
constexpr std::string_view pods = "kubepods";

bool is_hexadecimal(char c) { return ascii::is_digit(c) || (c >= 'a' && c <= 'f'); }

// What this text says if it is a uid with `dash` between its parts.
std::optional<std::string> uid_of(std::string_view text, char dash) {
    constexpr std::string_view uuid = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    constexpr std::size_t static_pod = 32;
    if (text.size() == static_pod && std::ranges::all_of(text, is_hexadecimal))
        return std::string(text);
    const auto fits = [dash](char c, char place) { return place == '-' ? c == dash : is_hexadecimal(c); };
    if (text.size() != uuid.size() || !std::ranges::equal(text, uuid, fits))
        return std::nullopt;
    std::string uid(text);
    std::ranges::replace(uid, dash, '-');
    return uid;
}

bool strip(std::string_view& text, std::string_view end) {
    if (!text.ends_with(end))
        return false;
    text.remove_suffix(end.size());
    return true;
}

// systemd names a slice by all that it is in: "kubelet-kubepods" is in "kubelet".
bool names_pods(std::string_view slice_name) {
    return strip(slice_name, pods) && (slice_name.empty() || slice_name.ends_with('-'));
}

} // namespace

std::optional<std::string> pod_of_cgroup_name(std::string_view component) {
    // Where the kubelet's driver is systemd and containerd's is not, containers are in groups that have all
    // of systemd's triple as one name: "kubepods-burstable-pod<uid>.slice:cri-containerd:<id>".
    component = component.substr(0, component.find(':'));
    constexpr std::string_view pod = "pod";
    if (component.starts_with(pod))
        return uid_of(component.substr(pod.size()), '-');
    if (!strip(component, slice))
        return std::nullopt;
    constexpr std::string_view in_slice = "-pod";
    const auto at = component.rfind(in_slice);
    if (at == std::string_view::npos)
        return std::nullopt;
    auto parent = component.substr(0, at);
    if (!strip(parent, "-burstable"))
        strip(parent, "-besteffort");
    if (!names_pods(parent))
        return std::nullopt;
    return uid_of(component.substr(at + in_slice.size()), '_');
}

std::optional<std::string> pod_of_cgroup(std::string_view path) {
    while (!path.empty()) {
        const auto component = path.substr(0, path.find('/'));
        if (auto uid = pod_of_cgroup_name(component))
            return uid;
        path.remove_prefix(std::min(component.size() + 1, path.size()));
    }
    return std::nullopt;
}

std::optional<std::string> pod_of_process_cgroups(std::string_view file) {
    std::optional<std::string> pod;
    while (!file.empty()) {
        const auto line = file.substr(0, file.find('\n'));
        file.remove_prefix(std::min(line.size() + 1, file.size()));
        // hierarchy-ID:controller-list:path, and a path may have colons of its own.
        const auto controllers = line.find(':');
        if (controllers == std::string_view::npos)
            continue;
        const auto path = line.find(':', controllers + 1);
        if (path == std::string_view::npos)
            continue;
        auto named = pod_of_cgroup(line.substr(path + 1));
        if (!named)
            continue;
        if (pod && *pod != *named)
            return std::nullopt;
        pod = std::move(named);
    }
    return pod;
}

bool is_pods_root(std::string_view component) {
    return component == pods || (strip(component, slice) && names_pods(component));
}

std::array<std::string, 2> quality_classes(std::string_view pods_root) {
    if (!strip(pods_root, slice))
        return {"burstable", "besteffort"};
    const std::string name(pods_root);
    return {name + "-burstable.slice", name + "-besteffort.slice"};
}

std::optional<std::string> cgroup_name_of(std::string_view uid, std::string_view parent) {
    auto name = uid_of(uid, '-');
    if (!name)
        return std::nullopt;
    if (!strip(parent, slice))
        return "pod" + *name;
    std::ranges::replace(*name, '-', '_');
    return std::string(parent) + "-pod" + *name + std::string(slice);
}

} // namespace credlet::metadata
