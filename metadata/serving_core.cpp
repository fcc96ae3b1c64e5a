#include "metadata/serving_core.hpp"

#include "metadata/rejection_reasons.hpp"

#include <algorithm>

namespace credlet::metadata {

namespace {

step refusal_step(const reply_ptr& reply, std::string_view why, const known_pod* pod = nullptr) {
    return {reply, std::nullopt, why, pod};
}

// What STS refuses and what the daemon cannot ask it for are told apart by their status.
step denial_step(const reply_ptr& reply, const known_pod* pod) {
    return refusal_step(reply, reply->status() == 503 ? reason::unavailable : reason::denied_by_sts, pod);
}

step lacking_step(lack lacking, const known_pod* pod = nullptr) {
    return {nullptr, std::move(lacking), {}, pod};
}

// Whether the token of that pod still means the pod that the view shows under its uid.
bool agrees(const remembered_token& token, const known_pod& p) {
    if (token.namespace_name != p.facts->namespace_name || token.service_account != p.facts->service_account)
        return false;
    if (!p.grants)
        return token.general_audience;
    // A service account of the same name that was made anew is another one.
    if (token.service_account_uid != p.grants->service_account_uid)
        return false;
    return token.general_audience || std::find(token.audiences.begin(), token.audiences.end(),
                                               p.grants->audience) != token.audiences.end();
}

// Whether a verification that ended so is charged to who brought the token. One that brought nothing in time
// is: it may be a key that the cluster does not have, and costs a fetch.
bool counts_as_bad(refusal why) {
    return why == refusal::bad_token || why == refusal::bad_token_form || why == refusal::unavailable;
}

// Whether connections from an address may live on. Nobody can tell whose those are that were opened while it
// was disputed.
bool same_owner(const known_claim& before, const known_claim& now) {
    if (before.kind != now.kind)
        return false;
    return now.kind != claim_kind::owned || before.owner->facts->uid == now.owner->facts->uid;
}

} // namespace

serving_core::serving_core(const service_settings& settings, const imds_sessions::key& session_key)
    : settings_(settings),
      hosts_(settings.extra_hosts),
      sessions_(session_key),
      memory_(settings.max_remembered_tokens),
      requests_(settings.pod_requests_per_second, settings.pod_request_burst),
      bad_tokens_(settings.bad_tokens_per_second, std::max(settings.ecs_hold, settings.imds_hold)) {
    if (!settings.region.empty())
        region_ = render_text(settings.region);
    if (!settings.availability_zone.empty())
        zone_ = render_text(settings.availability_zone);
}

std::vector<asio::ip::address> serving_core::apply(view_ptr v) {
    std::vector<asio::ip::address> moved;
    if (v->identity != view_->identity) {
        for (const auto& [address, before] : view_->identity->by_address) {
            if (before.kind != claim_kind::owned && before.kind != claim_kind::conflict)
                continue;
            const auto now = v->identity->by_address.find(address);
            if (now == v->identity->by_address.end() || !same_owner(before, now->second))
                moved.push_back(address.address());
        }
        memory_.keep_only(*v->identity);
    }
    view_ = std::move(v);
    return moved;
}

step serving_core::begin(const request_facts& facts, const caller& from, boot_time now, wall_time wall) {
    return decide({facts, from, now, wall, nullptr});
}

step serving_core::resume(const request_facts& facts, const caller& from, boot_time now, wall_time wall,
                          progress& so_far) {
    auto next = decide({facts, from, now, wall, &so_far});
    if (next.pod != nullptr && next.lacking)
        so_far.pod_uid = next.pod->facts->uid;
    return next;
}

void serving_core::learn(const lack& lacking, answer a, progress& so_far) {
    so_far.last.reset();
    if (lacking.what == need::token) {
        if (a.refused && counts_as_bad(*a.refused))
            bad_tokens_.keep(lacking.digest);
        else
            bad_tokens_.refund(lacking.digest);
    }
    if (a.token) {
        // Only while the pod is here: a view without it may have come in since.
        if (view_->identity->by_uid.contains(a.token->pod_uid))
            memory_.remember(lacking.digest, std::move(*a.token));
    } else if (a.refused) {
        memory_.refuse(lacking, *a.refused, a.refused_until);
        so_far.last = progress::verdict{lacking, *a.refused};
    }
}

void serving_core::give_up(const lack& lacking) {
    if (lacking.what == need::token)
        bad_tokens_.keep(lacking.digest);
}

step serving_core::decide(const context& c) {
    if (auto refused = check_form(c))
        return std::move(*refused);
    const auto who = identify(c);
    // Who is not identified spends his address's budget, and with it that of everybody behind it.
    const auto budget = who.pod != nullptr ? who.pod->limit_key : c.from.limit_key();
    if (c.so_far == nullptr && !requests_.take(budget, c.now))
        return refusal_step(replies_.rate_limit, reason::rate_limit, who.pod);
    if (who.pod == nullptr) {
        const bool verify = who.otherwise.lacking && who.otherwise.lacking->what == need::token;
        if (verify && c.so_far == nullptr &&
            !bad_tokens_.charge(who.otherwise.lacking->digest, budget, c.now))
            return refusal_step(replies_.bad_token_limit, reason::bad_token_limit);
        return who.otherwise;
    }
    // Whoever has the address now, the request was another pod's.
    if (c.so_far != nullptr && !c.so_far->pod_uid.empty() && c.so_far->pod_uid != who.pod->facts->uid)
        return refusal_step(replies_.identity_changed, reason::identity_changed, who.pod);
    return answer_pod(c, who);
}

// Everything about a request that does not depend on who sent it.
std::optional<step> serving_core::check_form(const context& c) const {
    const auto& f = c.facts;
    if (f.forwarded)
        return refusal_step(replies_.forwarded, reason::forwarded);
    if (f.browser)
        return refusal_step(replies_.browser, reason::browser);
    if (!hosts_.ours(f.host, c.from.local))
        return refusal_step(replies_.wrong_host, reason::wrong_host);
    switch (f.what.where) {
    case route::unknown:
        return refusal_step(replies_.ecs_not_found, reason::unknown_path);
    case route::imds_unknown:
        return refusal_step(replies_.imds_not_found, reason::unknown_path);
    case route::imds_token:
        if (f.wrong_method)
            return refusal_step(replies_.method_put, reason::wrong_method);
        if (!session_ttl(f.ttl))
            return refusal_step(replies_.bad_ttl, reason::bad_ttl);
        return std::nullopt;
    default:
        if (f.wrong_method)
            return refusal_step(replies_.method_get, reason::wrong_method);
        return std::nullopt;
    }
}

// ---- who asks

serving_core::claim serving_core::claim_of(const address_key& address) const {
    const auto found = view_->identity->by_address.find(address);
    return found == view_->identity->by_address.end() ? claim{}
                                                      : claim{found->second.kind, found->second.owner.get()};
}

// None: the pod is not here (any more).
std::optional<serving_core::claim> serving_core::claim_through(const std::string& listener_pod) const {
    const auto found = view_->identity->by_uid.find(listener_pod);
    if (found == view_->identity->by_uid.end())
        return std::nullopt;
    // There is none for such a pod; it would be open to everybody on the node.
    if (found->second->facts->host_network)
        return claim{claim_kind::host_network, nullptr};
    return claim{claim_kind::owned, found->second.get()};
}

serving_core::identity serving_core::identify(const context& c) {
    const auto by = c.from.listener_pod != nullptr ? claim_through(*c.from.listener_pod)
                                                   : std::optional(claim_of(c.from.peer));
    if (!by)
        return {nullptr, refusal_step(replies_.pod_not_here, reason::pod_not_here)};
    if (by->kind == claim_kind::conflict)
        return {nullptr, refusal_step(replies_.address_conflict, reason::address_conflict)};
    const auto where = c.facts.what.where;
    if (is_imds(where) && where != route::imds_token)
        return identify_session(c, *by);
    if (settings_.identity != identity_mode::address && c.facts.has_authorization)
        return identify_token(c, *by);
    if (settings_.identity == identity_mode::token || settings_.identity == identity_mode::both)
        return {nullptr, refusal_step(is_imds(where) ? replies_.imds_missing_token : replies_.missing_token,
                                      reason::missing_token)};
    return identify_address(c, *by);
}

serving_core::identity serving_core::identify_session(const context& c, const claim& by) {
    const bool token_wanted =
        settings_.identity == identity_mode::token || settings_.identity == identity_mode::both;
    if (!c.facts.has_session && settings_.imds_v1 && !token_wanted)
        return identify_address(c, by);
    identity nobody{nullptr, refusal_step(replies_.bad_session, reason::bad_session)};
    const auto session = sessions_.check(c.facts.session, c.now);
    if (!session)
        return nobody;
    const auto found = view_->identity->by_uid.find(session->pod_uid);
    if (found == view_->identity->by_uid.end() || (token_wanted && !session->by_token))
        return nobody;
    const known_pod* pod = found->second.get();
    if (by.kind == claim_kind::owned)
        return by.owner == pod ? identity{pod, {}, {}} : nobody;
    // From an address that is no pod's: good only if it was a token that proved who it is, and that is
    // enough.
    const bool address_wanted =
        settings_.identity == identity_mode::address || settings_.identity == identity_mode::both;
    return session->by_token && !address_wanted ? identity{pod, {}, {}} : nobody;
}

serving_core::identity serving_core::identify_token(const context& c, const claim& by) {
    lack lacking;
    lacking.what = need::token;
    lacking.digest = hash_(c.facts.token);
    const auto* token = memory_.token(lacking.digest, c.now);
    if (token == nullptr) {
        if (!has_token_form(c.facts.token))
            return {nullptr, refusal_step(replies_.bad_token_form, reason::bad_token_form)};
        if (const auto why = refused(c, lacking))
            return {nullptr, refuse(c, *why)};
        return {nullptr, lacking_step(std::move(lacking))};
    }
    const auto found = view_->identity->by_uid.find(token->pod_uid);
    if (found == view_->identity->by_uid.end())
        return {nullptr, refusal_step(replies_.pod_not_here, reason::pod_not_here)};
    const known_pod* pod = found->second.get();
    if (!agrees(*token, *pod))
        return {nullptr, refusal_step(replies_.bad_token, reason::bad_token)};
    if (by.kind == claim_kind::owned && by.owner != pod)
        return {nullptr, refusal_step(replies_.identity_mismatch, reason::identity_mismatch, pod)};
    if (settings_.identity == identity_mode::both) {
        auto by_address = identify_address(c, by);
        if (by_address.pod == nullptr)
            return by_address;
    }
    if (pod->facts->mirror)
        return {nullptr, refusal_step(replies_.mirror_pod, reason::mirror_pod, pod)};
    return {pod, {}, token->expires};
}

serving_core::identity serving_core::identify_address(const context& c, const claim& by) const {
    switch (by.kind) {
    case claim_kind::owned:
        if (by.owner->facts->mirror)
            return {nullptr, refusal_step(replies_.mirror_pod, reason::mirror_pod, by.owner)};
        return {by.owner, {}};
    case claim_kind::host_network:
        return {nullptr, refusal_step(replies_.host_network, reason::host_network)};
    case claim_kind::conflict:
        return {nullptr, refusal_step(replies_.address_conflict, reason::address_conflict)};
    case claim_kind::none:
        // What this node sends to itself comes from the address it goes to, and there is no pod to wait for.
        if (view_->synced && c.from.peer == address_key(c.from.local))
            return {nullptr, refusal_step(replies_.host_network, reason::host_network)};
        break;
    }
    lack lacking;
    lacking.what = need::address;
    lacking.address = c.from.peer;
    if (const auto why = refused(c, lacking))
        return {nullptr, refuse(c, *why)};
    return {nullptr, lacking_step(std::move(lacking))};
}

// ---- what is asked for

step serving_core::answer_pod(const context& c, const identity& who) {
    const auto ok = [&](const reply_ptr& reply) {
        return reply ? step{reply, std::nullopt, {}, who.pod}
                     : refusal_step(replies_.imds_not_found, reason::unknown_path, who.pod);
    };
    switch (c.facts.what.where) {
    case route::imds_token: {
        // What a token proved is good for no longer than the token. SDKs want the lifetime they asked for
        // back; they get a 401 and come again.
        const std::chrono::seconds ttl(session_ttl(c.facts.ttl).value_or(1));
        auto expires = c.now + ttl;
        if (who.token_expires)
            expires = std::min(expires, *who.token_expires);
        return ok(render_session_token(
            sessions_.issue(who.pod->facts->uid, who.token_expires.has_value(), expires), ttl));
    }
    case route::imds_region:
        return ok(region_);
    case route::imds_zone:
        return ok(zone_);
    case route::imds_document: {
        if (!region_)
            return ok(nullptr);
        std::string account;
        if (who.pod->grants && !who.pod->grants->roles.empty())
            if (auto arn = sts::role_arn::parse(who.pod->grants->roles.front().spec->final_role_arn()))
                account = arn->account;
        return ok(render_identity_document(settings_.region, settings_.availability_zone, account,
                                           settings_.node_name, c.wall));
    }
    default:
        return answer_roles(c, *who.pod);
    }
}

step serving_core::answer_roles(const context& c, const known_pod& pod) const {
    const auto where = c.facts.what.where;
    if (!has_roles(pod)) {
        lack lacking;
        lacking.what = need::account;
        lacking.pod_uid = pod.facts->uid;
        if (const auto why = refused(c, lacking)) {
            auto refused = refuse(c, *why);
            refused.pod = &pod;
            return refused;
        }
        return lacking_step(std::move(lacking), &pod);
    }
    const entitlement& grants = *pod.grants;
    if (grants.what == entitlement::kind::misannotated) {
        const auto& reply = where == route::imds_role ? grants.problem_in_200
                            : is_imds(where)          ? grants.problem_forbidden
                                                      : grants.problem_reply;
        return refusal_step(reply, reason::bad_annotation, &pod);
    }
    const granted_role& main = grants.roles.front();
    switch (where) {
    case route::imds_list:
        return {grants.imds_list, std::nullopt, {}, &pod};
    case route::imds_info:
        return {render_imds_info(main.spec->final_role_arn(), c.wall), std::nullopt, {}, &pod};
    case route::ecs_credentials:
        return answer_credentials(c, pod, main);
    default:
        break;
    }
    for (const auto& role : grants.roles)
        if (role.name == c.facts.what.role)
            return answer_credentials(c, pod, role);
    return refusal_step(replies_.foreign_role, reason::foreign_role, &pod);
}

step serving_core::answer_credentials(const context& c, const known_pod& pod,
                                      const granted_role& role) const {
    const bool imds = is_imds(c.facts.what.where);
    if (!role.allowed)
        return refusal_step(imds ? replies_.imds_role_policy : replies_.role_policy, reason::role_policy,
                            &pod);
    const auto found = view_->replies->find(role.key);
    if (found != view_->replies->end()) {
        const ready_credentials& ready = *found->second;
        if (ready.usable(c.now))
            return {ready.reply, std::nullopt, {}, &pod};
        if (ready.denied(c.now))
            return denial_step(imds ? ready.denial_imds : ready.denial_ecs, &pod);
    }
    lack lacking;
    lacking.what = need::credentials;
    lacking.key = role.key;
    if (const auto why = refused(c, lacking)) {
        auto refused = refuse(c, *why);
        refused.pod = &pod;
        return refused;
    }
    return lacking_step(std::move(lacking), &pod);
}

// ---- what upstream refused

std::optional<refusal> serving_core::refused(const context& c, const lack& lacking) const {
    if (c.so_far != nullptr && c.so_far->last && c.so_far->last->about == lacking)
        return c.so_far->last->why;
    return memory_.refused(lacking, c.now);
}

step serving_core::refuse(const context& c, refusal why) const {
    switch (why) {
    case refusal::bad_token_form:
        return refusal_step(replies_.bad_token_form, reason::bad_token_form);
    case refusal::bad_token:
        return refusal_step(replies_.bad_token, reason::bad_token);
    case refusal::pod_not_here:
        return refusal_step(replies_.pod_not_here, reason::pod_not_here);
    case refusal::unknown_address:
        return refusal_step(replies_.unknown_address, reason::unknown_address);
    case refusal::no_role:
        return refusal_step(is_imds(c.facts.what.where) ? replies_.imds_not_found : replies_.no_role,
                            reason::no_role);
    case refusal::not_synced:
        return refusal_step(replies_.uninitialized, reason::not_synced);
    case refusal::throttled:
        return refusal_step(replies_.throttling, reason::unavailable);
    case refusal::unavailable:
        break;
    }
    return refusal_step(replies_.unavailable, reason::unavailable);
}

} // namespace credlet::metadata
