#include "metadata/kubernetes/projected_tokens.hpp"

#include "metadata/kubernetes/jwt.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>

namespace credlet::metadata::kubernetes {

namespace {

namespace fs = std::filesystem;

// What one pod can make us read, at most.
constexpr std::size_t max_entries = 512;
constexpr int max_depth = 4; // a projected path may have directories

// A token that ends sooner is of no use for a call; the kubelet renews long before.
constexpr std::chrono::seconds least_life{30};

bool is_path_component(const std::string& uid) {
    return !uid.empty() && uid.size() <= 128 && std::all_of(uid.begin(), uid.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
    });
}

struct search {
    const std::string& pod_uid;
    const std::string& audience;
    wall_time now;
    std::size_t entries = 0;
    std::optional<projected_token> best;

    void file(const fs::path& path) {
        std::error_code ec;
        const auto size = fs::file_size(path, ec);
        if (ec || size == 0 || size > max_jwt + 1)
            return;
        secret_string text;
        text.resize(static_cast<std::size_t>(size));
        std::ifstream in;
        in.rdbuf()->pubsetbuf(nullptr, 0); // no buffer that nobody wipes
        in.open(path, std::ios::binary);
        if (!in.read(text.data(), static_cast<std::streamsize>(size)))
            return;
        auto token = text.reveal();
        if (token.ends_with('\n'))
            token.remove_suffix(1);
        const auto jwt = parse_jwt(token);
        if (jwt.has_error())
            return;
        const auto claims = read_claims(jwt->claims);
        if (claims.has_error())
            return;
        const auto& c = claims->token;
        const bool meant = std::find(c.audiences.begin(), c.audiences.end(), audience) != c.audiences.end();
        if (meant && c.pod_uid == pod_uid && c.expires > now + least_life &&
            (!best || c.expires > best->expires))
            best = projected_token{secret_string(token), c.expires};
    }

    void directory(const fs::path& path, int depth) {
        std::error_code ec;
        for (auto it = fs::directory_iterator(path, fs::directory_options::skip_permission_denied, ec);
             !ec && it != fs::directory_iterator(); it.increment(ec)) {
            // ..data and the directories behind it: what is to be seen are the links beside them.
            if (it->path().filename().native().starts_with(".."))
                continue;
            if (++entries > max_entries)
                return;
            std::error_code kind;
            if (it->is_directory(kind) && depth < max_depth)
                directory(it->path(), depth + 1);
            else if (it->is_regular_file(kind))
                file(it->path());
        }
    }
};

} // namespace

result<projected_token> read_projected_token(const std::string& pods_dir, const std::string& pod_uid,
                                             const std::string& audience, wall_time now) {
    if (!is_path_component(pod_uid))
        return fail(errc::not_found, "the pod's uid is no name of a directory");
    const auto volumes = fs::path(pods_dir) / pod_uid / "volumes" / "kubernetes.io~projected";
    std::error_code ec;
    if (!fs::is_directory(fs::path(pods_dir), ec))
        return fail(errc::io_failed, pods_dir + " cannot be read" + (ec ? " (" + ec.message() + ")" : "") +
                                         "; mount the kubelet's pods directory, and see --kubelet-pods-dir");
    search s{pod_uid, audience, now, 0, std::nullopt};
    s.directory(volumes, 0);
    if (!s.best)
        return fail(errc::not_found, "the pod has no projected token for audience " + audience +
                                         "; add a serviceAccountToken volume with that audience to the pod");
    return std::move(*s.best);
}

} // namespace credlet::metadata::kubernetes
