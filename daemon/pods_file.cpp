#include "daemon/pods_file.hpp"

#include "metadata/kubernetes/jwks.hpp"
#include "metadata/kubernetes/jwt.hpp"
#include "runtime/file.hpp"

#include <algorithm>
#include <filesystem>
#include <map>
#include <sys/stat.h>

namespace credlet::app {

namespace {

using metadata::pod;
using metadata::service_account;
using metadata::verified_token;

constexpr std::size_t max_file = 16 * 1024 * 1024;
constexpr std::chrono::seconds look_interval{1};

// What changes when a file is written or replaced.
struct file_stamp {
    dev_t device = 0;
    ino_t inode = 0;
    off_t size = -1;
    std::int64_t changed = 0; // nanoseconds
    friend bool operator==(const file_stamp&, const file_stamp&) = default;
};

file_stamp stamp_of(const std::string& path) {
    struct stat about{};
    if (path.empty() || ::stat(path.c_str(), &about) != 0)
        return {};
    return {about.st_dev, about.st_ino, about.st_size,
            std::int64_t{about.st_mtim.tv_sec} * 1'000'000'000 + about.st_mtim.tv_nsec};
}

sts::failure no_token(std::string message) {
    sts::failure f;
    f.kind = sts::failure_kind::no_token;
    f.code = "NoToken";
    f.message = std::move(message);
    return f;
}

class watched_pods_file final : public pods_file {
public:
    watched_pods_file(task_group& tasks, const clock& time, logger& log, const options& o,
                      metrics::kubernetes_metrics* metrics)
        : tasks_(tasks),
          time_(time),
          log_(log),
          options_(o),
          metrics_(metrics),
          directory_(std::filesystem::path(o.pods_file).parent_path().string()) {
        if (directory_.empty())
            directory_ = ".";
    }

    // Takes over a new state only if all of it is good.
    result<void> load() {
        // Stamped before reading: what is written meanwhile is seen as a change next time.
        const auto stamp = stamp_of(options_.pods_file);
        const auto text = read_file(options_.pods_file, max_file);
        if (!text)
            return in_context("pods file", text.error());
        auto state = parse_pods_file(*text, directory_, options_.node_name, options_.annotation_prefixes);
        if (!state)
            return in_context("pods file " + options_.pods_file, state.error());
        const auto keys_stamp = stamp_of(state->jwks_file);
        metadata::kubernetes::key_set keys;
        if (!state->jwks_file.empty()) {
            const auto jwks = read_file(state->jwks_file, metadata::kubernetes::max_jwks);
            if (!jwks)
                return in_context("pods file, jwksFile", jwks.error());
            auto parsed = metadata::kubernetes::key_set::parse(*jwks);
            if (!parsed)
                return in_context("pods file, jwksFile " + state->jwks_file, parsed.error());
            keys = std::move(*parsed);
        }
        state_ = std::move(*state);
        keys_ = std::move(keys);
        seen_ = stamp;
        keys_seen_ = keys_stamp;
        return {};
    }

    void start(metadata::object_sink<pod>& pods, metadata::object_sink<service_account>& accounts) override {
        pods_ = &pods;
        accounts_ = &accounts;
        feed();
        tasks_.spawn(watch());
    }

    void refresh() override {
        const auto stamp = stamp_of(options_.pods_file), keys_stamp = stamp_of(state_.jwks_file);
        if (stamp == seen_ && keys_stamp == keys_seen_)
            return;
        if (const auto loaded = load(); !loaded) {
            // Once for each change: the stamps are kept although the content is not.
            seen_ = stamp;
            keys_seen_ = keys_stamp;
            log_.error("the pods file has changed but cannot be used; the last good one stays in force",
                       {{"error", loaded.error().message}});
            return;
        }
        log_.info("pods file read again",
                  {{"pods", state_.pods.size()}, {"service_accounts", state_.service_accounts.size()}});
        feed();
    }

    void stop() override { stopped_ = true; }

    // metadata::cluster

    awaitable<result<std::vector<pod>>> pods_by_address(asio::ip::address address) override {
        std::vector<pod> found;
        for (const auto& p : state_.pods)
            if (std::find(p.addresses.begin(), p.addresses.end(), address) != p.addresses.end())
                found.push_back(p);
        co_return found;
    }

    awaitable<result<std::optional<pod>>> pod_by_name(std::string namespace_name, std::string name) override {
        co_return named(state_.pods, namespace_name, name);
    }

    awaitable<result<std::optional<service_account>>> service_account_by_name(std::string namespace_name,
                                                                              std::string name) override {
        co_return named(state_.service_accounts, namespace_name, name);
    }

    awaitable<result<verified_token>> verify(secret_string jwt, std::vector<std::string> audiences) override {
        co_return check(jwt, std::move(audiences));
    }

    [[nodiscard]] std::string issuer() const override { return state_.issuer; }

    // metadata::presented_tokens

    void remember(const verified_token& claims, secret_string jwt) override {
        std::erase_if(presented_,
                      [&](const auto& entry) { return entry.second.claims.expires <= time_.wall(); });
        for (const auto& audience : claims.audiences) {
            auto& kept = presented_[{claims.namespace_name, claims.service_account, audience}];
            if (kept.jwt.empty() || kept.claims.expires <= claims.expires)
                kept = {claims, jwt.copy()};
        }
    }

    void forget_pod(const std::string& pod_uid) override {
        std::erase_if(presented_, [&](const auto& entry) { return entry.second.claims.pod_uid == pod_uid; });
    }

    // sts::web_identity_tokens

    awaitable<sts::outcome<sts::web_identity_token>> obtain(std::shared_ptr<const sts::credential_spec> spec,
                                                            bool) override {
        const auto begin = time_.now();
        auto token = find_token(*spec);
        if (metrics_ != nullptr)
            metrics_->token_request(token ? std::string_view(token->source) : "file",
                                    token ? "ok" : "not_found", time_.now() - begin);
        co_return token;
    }

private:
    struct presented_token {
        verified_token claims;
        secret_string jwt;
    };
    using account_and_audience = std::tuple<std::string, std::string, std::string>;

    template <class Object>
    static std::optional<Object> named(const std::vector<Object>& all, const std::string& namespace_name,
                                       const std::string& name) {
        const auto found = std::find_if(all.begin(), all.end(), [&](const Object& o) {
            return o.namespace_name == namespace_name && o.name == name;
        });
        return found == all.end() ? std::nullopt : std::optional(*found);
    }

    void feed() {
        accounts_->replaced(state_.service_accounts);
        pods_->replaced(state_.pods);
    }

    awaitable<void> watch() {
        while (!stopped_ && co_await sleep_for(look_interval))
            if (!stopped_)
                refresh();
    }

    result<verified_token> check(const secret_string& jwt, std::vector<std::string> audiences) const {
        if (state_.jwks_file.empty())
            return fail(errc::untrusted, "tokens cannot be verified: the pods file names no jwksFile");
        auto token = metadata::kubernetes::parse_jwt(jwt.reveal());
        if (!token)
            return token.error();
        const auto* key = keys_.find(token->key_id);
        if (key == nullptr)
            return fail(errc::untrusted, "the token is signed with a key that is not in the jwksFile");
        if (!key->verify(token->algorithm, token->signed_part, token->signature))
            return fail(errc::untrusted, "the token's signature does not hold");
        auto claims = metadata::kubernetes::read_claims(token->claims);
        if (!claims)
            return claims.error();
        const metadata::kubernetes::claim_expectations expected{state_.issuer, std::move(audiences)};
        if (const auto held = metadata::kubernetes::check_claims(*claims, expected, time_.wall()); !held)
            return held.error();
        return std::move(claims->token);
    }

    sts::outcome<sts::web_identity_token> find_token(const sts::credential_spec& spec) {
        for (std::size_t i = 0; i < state_.service_accounts.size(); ++i) {
            const auto& account = state_.service_accounts[i];
            if (account.uid == spec.service_account_uid && !state_.token_files[i].empty())
                return read_token(state_.token_files[i]);
        }
        const auto found = presented_.find({spec.namespace_name, spec.service_account, spec.audience});
        if (found == presented_.end() || found->second.claims.expires <= time_.wall() ||
            (!spec.pod_uid.empty() && found->second.claims.pod_uid != spec.pod_uid))
            return no_token(
                "the pods file names no tokenFile for the service account, and no caller has presented a "
                "token with the audience " +
                spec.audience);
        return sts::web_identity_token{found->second.jwt.copy(), "caller"};
    }

    static sts::outcome<sts::web_identity_token> read_token(const std::string& path) {
        const auto text = read_secret_file(path, metadata::kubernetes::max_jwt + 2);
        if (!text)
            return no_token("tokenFile: " + text.error().message);
        std::string_view token = text->reveal();
        while (!token.empty() && (token.back() == '\n' || token.back() == '\r' || token.back() == ' '))
            token.remove_suffix(1);
        if (token.empty() ||
            !std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c < 0x7f; }))
            return no_token("tokenFile '" + path + "' holds no token");
        return sts::web_identity_token{secret_string(token), "file"};
    }

    task_group& tasks_;
    const clock& time_;
    logger& log_;
    const options& options_;
    metrics::kubernetes_metrics* metrics_;
    std::string directory_;

    static_cluster state_;
    metadata::kubernetes::key_set keys_;
    file_stamp seen_, keys_seen_;
    std::map<account_and_audience, presented_token> presented_;
    metadata::object_sink<pod>* pods_ = nullptr;
    metadata::object_sink<service_account>* accounts_ = nullptr;
    bool stopped_ = false;
};

} // namespace

result<std::unique_ptr<pods_file>> make_pods_file(task_group& tasks, const clock& time, logger& log,
                                                  const options& o, metrics::kubernetes_metrics* metrics) {
    auto file = std::make_unique<watched_pods_file>(tasks, time, log, o, metrics);
    if (auto loaded = file->load(); !loaded)
        return loaded.error();
    return std::unique_ptr<pods_file>(std::move(file));
}

} // namespace credlet::app
