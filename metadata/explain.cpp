#include "metadata/explain.hpp"

#include "metadata/replies.hpp"

#include <algorithm>

namespace credlet::metadata {

namespace {

explain_step good(std::string name, std::string detail) {
    return {std::move(name), true, true, std::move(detail), {}};
}
explain_step bad(std::string name, std::string detail, std::string advice) {
    return {std::move(name), false, true, std::move(detail), std::move(advice)};
}

std::string shown(const pod& p) {
    std::string text = p.namespace_name + "/" + p.name + " (uid " + p.uid + ", node " + p.node_name + ")";
    if (p.terminating)
        text += ", terminating";
    return text;
}

explain_step pod_step(const service_settings& settings, const explained_pod& p) {
    if (!p.found && !p.lookup_problem.empty())
        return bad(
            "pod",
            "it is not among the pods this node's watch shows, and the API server could not be asked: " +
                p.lookup_problem,
            "See the log for why the API server cannot be reached.");
    if (!p.found)
        return bad("pod", "there is no such pod", "Check the namespace and the name.");
    if (!p.here && p.found->node_name != settings.node_name)
        return bad("pod", shown(*p.found) + " runs on another node",
                   "Ask the credlet of node " +
                       (p.found->node_name.empty() ? "(not scheduled yet)" : p.found->node_name) + ".");
    if (!p.here)
        return bad("pod", shown(*p.found) + " has not arrived by the watch yet",
                   p.synced ? "The watch is behind; see credlet_watch_age_seconds."
                            : "The watches have not listed "
                              "yet; see the log.");
    if (p.found->terminal)
        return bad("pod", shown(*p.found) + " has ended (Succeeded or Failed)",
                   "Ended pods get no credentials.");
    if (p.found->mirror)
        return bad("pod", shown(*p.found) + " is a static pod",
                   "Static pods have no service-account token. Run it as "
                   "a DaemonSet instead.");
    return good("pod", shown(*p.found));
}

bool token_will_do(const service_settings& settings) {
    return settings.identity == identity_mode::any || settings.identity == identity_mode::token;
}

// Whether callers of this pod are told by its listener alone: it has one, or there is no other way to ask.
bool told_by_listener(const service_settings& settings, const explained_pod& p) {
    return p.listening && ((p.listening->state && p.listening->state->open) || !settings.listens_on_node);
}

explain_step address_step(const directory& pods, const service_settings& settings, const explained_pod& e) {
    const pod& p = *e.found;
    const bool by_listener = told_by_listener(settings, e);
    if (p.host_network) {
        const std::string detail =
            "it is on the host network, so its address is the node's and identifies nobody";
        if (token_will_do(settings))
            return good("address", detail + "; it must send its token");
        return settings.listens_on_node
                   ? bad("address", detail, "Let credlet identify it by token (--identity any or token).")
                   : good("address", detail); // the next step has more to say
    }
    if (p.addresses.empty())
        return settings.identity == identity_mode::token || by_listener
                   ? good("address", "none yet; not needed")
               : token_will_do(settings)
                   ? good("address", "none yet; as long as it has none, it must send its token")
                   : bad("address", "it has none yet", "The pod's sandbox is not up; see the pod's events.");
    std::string list;
    for (const auto& address : p.addresses) {
        const auto claim = pods.pods().claim(address_key(address));
        list += (list.empty() ? "" : ", ") + address.to_string();
        if (claim.kind == claim_kind::owned && claim.owner->uid == p.uid)
            continue;
        if (!by_listener)
            return bad(
                "address", address.to_string() + " is claimed by another live pod of this node as well",
                "Nobody is served from that address until one of them is gone: find the pods with it by "
                "`kubectl get pods -A --field-selector status.podIP=" +
                    address.to_string() + "`.");
        list += " (another live pod of this node has it as well; its own listener tells it apart)";
    }
    return good("address", list);
}

explain_step listener_step(const service_settings& settings, const explained_pod& p, bool has_role) {
    const auto& listening = *p.listening;
    if (p.found->host_network)
        return settings.listens_on_node
                   ? good("listener", "none: pods on the host network ask the node's")
                   : bad("listener",
                         "pods on the host network have none of their own, and the node has none either",
                         std::string("Let credlet listen on the node as well (--listen; the chart's "
                                     "listener.mode both)") +
                             (token_will_do(settings) ? ", and have the pod send its token."
                                                      : ", identify by token (--identity any or token), and "
                                                        "have the pod send its own."));
    if (!listening.state && listening.only_with_role && !has_role)
        return good("listener", "none: only pods that have a role have one");
    const auto state = listening.state.value_or(
        pod_listener_state{false, "not open yet: its network namespace is not known", {}});
    if (state.open)
        return good("listener", state.detail);
    return bad("listener", state.detail,
               (state.advice.empty() ? "Ask again in a few seconds." : state.advice) +
                   (settings.listens_on_node ? " Until then it can ask the node's listener." : ""));
}

} // namespace

std::vector<explain_step> explain_entitlement(const directory& pods, const service_settings& settings,
                                              const explained_pod& p) {
    std::vector<explain_step> steps{pod_step(settings, p)};
    if (!steps.back().ok)
        return steps;
    steps.push_back(address_step(pods, settings, p));
    if (!steps.back().ok)
        return steps;
    const auto known = pods.known(p.found->uid);
    if (p.listening) {
        steps.push_back(listener_step(settings, p, known && has_roles(*known)));
        if (!steps.back().ok)
            return steps;
    }

    const std::string account = p.found->namespace_name + "/" + p.found->service_account;
    const std::string first_prefix =
        settings.annotation_prefixes.empty() ? std::string() : settings.annotation_prefixes.front();
    const std::string annotate = "Annotate it: kubectl annotate serviceaccount -n " +
                                 p.found->namespace_name + " " + p.found->service_account + " " +
                                 first_prefix + "role-arn=arn:aws:iam::ACCOUNT:role/NAME";
    if (!known || !known->grants) {
        if (!p.account_problem.empty())
            steps.push_back(bad("service account",
                                account +
                                    (p.synced ? " is not among those that the watch shows"
                                              : " is not known: the watches have not listed yet") +
                                    ", and the API server could not be asked: " + p.account_problem,
                                "See the log for why the API server cannot be reached."));
        else
            steps.push_back(bad("service account",
                                account + " does not exist or has no annotation that credlet reads",
                                annotate));
        return steps;
    }
    steps.push_back(good("service account", account + " (uid " + known->grants->service_account_uid + ")"));

    const entitlement& grants = *known->grants;
    if (grants.what == entitlement::kind::misannotated) {
        steps.push_back(
            bad("role", grants.problem, "Correct the annotation of service account " + account + "."));
    } else if (grants.what == entitlement::kind::no_role) {
        steps.push_back(bad("role", account + " has no role-arn annotation", annotate));
    } else {
        const granted_role& role = grants.roles.front();
        std::string detail = role.spec->role_arn;
        if (!role.spec->target_role_arn.empty())
            detail += ", then " + role.spec->target_role_arn;
        steps.push_back(role.allowed
                            ? good("role", detail)
                            : bad("role", detail + " is not allowed for namespace " + p.found->namespace_name,
                                  "Allow it in the role policy file, or annotate another role."));
    }
    return steps;
}

std::vector<explain_step> explain_credentials(const sts::credential_spec& spec,
                                              const sts::lookup_result& found,
                                              const std::optional<sts::credential_service::last_call>& last,
                                              std::string_view issuer, wall_time wall) {
    std::vector<explain_step> steps;
    const auto problem = last ? last->problem : found.problem;
    const std::string subject = "system:serviceaccount:" + spec.namespace_name + ":" + spec.service_account;

    const bool token_failed = problem && problem->kind == sts::failure_kind::no_token;
    const auto still_good = [&](const std::string& what) {
        return what + " (" + problem->code + ": " + denial_message(*problem) +
               "), earlier credentials are still good";
    };
    if (found.state == sts::entry_state::absent) {
        steps.push_back(bad("token",
                            "credentials of " + spec.final_role_arn() + " are not wanted here any more",
                            "The pod has ended, or its annotations have changed: ask again."));
        return steps;
    }
    if (token_failed && !found.usable) {
        steps.push_back(
            bad("token", problem->code + ": " + problem->message,
                "credlet could not obtain a token of the service account; see --token-source and the "
                "rights of credlet's own service account."));
        return steps;
    }
    if (!last && !found.usable) {
        steps.push_back(bad("token", "no call was made yet",
                            "Many calls are queued, or STS throttles; see "
                            "credlet_sts_allowed_rate."));
        return steps;
    }
    std::string token = subject + ", audience " + spec.audience;
    if (token_failed)
        token += "; " + still_good("the last one could not be obtained");
    else if (last && !last->token_source.empty())
        token += ", by " + last->token_source;
    steps.push_back(good("token", std::move(token)));

    if (problem && !found.usable) {
        const std::string detail = problem->code + ": " + denial_message(*problem);
        const std::string issuer_name = issuer.empty() ? "the cluster's issuer" : std::string(issuer);
        std::string advice;
        switch (problem->kind) {
        case sts::failure_kind::denied:
        case sts::failure_kind::token_rejected:
            advice = "The trust policy of " + spec.role_arn +
                     " must allow sts:AssumeRoleWithWebIdentity to the "
                     "identity provider of issuer " +
                     issuer_name + ", with sub = " + subject + " and aud = " + spec.audience + ".";
            if (!spec.target_role_arn.empty())
                advice += " And the trust policy of " + spec.target_role_arn +
                          " must allow sts:AssumeRole to " + spec.role_arn +
                          (spec.external_id.empty() ? "" : " with external id " + spec.external_id) + ".";
            break;
        case sts::failure_kind::misconfigured:
            advice = "STS does not accept the request: correct the annotations of service account " +
                     spec.namespace_name + "/" + spec.service_account + ".";
            break;
        case sts::failure_kind::unusable:
            advice = "Check --region and --sts-endpoint: this region or partition cannot issue credentials "
                     "for the "
                     "role.";
            break;
        case sts::failure_kind::throttled:
            advice = "STS throttles this account; credlet tries again by itself.";
            break;
        default:
            advice = "credlet tries again by itself; if it lasts, check the way to STS (network, CA, DNS).";
            break;
        }
        steps.push_back(bad("sts", detail, advice));
        return steps;
    }
    steps.push_back(good("sts", problem && !token_failed ? still_good("the last renewal failed") : "issued"));
    if (!found.usable) {
        steps.push_back(bad("credentials", "none are usable now", "Ask again in a few seconds."));
        return steps;
    }
    if (!render_credentials(*found.usable)) {
        steps.push_back(bad("credentials", "they are too large for the AWS SDKs and are not served",
                            "Use fewer session tags or policies for " + spec.final_role_arn() + "."));
        return steps;
    }
    const auto left = std::chrono::floor<std::chrono::seconds>(found.usable->expiration - wall);
    steps.push_back(good("credentials", found.usable->assumed_role_arn + ", access key " +
                                            found.usable->access_key_id + ", until " +
                                            utc_seconds(found.usable->expiration) + " (" +
                                            std::to_string(left.count()) + " s)"));
    return steps;
}

std::vector<explain_step> completed(std::vector<explain_step> steps, bool with_listener) {
    std::size_t at = 0;
    for (const auto* name :
         {"pod", "address", "listener", "service account", "role", "token", "sts", "credentials"}) {
        if (name == std::string_view("listener") && !with_listener)
            continue;
        if (at++ == steps.size())
            steps.push_back({name, false, false, {}, {}});
    }
    return steps;
}

} // namespace credlet::metadata
