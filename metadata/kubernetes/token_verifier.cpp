#include "metadata/kubernetes/token_verifier.hpp"

#include <algorithm>
#include <utility>

namespace credlet::metadata::kubernetes {

namespace {

// The API server's own copy: the jwks_uri of the discovery document may lead out of the cluster.
// https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/#service-account-issuer-discovery
constexpr auto keys_path = "/openid/v1/jwks";
constexpr auto discovery_path = "/.well-known/openid-configuration";
constexpr std::size_t max_discovery = std::size_t{16} * 1024;
constexpr std::size_t max_issuer = 2048;

// Counts itself as long as it lives, however the wait ends.
struct waiter {
    std::size_t& count;
    explicit waiter(std::size_t& c) : count(++c) {}
    waiter(const waiter&) = delete;
    waiter& operator=(const waiter&) = delete;
    ~waiter() { --count; }
};

} // namespace

token_verifier::token_verifier(const asio::any_io_executor& executor, task_group& tasks, api_client& api,
                               const clock& time, random_source& random, metrics::kubernetes_metrics& metrics,
                               logger& log, settings s)
    : tasks_(tasks),
      api_(api),
      time_(time),
      metrics_(metrics),
      log_(log),
      settings_(std::move(s)),
      keys_(settings_.keys, random),
      issuer_(settings_.issuer),
      fetched_(executor, asio::steady_timer::time_point::max()) {}

awaitable<void> token_verifier::run() {
    co_await asio::this_coro::throw_if_cancelled(false);
    for (;;) {
        const auto now = time_.now();
        if (!fetching_ && keys_.next_regular() <= now) {
            begin_fetch();
            co_await fetch();
        }
        const auto state = co_await asio::this_coro::cancellation_state;
        if (state.cancelled() != asio::cancellation_type::none)
            co_return;
        // Not at once, should a fetch for a caller be under way.
        const auto wait = std::max<std::chrono::nanoseconds>(keys_.next_regular() - time_.now(),
                                                             std::chrono::milliseconds(200));
        if ((co_await sleep_for(wait)).has_error())
            co_return;
    }
}

void token_verifier::begin_fetch() {
    keys_.begin_fetch(time_.now());
    fetching_ = true;
}

awaitable<void> token_verifier::fetch() {
    co_await asio::this_coro::throw_if_cancelled(false);
    const auto keys = co_await fetch_keys();
    metrics_.jwks_fetched(keys.has_value() ? "ok" : to_string(keys.error().kind));
    if (keys.has_error()) {
        keys_.failed(time_.now());
        if (sampler_.admit("keys", time_.now().time_since_epoch()).write)
            log_.warn(
                "cannot fetch the keys that service-account tokens are signed with; known ones stay in use",
                {{"why", keys.error().message}});
    }
    if (settings_.issuer.empty() && keys.has_value())
        co_await fetch_issuer();
    if (keys.has_value() && issuer_.empty())
        keys_.incomplete(time_.now());
    fetching_ = false;
    fetched_.cancel(); // wakes all who wait
}

awaitable<result<void>> token_verifier::fetch_keys() {
    api_request request;
    request.target = keys_path;
    request.accept = "application/jwk-set+json, application/json";
    request.max_response_body = max_jwks;
    const auto answer = co_await api_.exchange(std::move(request), settings_.request_timeout);
    if (answer.has_error())
        co_return fail(answer.error().kind,
                       answer.error().message +
                           (answer.error().status == 403
                                ? "; bind ClusterRole system:service-account-issuer-discovery "
                                  "to the daemon's service account"
                                : ""));
    auto set = key_set::parse(answer->body.reveal());
    if (set.has_error())
        co_return set.error();
    if (left_out_ != set->left_out()) {
        left_out_ = set->left_out();
        std::string ids;
        for (const auto& id : left_out_)
            ids += (ids.empty() ? "" : ", ") + (id.empty() ? "(none)" : one_line(id, 64));
        if (!ids.empty())
            log_.warn("keys of the cluster that cannot verify tokens, or share their kid with another one",
                      {{"kids", ids}});
    }
    keys_.fetched(std::move(*set), time_.now());
    co_return result<void>();
}

awaitable<void> token_verifier::fetch_issuer() {
    api_request request;
    request.target = discovery_path;
    request.max_response_body = max_discovery;
    const auto answer = co_await api_.exchange(std::move(request), settings_.request_timeout);
    std::string problem;
    if (answer.has_error()) {
        problem = answer.error().message;
    } else {
        const auto document = json_document::parse(answer->body.reveal(), max_discovery);
        const auto issuer = document.has_value() ? json_string(document->root(), "issuer") : std::nullopt;
        if (issuer && !issuer->empty() && issuer->size() <= max_issuer) {
            if (issuer_ == *issuer)
                co_return;
            log_.info(issuer_.empty()
                          ? "issuer of this cluster's tokens"
                          : "the issuer of this cluster's tokens has changed; trust policies name it",
                      {{"issuer", one_line(*issuer)}, {"before", one_line(issuer_)}});
            previous_issuer_ = std::exchange(issuer_, *issuer);
            previous_until_ = time_.now() + previous_issuer_for;
            co_return;
        }
        problem = "the discovery document names no issuer";
    }
    if (issuer_.empty() && sampler_.admit("issuer", time_.now().time_since_epoch()).write)
        log_.warn("cannot learn the issuer of this cluster's tokens; name it with --token-issuer, or bind "
                  "ClusterRole "
                  "system:service-account-issuer-discovery to the daemon's service account",
                  {{"why", problem}});
}

awaitable<result<bool>> token_verifier::wait_for_fetch() {
    if (waiting_ >= settings_.max_waiting)
        co_return fail(errc::unavailable, "too many tokens wait for the cluster's keys");
    const waiter counted(waiting_);
    const bool ours = !fetching_;
    if (ours) {
        if (tasks_.cancelled())
            co_return fail(errc::cancelled, "the verification was cancelled");
        begin_fetch();
        tasks_.spawn(fetch()); // not the caller's: it goes on when the caller has gone
    }
    // The fetch has deadlines of its own and always ends; it is waited for by event alone.
    while (fetching_) {
        co_await fetched_.async_wait(as_result);
        const auto state = co_await asio::this_coro::cancellation_state;
        if (state.cancelled() != asio::cancellation_type::none)
            co_return fail(errc::cancelled, "the verification was cancelled");
    }
    co_return ours;
}

bool token_verifier::trusts_issuer(std::string_view issuer) const {
    return issuer == issuer_ || (issuer == previous_issuer_ && time_.now() < previous_until_);
}

awaitable<result<verified_token>> token_verifier::verify(secret_string jwt,
                                                         std::vector<std::string> audiences) {
    const auto token = parse_jwt(jwt.reveal());
    if (token.has_error())
        co_return token.error();
    auto claims = read_claims(token->claims);
    if (claims.has_error())
        co_return claims.error();
    // What is wrong by its claims already is not worth a fetch. Nothing is believed before the signature
    // holds. A discovered issuer may have changed since, a configured one has not.
    const auto& issuer = claims->token.issuer;
    const bool issuer_changes = settings_.issuer.empty();
    if (!issuer_.empty()) {
        const auto held = check_claims(*claims, {issuer_changes ? issuer : issuer_, audiences}, time_.wall());
        if (held.has_error())
            co_return held.error();
    }

    auto found = keys_.lookup(token->key_id, time_.now());
    const auto good_before = keys_.last_good();
    bool asked = false; // keys and issuer, after this token was seen
    if (found.what == key_cache::answer::fetch ||
        (fetching_ && (found.what != key_cache::answer::known || issuer_.empty()))) {
        const auto ours = co_await wait_for_fetch();
        if (ours.has_error())
            co_return ours.error();
        asked = *ours;
        found = keys_.lookup(token->key_id, time_.now());
        if (asked && found.what == key_cache::answer::wait && keys_.last_good() != good_before) {
            keys_.missed(token->key_id, time_.now());
            found.what = key_cache::answer::unknown;
        }
    }
    switch (found.what) {
    case key_cache::answer::known:
        break;
    case key_cache::answer::unknown:
        co_return fail(errc::untrusted, "the token is signed by a key that this cluster does not have (kid)");
    case key_cache::answer::wait:
        co_return fail(errc::unavailable,
                       "the token's key is not known yet, and the key set was fetched just now");
    case key_cache::answer::fetch:
    case key_cache::answer::no_keys:
        co_return fail(errc::unavailable, "the cluster's keys could not be fetched yet (/openid/v1/jwks)");
    }
    if (!found.key->verify(token->algorithm, token->signed_part, token->signature))
        co_return fail(errc::untrusted, found.key->allows(token->algorithm)
                                            ? "the token's signature does not hold"
                                            : "the token's alg does not go with the key it names");
    if (issuer_.empty())
        co_return fail(errc::unavailable,
                       "the issuer of this cluster's tokens is not known yet; see --token-issuer");
    // The cluster signed it in a name we do not know: as with an unknown key, ask, but not too often.
    if (issuer_changes && !asked && !trusts_issuer(issuer)) {
        if (fetching_ || keys_.may_fetch(time_.now())) {
            const auto ours = co_await wait_for_fetch();
            if (ours.has_error())
                co_return ours.error();
            asked = *ours;
        }
        if (!asked && !trusts_issuer(issuer))
            co_return fail(errc::unavailable, "the token's issuer (iss) is not known, and the cluster's was "
                                              "asked for just now; see --token-issuer");
    }
    const auto held =
        check_claims(*claims, {trusts_issuer(issuer) ? issuer : issuer_, std::move(audiences)}, time_.wall());
    if (held.has_error())
        co_return held.error();
    co_return std::move(claims->token);
}

} // namespace credlet::metadata::kubernetes
