#pragma once
// What the daemon is told: by flags, by environment variables, by a configuration file, in this order of
// precedence, and by its surroundings (AWS's and Kubernetes' own variables) where none of the three says
// anything.
//
// --name on the command line is CREDLET_NAME in the environment (upper case, '-' as '_'; values of repeatable
// settings are separated by commas) and `name` in the file. What only `credlet link` knows is
// CREDLET_LINK_NAME and so on. An empty variable counts as not set. Every value is checked, and an error
// names the setting, where it came from, the value, and what is allowed.

#include "daemon/admin_address.hpp"
#include "daemon/ask_command.hpp"
#include "metadata/kubernetes/kubernetes.hpp"
#include "metadata/service.hpp"
#include "runtime/error.hpp"
#include "runtime/https_client.hpp"
#include "runtime/log.hpp"

#include <boost/asio/ip/tcp.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace credlet::app {

// AWS_STS_REGIONAL_ENDPOINTS:
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-sts-regionalized-endpoints.html
enum class regional_endpoints { regional, legacy };

// Which pods get a listener of their own.
enum class pod_choice { all, with_role };

// Defaults stand here; options.cpp says what each means (and `credlet serve --help`).
struct options {
    using endpoint = asio::ip::tcp::endpoint;

    // Where pods ask, and where operators do.
    std::vector<endpoint> listen{{asio::ip::make_address_v4("169.254.170.23"), 80}}; // with pod_listen: none
    std::vector<admin_address> admin_listen{endpoint{asio::ip::address_v4::loopback(), 9797}};
    std::vector<endpoint> metrics_listen;
    std::vector<std::string> allowed_hosts;

    // Inside of the pods' own network namespaces.
    std::vector<endpoint> pod_listen; // loopback addresses
    pod_choice pod_listen_for = pod_choice::all;
    std::size_t max_pod_namespaces = 1024;
    std::string proc_dir = "/proc";
    std::string cgroup_dir = "/sys/fs/cgroup";
    std::string netns_dir = "/run/netns";

    // Kubernetes; or a file in its place.
    std::string node_name;
    std::optional<origin> kube_api; // none only with a pods file
    std::string kube_token_file = "/var/run/secrets/kubernetes.io/serviceaccount/token";
    std::string kube_ca_file = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
    std::string kubelet_pods_dir = "/var/lib/kubelet/pods";
    std::string token_issuer;
    std::string pods_file;

    // STS.
    std::optional<origin> sts_endpoint; // none: by region and partition
    std::string sts_ca_file;            // empty: the system's
    bool sts_fips = false;
    bool sts_dualstack = false;
    regional_endpoints sts_regional_endpoints = regional_endpoints::regional;
    std::string region;
    std::string availability_zone;
    double sts_rate = 20;
    double sts_burst = 200;
    std::size_t sts_max_in_flight = 16;

    // Who asks, with which token, for which role.
    metadata::identity_mode identity = metadata::identity_mode::any;
    metadata::kubernetes::token_source token_source = metadata::kubernetes::token_source::automatic;
    std::chrono::seconds token_lifetime{3600};
    std::string audience = "sts.amazonaws.com";
    std::vector<std::string> caller_audiences;
    std::vector<std::string> annotation_prefixes{"credlet.io/", "eks.amazonaws.com/"};
    std::string role_arn_base;
    std::string role_policy_file;
    metadata::session_scope session_scope = metadata::session_scope::service_account;
    bool imds_v1 = false;

    // Limits.
    std::size_t max_connections = 4096;
    std::size_t max_connections_per_pod = 64;
    double pod_request_rate = 200;
    double pod_request_burst = 400;
    std::chrono::milliseconds drain_timeout{5000};

    log_level lowest_log_level = log_level::info;
    log_format logs = log_format::json;
};

enum class output_format { text, json };

struct explain_options {
    std::string namespace_name;
    std::string pod;
    admin_address admin; // of the daemon that is asked
    output_format output = output_format::text;
};

enum class probed { healthz, readyz };

struct probe_options {
    probed what = probed::healthz;
    admin_address admin;
};

struct link_options {
    std::string name = "credlet0";
    std::vector<asio::ip::address> addresses; // at least one
};

enum class action { serve, ask, explain, probe, link, version, help };

struct command_line {
    action what = action::help;
    options serve;           // for action::serve
    ask_options ask;         // for action::ask
    explain_options explain; // for action::explain
    probe_options probe;     // for action::probe
    link_options link;       // for action::link
    std::string text;        // for version and help: what to print
};

// What the command line is completed from.
struct surroundings {
    std::function<std::optional<std::string>(const std::string& variable)> environment;
    std::function<result<std::string>(const std::string& path)> read_file;
};
// The process's own environment and files.
surroundings process_surroundings();

// arguments without the program's name. The error is for standard error; its kind is malformed, or what
// reading the configuration file failed with.
result<command_line> parse_command_line(std::span<const std::string> arguments, const surroundings& around);

} // namespace credlet::app
