#include "metadata/kubernetes/token_sources.hpp"

#include "metadata/kubernetes/projected_tokens.hpp"
#include "metadata/kubernetes/token_request.hpp"

#include <openssl/sha.h>

#include <algorithm>

namespace credlet::metadata::kubernetes {

namespace {

// A token that ends sooner is no good for a call that may have to wait its turn.
constexpr std::chrono::seconds least_life{60};
constexpr std::chrono::minutes least_life_kept{2};
constexpr std::chrono::hours forget_after{2};

std::array<std::uint8_t, 32> sha256(const secret_string& text) {
    std::array<std::uint8_t, 32> out{};
    SHA256(reinterpret_cast<const unsigned char*>(text.reveal().data()), text.size(), out.data());
    return out;
}

sts::failure no_token(std::string message) {
    sts::failure f;
    f.kind = sts::failure_kind::no_token;
    f.code = "NoToken";
    f.message = std::move(message);
    return f;
}

std::string account_of(const sts::credential_spec& spec) {
    return spec.namespace_name + "/" + spec.service_account;
}

sts::failure nobody_left(const sts::credential_spec& spec) {
    return no_token("no pod of service account " + account_of(spec) + " is left on this node");
}

} // namespace

std::string_view to_string(token_source source) {
    switch (source) {
    case token_source::caller:
        return "caller";
    case token_source::impersonate:
        return "impersonate";
    case token_source::request:
        return "request";
    case token_source::projected:
        return "projected";
    case token_source::automatic:
        return "auto";
    }
    return "auto";
}

token_sources::token_sources(api_client& api, const pod_chooser& chooser, const presented_store& presented,
                             const clock& time, metrics::kubernetes_metrics& metrics, logger& log, options o)
    : api_(api),
      chooser_(chooser),
      presented_(presented),
      time_(time),
      metrics_(metrics),
      log_(log),
      options_(std::move(o)) {}

token_sources::slot& token_sources::slot_of(const sts::credential_spec& spec) {
    const key wanted{spec.service_account_uid, spec.pod_uid, spec.audience};
    if (slots_.size() >= max_kept && !slots_.contains(wanted)) {
        drop_expired();
        if (slots_.size() >= max_kept)
            slots_.erase(slots_.begin()); // costs a request, nothing more
    }
    return slots_[wanted];
}

bool token_sources::handed_out(const sts::credential_spec& spec, const secret_string& jwt) const {
    const auto known = slots_.find({spec.service_account_uid, spec.pod_uid, spec.audience});
    return known != slots_.end() && known->second.handed_out == sha256(jwt);
}

bool token_sources::refused(token_source source, const sts::credential_spec& spec) const {
    for (const auto& who : {std::string(), spec.service_account_uid}) {
        const auto found = refusals_.find({source, who});
        if (found != refusals_.end() && time_.now() < found->second)
            return true;
    }
    return false;
}

void token_sources::refuse(token_source source, const sts::credential_spec& spec, const sts::failure& f) {
    // A refusal to impersonate is about the cluster or the daemon; any other may be about this service
    // account alone.
    const bool for_all = f.message.find("cannot impersonate") != std::string::npos;
    std::erase_if(refusals_, [&](const auto& r) { return time_.now() >= r.second; });
    if (refusals_.size() < max_refusals)
        refusals_[{source, for_all ? std::string() : spec.service_account_uid}] = time_.now() + refused_for;
}

std::vector<token_source> token_sources::order(const sts::credential_spec& spec) const {
    if (options_.source != token_source::automatic)
        return {options_.source};
    std::vector<token_source> all, last;
    for (const auto source : {token_source::caller, token_source::impersonate, token_source::request})
        (refused(source, spec) ? last : all).push_back(source);
    all.insert(all.end(), last.begin(), last.end());
    return all;
}

awaitable<sts::outcome<sts::web_identity_token>>
token_sources::obtain(std::shared_ptr<const sts::credential_spec> spec, bool fresh) {
    std::optional<sts::failure> problem;
    bool may_pass = false; // Kubernetes refused what it may grant in a moment
    for (const auto source : order(*spec)) {
        const auto began = time_.now();
        token_ptr jwt = fresh ? nullptr : kept(*spec, source);
        if (!jwt) {
            auto tried = co_await try_source(source, spec, fresh);
            const auto took = time_.now() - began;
            metrics_.token_request(to_string(source),
                                   tried.has_value() ? "ok" : to_string(tried.error().kind), took);
            if (tried.has_error()) {
                auto f = tried.error().failure;
                const bool was_refused = f.http_status == 403;
                const bool next = source == token_source::caller || was_refused;
                if (was_refused && f.definitive)
                    refuse(source, *spec, f);
                may_pass |= was_refused && !f.definitive;
                // What Kubernetes said weighs more than that nobody has presented a token.
                if (!problem || source != token_source::caller) {
                    if (problem && problem->http_status == 403)
                        f.message += "; before that, " + problem->message;
                    problem = std::move(f);
                }
                if (!next)
                    break;
                continue;
            }
            jwt = std::move(*tried);
        }
        auto& slot = slot_of(*spec);
        slot.handed_out = sha256(*jwt);
        slot.last_used = time_.now();
        log_.debug("token", {{"namespace", spec->namespace_name},
                             {"service_account", spec->service_account},
                             {"audience", spec->audience},
                             {"source", to_string(source)}});
        co_return sts::web_identity_token{jwt->copy(), std::string(to_string(source))};
    }
    problem->definitive = problem->definitive && !may_pass;
    co_return std::move(*problem);
}

token_sources::token_ptr token_sources::kept(const sts::credential_spec& spec, token_source source) {
    const auto known = slots_.find({spec.service_account_uid, spec.pod_uid, spec.audience});
    if (known == slots_.end() || !known->second.jwt || known->second.source != source)
        return nullptr;
    if (time_.now() < known->second.use_until &&
        chooser_.choose_pod(spec.service_account_uid, known->second.pod_uid).has_value())
        return known->second.jwt;
    known->second.jwt = nullptr;
    return nullptr;
}

awaitable<token_sources::attempted<token_sources::token_ptr>>
token_sources::try_source(token_source source, std::shared_ptr<const sts::credential_spec> spec, bool fresh) {
    switch (source) {
    case token_source::caller:
        co_return presented(*spec, fresh);
    case token_source::projected:
        co_return projected(*spec, fresh);
    default:
        co_return co_await request(source, std::move(spec));
    }
}

awaitable<token_sources::attempted<token_sources::token_ptr>>
token_sources::request(token_source source, std::shared_ptr<const sts::credential_spec> spec) {
    auto candidates = chooser_.live_pods(spec->service_account_uid, spec->pod_uid);
    if (candidates.size() > max_pods_tried)
        candidates.erase(candidates.begin() + max_pods_tried, candidates.end());
    attempt problem{nobody_left(*spec), errc::not_found};
    bool may_pass = false;
    for (const auto& bound_to : candidates) {
        auto tried = co_await request_for(bound_to, source, spec);
        if (tried.has_value())
            co_return tried;
        problem = tried.error();
        may_pass |= !problem.failure.definitive;
        if (!problem.concerns_pod)
            break;
    }
    problem.failure.definitive = problem.failure.definitive && !may_pass;
    co_return problem;
}

awaitable<token_sources::attempted<token_sources::token_ptr>>
token_sources::request_for(const pod& bound_to, token_source source,
                           std::shared_ptr<const sts::credential_spec> spec) {
    auto ask = make_token_request(bound_to, spec->audience, options_.lifetime);
    ask.as_own_node = source == token_source::impersonate;
    const auto answer = co_await api_.exchange(std::move(ask), options_.request_timeout);
    if (answer.has_error())
        co_return attempt{
            token_failure(answer.error(), to_string(source), bound_to, spec->audience, options_.node_name),
            answer.error().kind, concerns_pod(answer.error())};
    auto token = parse_token_answer(answer->body.reveal());
    if (token.has_error())
        co_return attempt{no_token(token.error().message), token.error().kind};

    // How long it lives by the server's clock, not by ours.
    const auto date = answer->header("Date");
    const auto server_now = (date ? http_date(*date) : std::nullopt).value_or(time_.wall());
    const std::chrono::nanoseconds life = token->expires - server_now;
    if (life <= least_life)
        co_return attempt{no_token("Kubernetes issued a token that is about to expire"), errc::malformed};
    auto jwt = std::make_shared<const secret_string>(std::move(token->jwt));
    auto& slot = slot_of(*spec);
    slot.jwt = jwt;
    slot.pod_uid = bound_to.uid;
    slot.source = source;
    slot.use_until = time_.now() + life - std::max<std::chrono::nanoseconds>(life / 5, least_life_kept);
    co_return jwt;
}

token_sources::attempted<token_sources::token_ptr> token_sources::presented(const sts::credential_spec& spec,
                                                                            bool fresh) {
    for (const auto& token : presented_.find(spec.service_account_uid, spec.audience, spec.pod_uid)) {
        if (token.expires > time_.wall() + least_life && !(fresh && handed_out(spec, *token.jwt)) &&
            chooser_.choose_pod(spec.service_account_uid, token.pod_uid).has_value())
            return token.jwt;
    }
    return attempt{no_token("no pod of service account " + account_of(spec) +
                            " has presented a token with audience " + spec.audience +
                            " so far; see AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
                   errc::not_found};
}

token_sources::attempted<token_sources::token_ptr> token_sources::projected(const sts::credential_spec& spec,
                                                                            bool fresh) {
    attempt problem{nobody_left(spec), errc::not_found};
    for (const auto& p : chooser_.live_pods(spec.service_account_uid, spec.pod_uid)) {
        auto tokens = read_projected_tokens(options_.kubelet_pods_dir,
                                            {p.uid, spec.namespace_name, spec.service_account,
                                             spec.service_account_uid, spec.audience, options_.issuer_may_be},
                                            time_.wall());
        if (tokens.has_error()) {
            problem = attempt{no_token("no projected token of pod " + p.namespace_name + "/" + p.name + ": " +
                                       tokens.error().message),
                              tokens.error().kind};
            continue;
        }
        for (auto& token : *tokens) {
            if (!fresh || !handed_out(spec, token.jwt))
                return std::make_shared<const secret_string>(std::move(token.jwt));
        }
        problem = attempt{no_token("the only token there is for service account " + account_of(spec) +
                                   " has been used and was refused"),
                          errc::not_found};
    }
    return problem;
}

void token_sources::drop_expired() {
    const auto now = time_.now();
    for (auto& [unused, slot] : slots_) {
        if (slot.jwt && now >= slot.use_until)
            slot.jwt = nullptr;
    }
    std::erase_if(slots_,
                  [&](const auto& s) { return !s.second.jwt && now - s.second.last_used > forget_after; });
}

void token_sources::forget_pod(const std::string& pod_uid) {
    for (auto& [unused, slot] : slots_) {
        if (slot.jwt && slot.pod_uid == pod_uid)
            slot.jwt = nullptr;
    }
}

} // namespace credlet::metadata::kubernetes
