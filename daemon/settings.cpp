#include "daemon/settings.hpp"

#include "sts/endpoint.hpp"

#include <algorithm>
#include <type_traits>

namespace credlet::app {

namespace {

using metadata::identity_mode;
using metadata::session_scope;
using metadata::kubernetes::token_source;
using namespace std::chrono_literals;

template <class T>
using reader = std::function<result<T>(std::string_view)>;

// A setting with one value. Member may also be an optional<T> or a duration that T converts to.
template <class T, class Member>
setting one(std::string name, std::string values, std::string help, Member options::* member, reader<T> read,
            std::vector<std::string> foreign = {}) {
    setting s{std::move(name), std::move(values), std::move(help), false, false, std::move(foreign), {}};
    s.apply = [member, read = std::move(read)](options& o,
                                               std::span<const std::string> given) -> result<void> {
        auto value = read(given.front());
        if (!value)
            return value.error();
        o.*member = std::move(*value);
        return {};
    };
    return s;
}

// A repeatable setting. What is given replaces the default.
template <class T>
setting many(std::string name, std::string values, std::string help, std::vector<T> options::* member,
             reader<T> read) {
    setting s{std::move(name), std::move(values), std::move(help), true, false, {}, {}};
    s.apply = [member, read = std::move(read)](options& o,
                                               std::span<const std::string> given) -> result<void> {
        std::vector<T> all;
        for (const auto& text : given) {
            auto value = read(text);
            if (!value)
                return value.error();
            if (std::find(all.begin(), all.end(), *value) != all.end())
                return fail(errc::malformed, "must not hold '" + text + "' twice");
            all.push_back(std::move(*value));
        }
        o.*member = std::move(all);
        return {};
    };
    return s;
}

setting on_off(std::string name, std::string help, bool options::* member,
               std::vector<std::string> foreign = {}) {
    auto s =
        one<bool>(std::move(name), "true|false", std::move(help), member, parse_bool, std::move(foreign));
    s.is_switch = true;
    return s;
}

template <class Enum, std::size_t N>
setting choice(std::string name, std::string help, Enum options::* member,
               const std::array<named_value<Enum>, N>& names, std::vector<std::string> foreign = {}) {
    std::string values;
    for (const auto& n : names)
        values.append(values.empty() ? "" : "|").append(n.name);
    reader<Enum> read = [names](std::string_view text) {
        return parse_name<Enum>(text, std::span<const named_value<Enum>>(names));
    };
    return one<Enum>(std::move(name), std::move(values), std::move(help), member, std::move(read),
                     std::move(foreign));
}

reader<double> number(double least, double most) {
    return [=](std::string_view text) { return parse_number(text, least, most); };
}
reader<std::size_t> count(std::size_t least, std::size_t most) {
    return [=](std::string_view text) { return parse_count(text, least, most); };
}
reader<std::string> word(std::size_t longest) {
    return [=](std::string_view text) { return parse_word(text, longest); };
}
reader<std::chrono::milliseconds> duration(std::chrono::milliseconds least, std::chrono::milliseconds most) {
    return [=](std::string_view text) { return parse_duration(text, least, most); };
}
result<std::chrono::seconds> token_lifetime(std::string_view text) {
    const auto d = parse_duration(text, 10min, 12h);
    if (!d)
        return d.error();
    return std::chrono::duration_cast<std::chrono::seconds>(*d);
}

// An override is more than any https URL: its path goes into signatures.
result<origin> sts_url(std::string_view text) {
    auto server = sts::parse_override(text);
    if (!server)
        return fail(errc::malformed, "must be an https:// URL of host, optional port and optional path (" +
                                         server.error().message + ")");
    return server;
}

constexpr std::array<named_value<identity_mode>, 4> identity_names{{{"any", identity_mode::any},
                                                                    {"token", identity_mode::token},
                                                                    {"address", identity_mode::address},
                                                                    {"both", identity_mode::both}}};
constexpr std::array<named_value<pod_choice>, 2> pod_choice_names{
    {{"all", pod_choice::all}, {"role", pod_choice::with_role}}};
constexpr std::array<named_value<token_source>, 5> token_source_names{
    {{"auto", token_source::automatic},
     {"caller", token_source::caller},
     {"impersonate", token_source::impersonate},
     {"request", token_source::request},
     {"projected", token_source::projected}}};
constexpr std::array<named_value<session_scope>, 2> scope_names{
    {{"service-account", session_scope::service_account}, {"pod", session_scope::pod}}};
constexpr std::array<named_value<regional_endpoints>, 2> regional_names{
    {{"regional", regional_endpoints::regional}, {"legacy", regional_endpoints::legacy}}};
constexpr std::array<named_value<log_level>, 4> level_names{{{"debug", log_level::debug},
                                                             {"info", log_level::info},
                                                             {"warn", log_level::warn},
                                                             {"error", log_level::error}}};
constexpr std::array<named_value<log_format>, 2> format_names{
    {{"json", log_format::json}, {"text", log_format::text}}};

std::vector<setting> make_settings() {
    using o = options;
    std::vector<setting> s;
    const auto path = [](std::string_view text) { return parse_path(text); };

    s.push_back(many<o::endpoint>("listen", "ADDR:PORT",
                                  "where pods ask (default 169.254.170.23:80; none with --pod-listen)",
                                  &o::listen, parse_endpoint));
    s.push_back(many<admin_address>("admin-listen", "ADDR:PORT|unix:/PATH",
                                    "metrics, health and explain (default 127.0.0.1:9797)", &o::admin_listen,
                                    parse_admin_address));
    s.push_back(many<o::endpoint>("metrics-listen", "ADDR:PORT", "metrics alone, for all who can reach it",
                                  &o::metrics_listen, parse_endpoint));
    s.push_back(many<std::string>("allowed-host", "HOST",
                                  "Host header accepted besides the addresses listened on", &o::allowed_hosts,
                                  parse_host));

    s.push_back(many<o::endpoint>("pod-listen", "ADDR:PORT",
                                  "loopback address inside of each pod's network namespace, where that pod "
                                  "asks",
                                  &o::pod_listen, parse_pod_endpoint));
    s.push_back(choice<pod_choice>("pod-listen-for",
                                   "role: only pods whose service account has a role (default all)",
                                   &o::pod_listen_for, pod_choice_names));
    s.push_back(one<std::size_t>("max-pod-namespaces", "N",
                                 "pods' network namespaces open at once (default 1024)",
                                 &o::max_pod_namespaces, count(1, 100'000)));
    s.push_back(
        one<std::string>("proc-dir", "DIR", "the node's processes (default /proc)", &o::proc_dir, path));
    s.push_back(one<std::string>("cgroup-dir", "DIR", "the node's control groups (default /sys/fs/cgroup)",
                                 &o::cgroup_dir, path));
    s.push_back(one<std::string>("netns-dir", "DIR",
                                 "where the runtime pins network namespaces (default /run/netns)",
                                 &o::netns_dir, path));

    s.push_back(one<std::string>("node-name", "NAME", "this node's name in Kubernetes", &o::node_name,
                                 parse_dns_name, {"NODE_NAME"}));
    s.push_back(one<origin>("kube-api", "URL", "the Kubernetes API (default: as inside a pod)", &o::kube_api,
                            parse_https_url));
    s.push_back(one<std::string>("kube-token-file", "FILE",
                                 "the daemon's own token (default: as inside a pod)", &o::kube_token_file,
                                 path));
    s.push_back(one<std::string>("kube-ca-file", "FILE",
                                 "CA of the Kubernetes API (default: as inside a pod)", &o::kube_ca_file,
                                 path));
    s.push_back(
        one<std::string>("kubelet-pods-dir", "DIR",
                         "the kubelet's pods, for --token-source projected (default /var/lib/kubelet/pods)",
                         &o::kubelet_pods_dir, path));
    s.push_back(one<std::string>("token-issuer", "ISSUER",
                                 "issuer of service-account tokens (default: asked of the API)",
                                 &o::token_issuer, word(1024)));
    s.push_back(one<std::string>("pods-file", "FILE", "a static pod map in place of Kubernetes",
                                 &o::pods_file, path));

    s.push_back(one<origin>("sts-endpoint", "URL", "STS (default: by region)", &o::sts_endpoint, sts_url,
                            {"AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"}));
    s.push_back(one<std::string>("sts-ca-file", "FILE", "CA bundle for STS (default: the system's)",
                                 &o::sts_ca_file, path));
    s.push_back(on_off("sts-fips", "use STS's FIPS endpoint", &o::sts_fips, {"AWS_USE_FIPS_ENDPOINT"}));
    s.push_back(on_off("sts-dualstack", "use STS's dual-stack endpoint", &o::sts_dualstack,
                       {"AWS_USE_DUALSTACK_ENDPOINT"}));
    s.push_back(choice<regional_endpoints>(
        "sts-regional-endpoints", "legacy: sts.amazonaws.com for the older regions (default regional)",
        &o::sts_regional_endpoints, regional_names, {"AWS_STS_REGIONAL_ENDPOINTS"}));
    s.push_back(one<std::string>("region", "REGION", "the AWS region", &o::region, parse_region,
                                 {"AWS_REGION", "AWS_DEFAULT_REGION"}));
    s.push_back(one<std::string>("availability-zone", "ZONE", "what IMDS clients are told",
                                 &o::availability_zone, parse_region));
    s.push_back(one<double>("sts-rate", "N", "calls to STS per second, sustained (default 20)", &o::sts_rate,
                            number(0.5, 1000)));
    s.push_back(one<double>("sts-burst", "N", "calls to STS at once after a pause (default 200)",
                            &o::sts_burst, number(1, 10000)));
    s.push_back(one<std::size_t>("sts-max-in-flight", "N", "calls to STS under way at once (default 16)",
                                 &o::sts_max_in_flight, count(1, 256)));

    s.push_back(choice<identity_mode>("identity", "which proofs of identity are accepted (default any)",
                                      &o::identity, identity_names));
    s.push_back(choice<token_source>("token-source", "where tokens for STS come from (default auto)",
                                     &o::token_source, token_source_names));
    s.push_back(one<std::chrono::seconds>("token-lifetime", "TIME",
                                          "lifetime of requested tokens, 10m to 12h (default 1h)",
                                          &o::token_lifetime, token_lifetime));
    s.push_back(one<std::string>(
        "audience", "AUD", "audience of tokens for STS where no annotation says (default sts.amazonaws.com)",
        &o::audience, word(256)));
    s.push_back(many<std::string>("caller-audience", "AUD",
                                  "audience accepted in callers' tokens besides that of STS",
                                  &o::caller_audiences, word(256)));
    s.push_back(
        many<std::string>("annotation-prefix", "PREFIX/",
                          "prefixes of annotations, in order (default credlet.io/, eks.amazonaws.com/)",
                          &o::annotation_prefixes, parse_annotation_prefix));
    s.push_back(one<std::string>("role-arn-base", "ARN/",
                                 "completes a bare role name: arn:aws:iam::123456789012:role/",
                                 &o::role_arn_base, parse_role_arn_base));
    s.push_back(one<std::string>("role-policy-file", "FILE", "JSON: which namespaces may use which roles",
                                 &o::role_policy_file, path));
    s.push_back(choice<session_scope>(
        "session-scope", "whether pods of a service account share a session (default service-account)",
        &o::session_scope, scope_names));
    s.push_back(on_off("imds-v1", "answer IMDS requests that carry no session token", &o::imds_v1));

    s.push_back(one<std::size_t>("max-connections", "N", "open connections of all pods (default 4096)",
                                 &o::max_connections, count(1, 1'000'000)));
    s.push_back(one<std::size_t>("max-connections-per-pod", "N", "open connections of one pod (default 64)",
                                 &o::max_connections_per_pod, count(1, 1'000'000)));
    s.push_back(one<double>("pod-request-rate", "N",
                            "requests per second of one pod, sustained (default 200)", &o::pod_request_rate,
                            number(0.1, 1e6)));
    s.push_back(one<double>("pod-request-burst", "N",
                            "requests of one pod at once after a pause (default 400)", &o::pod_request_burst,
                            number(1, 1e6)));
    s.push_back(one<std::chrono::milliseconds>("drain-timeout", "TIME",
                                               "time for requests under way at the end, 0 to 5m (default 5s)",
                                               &o::drain_timeout, duration(0ms, 5min)));

    s.push_back(choice<log_level>("log-level", "least level that is written (default info)",
                                  &o::lowest_log_level, level_names));
    s.push_back(choice<log_format>("log-format", "form of log lines (default json)", &o::logs, format_names));
    return s;
}

} // namespace

const std::vector<setting>& all_settings() {
    static const std::vector<setting> settings = make_settings();
    return settings;
}

std::string variable_of(std::string_view setting_name) {
    std::string name = "CREDLET_";
    for (const char c : setting_name)
        name.push_back(c == '-' ? '_' : c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c);
    return name;
}

} // namespace credlet::app
