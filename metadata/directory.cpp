#include "metadata/directory.hpp"

#include "metadata/replies.hpp"
#include "metadata/role_annotations.hpp"
#include "metadata/role_policy.hpp"

#include <algorithm>

namespace credlet::metadata {

namespace {

// The version of a list; 0 if it is empty, or has none that is a number.
template <class Object>
std::uint64_t version_of(const std::vector<Object>& list) {
    std::uint64_t version = 0;
    for (const auto& object : list)
        version = std::max(version, object.version);
    return version;
}

std::string account_id(const std::string& namespace_name, const std::string& name) {
    return namespace_name + "/" + name;
}

// Whether nothing but the version is another: then nothing that is made of the object changes.
template <class Object>
bool same_facts(const Object& before, Object now) {
    now.version = before.version;
    return before == now;
}

std::vector<std::shared_ptr<const sts::credential_spec>> specs_of(const known_pod& p) {
    std::vector<std::shared_ptr<const sts::credential_spec>> specs;
    if (p.grants && !p.facts->mirror)
        for (const auto& role : p.grants->roles)
            if (role.allowed)
                specs.push_back(role.spec);
    return specs;
}

} // namespace

directory::directory(const service_settings& settings, random_source& random)
    : settings_(settings),
      random_(random) {}

// ---- feeds

void directory::pods_replaced(std::vector<pod> all) {
    for (auto& [t, l] : lookups_)
        l.pods_relisted = true;
    pods_ahead_.listed();
    std::set<std::string, std::less<>> gone;
    for (const auto& p : pods_.all())
        gone.insert(p->uid);
    const auto version = version_of(all);
    // The new ones first: credentials that a successor needs are not dropped and fetched again.
    for (auto& p : all) {
        gone.erase(p.uid);
        if (!pods_ahead_.outdated(p.uid, p.version))
            put_pod(std::move(p), !pods_listed_);
    }
    for (const auto& uid : gone)
        if (version == 0 || !pods_ahead_.newer_than(uid, version))
            drop_pod(uid);
    pods_listed_ = true;
}

void directory::pod_changed(pod p) {
    if (pods_ahead_.outdated(p.uid, p.version))
        return;
    touch(p.uid, p.version);
    put_pod(std::move(p), false);
}

void directory::pod_removed(const std::string& uid) {
    touch(uid, 0);
    pods_ahead_.forget(uid); // a uid does not come back
    drop_pod(uid);
}

void directory::accounts_replaced(std::vector<service_account> all) {
    for (auto& [t, l] : lookups_)
        l.accounts_relisted = true;
    accounts_ahead_.listed();
    std::set<account_name> gone;
    for (const auto& [name, entry] : accounts_)
        gone.insert(name);
    const auto version = version_of(all);
    for (auto& account : all) {
        const account_name name{account.namespace_name, account.name};
        gone.erase(name);
        if (!accounts_ahead_.outdated(name, account.version))
            put_account(std::move(account), !accounts_listed_);
    }
    for (const auto& name : gone)
        if (version == 0 || !accounts_ahead_.newer_than(name, version))
            drop_account(name);
    accounts_listed_ = true;
}

void directory::account_changed(service_account account) {
    const account_name name{account.namespace_name, account.name};
    if (accounts_ahead_.outdated(name, account.version))
        return;
    touch(account_id(account.namespace_name, account.name), account.version);
    put_account(std::move(account), false);
}

void directory::account_removed(const service_account& last_state) {
    const account_name name{last_state.namespace_name, last_state.name};
    // It may be of a namesake that was there before, or of a time before the annotations.
    if (accounts_ahead_.outdated(name, last_state.version))
        return;
    touch(account_id(last_state.namespace_name, last_state.name), last_state.version);
    drop_account(name);
}

directory::ticket directory::begin_lookup() {
    lookups_.emplace(next_ticket_, lookup());
    return next_ticket_++;
}

void directory::abandon(ticket t) { lookups_.erase(t); }

bool directory::adopt_pods(ticket t, std::vector<pod> found) {
    const auto asked = lookups_.extract(t);
    if (asked.empty() || asked.mapped().pods_relisted)
        return false;
    bool all = true;
    for (auto& p : found) {
        if (!asked.mapped().is_news(p.uid, p.version)) {
            all = false;
            continue;
        }
        pods_ahead_.brought(p.uid, p.version);
        touch(p.uid, p.version); // an event for the other questions under way
        put_pod(std::move(p), false);
    }
    return all;
}

bool directory::adopt_account(ticket t, const std::string& namespace_name, const std::string& name,
                              std::optional<service_account> found) {
    const auto asked = lookups_.extract(t);
    if (asked.empty() || asked.mapped().accounts_relisted ||
        !asked.mapped().is_news(account_id(namespace_name, name), found ? found->version : 0))
        return false;
    touch(account_id(namespace_name, name), found ? found->version : 0);
    if (found) {
        accounts_ahead_.brought({namespace_name, name}, found->version);
        put_account(std::move(*found), false);
    } else {
        drop_account({namespace_name, name});
    }
    return true;
}

void directory::touch(const std::string& what, std::uint64_t version) {
    const auto newest = version == 0 ? newer_than_any : version;
    for (auto& [t, l] : lookups_)
        if (const auto [at, first] = l.touched.try_emplace(what, newest); !first)
            at->second = std::max(at->second, newest);
}

bool directory::lookup::is_news(const std::string& what, std::uint64_t version) const {
    const auto found = touched.find(what);
    return found == touched.end() || found->second < version;
}

// ---- pods and what they are entitled to

void directory::put_pod(pod p, bool first_list) {
    const auto before = pods_.by_uid(p.uid);
    if (before && same_facts(*before, p))
        return;
    const std::string uid = p.uid;
    const account_name account{p.namespace_name, p.service_account};
    const bool terminal = p.terminal;
    if (before && account_name{before->namespace_name, before->service_account} != account)
        pods_of_[{before->namespace_name, before->service_account}].erase(uid);
    pods_.put(std::move(p));
    auto& entry = entries_[uid];
    if (!before)
        entry.first_list = first_list;
    pods_of_[account].insert(uid);
    if (terminal && (!before || !before->terminal))
        departed_.push_back(uid);
    refresh(uid);
    identities_changed_ = true;
}

void directory::drop_pod(const std::string& uid) {
    const auto p = pods_.by_uid(uid);
    if (!p)
        return;
    pods_.remove(uid);
    const auto entry = entries_.find(uid);
    keep(entry->second, {}, false);
    entries_.erase(entry);
    const auto of = pods_of_.find({p->namespace_name, p->service_account});
    of->second.erase(uid);
    if (of->second.empty()) {
        forget_unannotated(of->first);
        pods_of_.erase(of);
    }
    if (!p->terminal)
        departed_.push_back(uid);
    identities_changed_ = true;
}

void directory::put_account(service_account account, bool first_list) {
    const account_name name{account.namespace_name, account.name};
    auto& entry = accounts_[name];
    if (same_facts(entry.account, account))
        return;
    entry.account = std::move(account);
    entry.first_list = first_list;
    auto grants = entitle(entry.account, nullptr);
    entry.audience = grants->audience;
    entry.grants = settings_.scope == session_scope::service_account ? std::move(grants) : nullptr;
    audiences_.reset();
    refresh_pods_of(name);
}

void directory::drop_account(const account_name& name) {
    if (accounts_.erase(name) == 0)
        return;
    audiences_.reset();
    refresh_pods_of(name);
}

// One without annotations is known by a direct answer alone: the watch would never tell that it is gone.
void directory::forget_unannotated(const account_name& name) {
    const auto found = accounts_.find(name);
    if (found == accounts_.end() || !found->second.account.annotations.empty())
        return;
    accounts_.erase(found);
    accounts_ahead_.forget(name);
}

void directory::refresh_pods_of(const account_name& name) {
    const auto of = pods_of_.find(name);
    if (of == pods_of_.end())
        return;
    for (const auto& uid : of->second)
        refresh(uid);
    identities_changed_ = true;
}

// Brings a pod's entry up to date with the pod and its service account.
void directory::refresh(const std::string& uid) {
    auto& entry = entries_.at(uid);
    const auto p = pods_.by_uid(uid);
    if (p->terminal) {
        entry.known = nullptr;
        keep(entry, {}, false);
        return;
    }
    auto known = std::make_shared<known_pod>();
    known->facts = p;
    known->limit_key = string_hash()(uid);
    bool spread = false;
    if (const auto account = accounts_.find(account_name{p->namespace_name, p->service_account});
        account != accounts_.end()) {
        known->grants = settings_.scope == session_scope::pod ? entitle(account->second.account, p.get())
                                                              : account->second.grants;
        spread = entry.first_list && account->second.first_list;
    }
    keep(entry, specs_of(*known), spread);
    entry.known = std::move(known);
}

// Makes `wanted` what the pod keeps. Retains before it releases: what stays is not dropped in between.
void directory::keep(pod_entry& entry, std::vector<std::shared_ptr<const sts::credential_spec>> wanted,
                     bool spread) {
    for (const auto& spec : wanted) {
        if (++retained_[spec->key()] > 1)
            continue;
        const auto most = std::chrono::duration<double, std::nano>(settings_.initial_prefetch_spread).count();
        const auto delay = spread ? std::chrono::nanoseconds(static_cast<std::int64_t>(random_.unit() * most))
                                  : std::chrono::nanoseconds(0);
        retentions_.push_back({spec, delay, {}});
    }
    for (const auto& spec : entry.retained) {
        const auto found = retained_.find(spec->key());
        if (--found->second != 0)
            continue;
        retentions_.push_back({nullptr, {}, found->first});
        retained_.erase(found);
    }
    entry.retained = std::move(wanted);
}

// `only`: the pod, where sessions are per pod.
entitlement_ptr directory::entitle(const service_account& account, const pod* only) const {
    auto grants = std::make_shared<entitlement>();
    grants->service_account_uid = account.uid;
    grants->audience = settings_.audience;
    auto request = read_role_annotations(
        account.annotations, {settings_.annotation_prefixes, settings_.audience, settings_.role_arn_base});
    if (!request) {
        grants->what = entitlement::kind::misannotated;
        grants->problem = request.error().message;
        const auto message =
            "Service account " + account.namespace_name + "/" + account.name + ": " + request.error().message;
        grants->problem_reply = render_error(400, "InvalidAnnotation", message);
        grants->problem_in_200 = render_imds_denial("InvalidAnnotation", message);
        grants->problem_forbidden = render_error(403, "InvalidAnnotation", message);
        return grants;
    }
    if (!*request)
        return grants;
    role_request& wanted = **request;
    grants->what = entitlement::kind::granted;
    grants->audience = wanted.audience;
    const auto grant = [&](std::string role, std::string target) {
        sts::credential_spec spec;
        spec.service_account_uid = account.uid;
        spec.namespace_name = account.namespace_name;
        spec.service_account = account.name;
        if (only != nullptr)
            spec.pod_uid = only->uid;
        spec.session_name = sts::make_session_name(
            only != nullptr ? only->name
                            : account.namespace_name + "." + account.name + "." + settings_.node_name);
        spec.audience = wanted.audience;
        spec.duration = wanted.duration;
        spec.external_id = target.empty() ? std::string() : wanted.external_id;
        spec.role_arn = std::move(role);
        spec.target_role_arn = std::move(target);

        granted_role g;
        g.name = sts::role_arn::parse(spec.final_role_arn())->name; // the annotations were checked
        g.allowed = role_allowed(settings_.role_policy, account.namespace_name, spec.role_arn) &&
                    role_allowed(settings_.role_policy, account.namespace_name, spec.final_role_arn());
        g.key = spec.key();
        g.spec = std::make_shared<const sts::credential_spec>(std::move(spec));
        grants->roles.push_back(std::move(g));
    };
    grant(wanted.role_arn, wanted.target_role_arn);
    for (auto& arn : wanted.additional_role_arns)
        grant(std::move(arn), {});
    grants->imds_list = render_imds_role_list(grants->roles.front().name);
    return grants;
}

// ---- questions

const service_account* directory::account(std::string_view namespace_name, std::string_view name) const {
    const auto found = accounts_.find(account_name{namespace_name, name});
    return found == accounts_.end() ? nullptr : &found->second.account;
}

known_pod_ptr directory::known(std::string_view pod_uid) const {
    const auto found = entries_.find(pod_uid);
    return found == entries_.end() ? nullptr : found->second.known;
}

bool directory::accepts_audience(const known_pod& p, const std::vector<std::string>& audiences) const {
    return std::any_of(audiences.begin(), audiences.end(), [&](const std::string& audience) {
        return audience == settings_.audience || (p.grants && audience == p.grants->audience) ||
               std::find(settings_.caller_audiences.begin(), settings_.caller_audiences.end(), audience) !=
                   settings_.caller_audiences.end();
    });
}

const std::vector<std::string>& directory::accepted_audiences() {
    if (!audiences_) {
        std::set<std::string> audiences(settings_.caller_audiences.begin(), settings_.caller_audiences.end());
        audiences.insert(settings_.audience);
        for (const auto& [name, entry] : accounts_)
            audiences.insert(entry.audience);
        audiences_.emplace(audiences.begin(), audiences.end());
    }
    return *audiences_;
}

std::vector<pod> directory::live_pods(const std::string& service_account_uid,
                                      const std::string& pod_uid) const {
    std::vector<pod> found, terminating;
    const auto consider = [&](const std::string& uid) {
        const auto k = known(uid);
        if (k && !k->facts->mirror && k->grants && k->grants->service_account_uid == service_account_uid)
            (k->facts->terminating ? terminating : found).push_back(*k->facts);
    };
    if (!pod_uid.empty())
        consider(pod_uid);
    else
        for (const auto& [name, uids] : pods_of_) {
            const auto account = accounts_.find(name);
            if (account != accounts_.end() && account->second.account.uid == service_account_uid)
                std::for_each(uids.begin(), uids.end(), consider);
        }
    found.insert(found.end(), terminating.begin(), terminating.end());
    return found;
}

std::vector<listened_pod> directory::listened(bool only_with_role) const {
    std::vector<listened_pod> found;
    for (const auto& [uid, entry] : entries_) {
        if (!entry.known || (only_with_role && !has_roles(*entry.known)))
            continue;
        const pod& p = *entry.known->facts;
        if (!p.host_network && !p.mirror)
            found.push_back({uid, p.namespace_name, p.name, p.addresses});
    }
    return found;
}

std::shared_ptr<const identity_map> directory::identities() {
    auto map = std::make_shared<identity_map>();
    map->by_uid.reserve(entries_.size());
    for (const auto& [uid, entry] : entries_)
        if (entry.known)
            map->by_uid.emplace(uid, entry.known);
    for (const auto& address : pods_.addresses()) {
        const auto claim = pods_.claim(address);
        map->by_address.emplace(
            address, known_claim{claim.kind, claim.owner ? known(claim.owner->uid) : known_pod_ptr()});
    }
    identities_changed_ = false;
    return map;
}

std::vector<retention> directory::take_retentions() { return std::exchange(retentions_, {}); }
std::vector<std::string> directory::take_departed() { return std::exchange(departed_, {}); }

directory::counts directory::count() const {
    counts n;
    for (const auto& p : pods_.all()) {
        auto& state = p->terminal       ? n.terminal
                      : p->terminating  ? n.terminating
                      : p->host_network ? n.host_network
                                        : n.live;
        ++state;
    }
    return n;
}

} // namespace credlet::metadata
