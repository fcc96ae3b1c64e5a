#include "metadata/kubernetes/projected_tokens.hpp"

#include "metadata/kubernetes/jwt.hpp"
#include "runtime/file.hpp"

#include <algorithm>
#include <filesystem>
#include <utility>

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
    const expected_claims& expected;
    wall_time now;
    std::size_t entries = 0;
    std::vector<projected_token> found;
    std::string unreadable; // what went wrong first

    void cannot_read(std::string why) {
        if (unreadable.empty())
            unreadable = std::move(why);
    }

    [[nodiscard]] bool is_expected(const verified_token& c) const {
        return c.pod_uid == expected.pod_uid && c.namespace_name == expected.namespace_name &&
               c.service_account == expected.service_account &&
               c.service_account_uid == expected.service_account_uid &&
               std::find(c.audiences.begin(), c.audiences.end(), expected.audience) != c.audiences.end() &&
               expected.issuer_may_be(c.issuer) && c.expires > now + least_life &&
               c.expires <= now + longest_projected_life;
    }

    void file(const fs::path& path) {
        const auto text = read_secret_file(path, max_jwt + 1);
        if (text.has_error()) {
            if (text.error().kind == errc::io_failed)
                cannot_read(text.error().message);
            return;
        }
        auto token = text->reveal();
        if (token.ends_with('\n'))
            token.remove_suffix(1);
        const auto jwt = parse_jwt(token);
        if (jwt.has_error())
            return;
        const auto claims = read_claims(jwt->claims);
        if (claims.has_value() && is_expected(claims->token))
            found.push_back({secret_string(token), claims->token.expires});
    }

    void directory(const fs::path& path, int depth) {
        std::error_code ec;
        for (auto it = fs::directory_iterator(path, ec); !ec && it != fs::directory_iterator();
             it.increment(ec)) {
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
            if (kind == std::errc::permission_denied)
                cannot_read("cannot look at '" + it->path().string() + "': " + kind.message());
        }
        if (ec == std::errc::permission_denied)
            cannot_read("cannot list '" + path.string() + "': " + ec.message());
    }
};

} // namespace

result<std::vector<projected_token>> read_projected_tokens(const std::string& pods_dir,
                                                           const expected_claims& expected, wall_time now) {
    if (!is_path_component(expected.pod_uid))
        return fail(errc::not_found, "the pod's uid is no name of a directory");
    std::error_code ec;
    if (!fs::is_directory(fs::path(pods_dir), ec))
        return fail(errc::io_failed, pods_dir + " cannot be read" + (ec ? " (" + ec.message() + ")" : "") +
                                         "; mount the kubelet's pods directory, and see --kubelet-pods-dir");
    search s{expected, now, 0, {}, {}};
    s.directory(fs::path(pods_dir) / expected.pod_uid / "volumes" / "kubernetes.io~projected", 0);
    if (!s.found.empty()) {
        std::sort(s.found.begin(), s.found.end(),
                  [](const auto& a, const auto& b) { return a.expires > b.expires; });
        return std::move(s.found);
    }
    if (!s.unreadable.empty())
        return fail(errc::io_failed,
                    s.unreadable + "; reading the tokens of pods needs root or CAP_DAC_READ_SEARCH, and "
                                   "where SELinux is enforced type spc_t");
    return fail(errc::not_found, "the pod has no projected token for audience " + expected.audience +
                                     "; add a serviceAccountToken volume with that audience to the pod");
}

} // namespace credlet::metadata::kubernetes
