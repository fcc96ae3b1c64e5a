#include "daemon/options.hpp"

#include "daemon/configuration_file.hpp"
#include "daemon/settings.hpp"
#include "runtime/file.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <sstream>

namespace credlet::app {

namespace {

constexpr std::size_t max_configuration_bytes = 1024 * 1024;

// The texts a setting was given, and where.
struct given_values {
    std::vector<std::string> values;
    std::string where; // "--region", "the environment variable CREDLET_REGION", "'region' (line 3 of FILE)"
    bool foreign = false;
};
// By setting's name; what has precedence is in it first.
using all_given = std::map<std::string, given_values, std::less<>>;

std::vector<std::string> split_by_comma(const std::string& text) {
    std::vector<std::string> parts;
    std::istringstream in(text);
    for (std::string part; std::getline(in, part, ',');) {
        const auto first = part.find_first_not_of(' ');
        if (first != std::string::npos)
            parts.push_back(part.substr(first, part.find_last_not_of(' ') - first + 1));
    }
    return parts;
}

// Text from outside, for one line of an error message.
std::string one_line(std::string_view text) {
    std::string line(text);
    std::replace_if(
        line.begin(), line.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; },
        '?');
    return line;
}

// A URL may carry a password before its '@'; the message about it must not.
std::string without_user(const std::string& value) {
    const auto scheme = value.find("://");
    const auto at = value.rfind('@');
    if (scheme == std::string::npos || at == std::string::npos || at < scheme)
        return value;
    return value.substr(0, scheme + 3) + "..." + value.substr(at);
}

std::string quoted(const std::vector<std::string>& values) {
    std::string all;
    for (const auto& given : values) {
        const auto value = without_user(given);
        all.append(all.empty() ? "'" : ", '").append(one_line(value.substr(0, 200)));
        all.append(value.size() > 200 ? "...'" : "'");
    }
    return all;
}

std::optional<std::string> variable(const surroundings& around, const std::string& name) {
    auto value = around.environment(name);
    if (value && value->empty())
        return std::nullopt;
    return value;
}

// What CLI11 collects: texts alone, so that all checks are made in one place.
struct raw_arguments {
    std::map<std::string, std::vector<std::string>, std::less<>> settings;
    std::vector<std::string> config, namespace_name, pod, admin, output;
};

CLI::Option* collect(CLI::App& app, const std::string& name, std::vector<std::string>& into,
                     const std::string& shape, const std::string& help) {
    return app.add_option("--" + name, into, help)
        ->type_name(shape)
        ->type_size(1)
        ->expected(1)
        ->allow_extra_args(false) // what follows the value is not its
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

// Exactly one value for what can only have one.
result<std::optional<std::string>> single(const std::vector<std::string>& values, const std::string& name) {
    if (values.size() > 1)
        return fail(errc::malformed, "--" + name + " is given " + std::to_string(values.size()) +
                                         " times; it takes one value");
    return values.empty() ? std::nullopt : std::optional(values.front());
}

result<void> add_file(all_given& given, const std::string& path, const surroundings& around) {
    const auto text = around.read_file(path);
    if (!text)
        return in_context("configuration file", text.error());
    auto entries = parse_configuration(*text);
    if (!entries)
        return in_context("configuration file " + quoted({path}), entries.error());
    for (auto& entry : *entries) {
        const auto where = "line " + std::to_string(entry.line) + " of " + one_line(path);
        const auto& settings = all_settings();
        const auto known = std::find_if(settings.begin(), settings.end(),
                                        [&](const setting& s) { return s.name == entry.key; });
        if (known == settings.end())
            return fail(errc::malformed, where + ": there is no setting '" + entry.key +
                                             "'; credlet serve --help lists them, here without '--'");
        if (entry.values.empty())
            return fail(errc::malformed,
                        where + ": '" + entry.key + "' has no value; leave it out for the default");
        if (entry.values.size() > 1 && !known->repeatable)
            return fail(errc::malformed, where + ": '" + entry.key + "' takes one value");
        given.try_emplace(entry.key,
                          given_values{std::move(entry.values), "'" + entry.key + "' (" + where + ")"});
    }
    return {};
}

// Everything that was said, by precedence.
result<all_given> gather(raw_arguments& raw, const surroundings& around) {
    all_given given;
    for (auto& [name, values] : raw.settings)
        if (!values.empty())
            given.try_emplace(name, given_values{std::move(values), "--" + name});
    for (const auto& s : all_settings()) {
        if (auto value = variable(around, variable_of(s.name)))
            given.try_emplace(s.name,
                              given_values{s.repeatable ? split_by_comma(*value) : std::vector{*value},
                                           "the environment variable " + variable_of(s.name)});
    }
    auto config = single(raw.config, "config");
    if (!config)
        return config.error();
    if (!*config)
        *config = variable(around, "CREDLET_CONFIG");
    if (*config)
        if (auto added = add_file(given, **config, around); !added)
            return added.error();
    for (const auto& s : all_settings())
        for (const auto& foreign : s.foreign_variables)
            if (auto value = variable(around, foreign))
                given.try_emplace(s.name,
                                  given_values{{*value}, "the environment variable " + foreign, true});
    return given;
}

result<void> apply(options& o, const setting& s, const given_values& g) {
    if (g.values.empty())
        return fail(errc::malformed, g.where + " has no value");
    if (g.values.size() > 1 && !s.repeatable)
        return fail(errc::malformed,
                    g.where + " is given " + std::to_string(g.values.size()) + " times; it takes one value");
    if (const auto applied = s.apply(o, g.values); !applied)
        return fail(errc::malformed,
                    g.where + " is " + quoted(g.values) + "; it " + one_line(applied.error().message));
    return {};
}

// https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/ : KUBERNETES_SERVICE_HOST may be an
// IPv6 address, without brackets.
result<std::optional<origin>> api_inside_a_pod(const surroundings& around) {
    const auto host = variable(around, "KUBERNETES_SERVICE_HOST");
    if (!host)
        return std::nullopt;
    auto port = variable(around, "KUBERNETES_SERVICE_PORT_HTTPS");
    if (!port)
        port = variable(around, "KUBERNETES_SERVICE_PORT");
    const bool ipv6 = host->find(':') != std::string::npos;
    const std::string url = "https://" + (ipv6 ? "[" + *host + "]" : *host) + ":" + port.value_or("443");
    auto parsed_url = parse_https_url(url);
    if (!parsed_url)
        return fail(errc::malformed, "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT make " +
                                         quoted({url}) +
                                         ", which is no address of the Kubernetes API; set --kube-api");
    return std::optional(std::move(*parsed_url));
}

// What only makes sense together.
result<void> complete(options& o, const all_given& given, const surroundings& around) {
    if (std::find(o.listen.begin(), o.listen.end(), o.admin_listen) != o.listen.end() &&
        o.admin_listen.port() != 0)
        return fail(errc::malformed,
                    "--admin-listen is one of the addresses of --listen; pods must not reach the "
                    "admin endpoints, so take another port or a loopback address");
    if (o.max_connections_per_pod > o.max_connections)
        return fail(errc::malformed,
                    "--max-connections-per-pod (" + std::to_string(o.max_connections_per_pod) +
                        ") is above --max-connections (" + std::to_string(o.max_connections) + ")");
    if (o.region.empty())
        return fail(errc::malformed,
                    "--region is not set (nor CREDLET_REGION, AWS_REGION or AWS_DEFAULT_REGION); "
                    "STS is called in the region of the cluster, like us-east-1");
    if (!o.pods_file.empty()) {
        for (const auto* name : {"kube-api", "kube-token-file", "kube-ca-file", "token-source"})
            if (const auto found = given.find(name); found != given.end())
                return fail(errc::malformed, "--pods-file stands in place of Kubernetes, but " +
                                                 found->second.where + " is set too; take one of them away");
        return {};
    }
    if (!o.kube_api) {
        auto api = api_inside_a_pod(around);
        if (!api)
            return api.error();
        o.kube_api = std::move(*api);
    }
    if (!o.kube_api)
        return fail(errc::malformed,
                    "--kube-api is not set, and KUBERNETES_SERVICE_HOST is not either: outside of a "
                    "pod, say where the Kubernetes API is, or give a --pods-file");
    if (o.node_name.empty())
        return fail(errc::malformed,
                    "--node-name is not set (nor CREDLET_NODE_NAME or NODE_NAME); in a pod, take it "
                    "from the downward API's spec.nodeName");
    return {};
}

result<options> serve_options(raw_arguments& raw, const surroundings& around) {
    auto given = gather(raw, around);
    if (!given)
        return given.error();
    options o;
    for (const auto& s : all_settings())
        if (const auto found = given->find(s.name); found != given->end())
            if (auto applied = apply(o, s, found->second); !applied)
                return applied.error();
    if (auto completed = complete(o, *given, around); !completed)
        return completed.error();
    return o;
}

// A daemon that listens on every address is asked on loopback.
options::endpoint reachable(options::endpoint e) {
    if (e.address().is_unspecified())
        e.address(e.address().is_v6() ? asio::ip::address(asio::ip::address_v6::loopback())
                                      : asio::ip::address(asio::ip::address_v4::loopback()));
    return e;
}

result<explain_options> read_explain(raw_arguments& raw, const surroundings& around) {
    explain_options e;
    const auto take = [](const std::vector<std::string>& values, const std::string& name,
                         std::string& into) -> result<void> {
        auto value = single(values, name);
        if (!value)
            return value.error();
        const auto parsed_name = parse_dns_name(value->value_or(""));
        if (!parsed_name)
            return fail(errc::malformed, "--" + name + " is " + quoted({value->value_or("")}) + "; it " +
                                             parsed_name.error().message);
        into = *parsed_name;
        return {};
    };
    if (auto taken = take(raw.namespace_name, "namespace", e.namespace_name); !taken)
        return taken.error();
    if (auto taken = take(raw.pod, "pod", e.pod); !taken)
        return taken.error();

    auto output = single(raw.output, "output");
    if (!output)
        return output.error();
    static constexpr std::array<named_value<output_format>, 2> names{
        {{"text", output_format::text}, {"json", output_format::json}}};
    const auto format = parse_name<output_format>(output->value_or("text"), names);
    if (!format)
        return fail(errc::malformed, "--output is " + quoted({**output}) + "; it " + format.error().message);
    e.output = *format;

    // Where the daemon listens, if --admin does not say: by its own variable and file.
    const auto admin = single(raw.admin, "admin");
    if (!admin)
        return admin.error();
    options o;
    given_values where{{}, "--admin"};
    if (*admin) {
        where.values = {**admin};
    } else {
        auto given = gather(raw, around);
        if (!given)
            return given.error();
        if (const auto found = given->find("admin-listen"); found != given->end())
            where = found->second;
    }
    if (!where.values.empty()) {
        const auto& settings = all_settings();
        const auto setting_of_it = std::find_if(settings.begin(), settings.end(),
                                                [](const setting& s) { return s.name == "admin-listen"; });
        if (auto applied = apply(o, *setting_of_it, where); !applied)
            return applied.error();
    }
    e.admin = reachable(o.admin_listen);
    return e;
}

} // namespace

surroundings process_surroundings() {
    return {[](const std::string& name) -> std::optional<std::string> {
                const char* value =
                    std::getenv(name.c_str()); // NOLINT(concurrency-mt-unsafe): nothing sets variables
                return value == nullptr ? std::nullopt : std::optional<std::string>(value);
            },
            [](const std::string& path) { return read_file(path, max_configuration_bytes); }};
}

result<command_line> parse_command_line(std::span<const std::string> arguments, const surroundings& around) {
    raw_arguments raw;
    CLI::App app("Gives the pods of this node the AWS credentials of their service accounts' roles.",
                 "credlet");
    app.require_subcommand(1);
    const std::string config_help =
        "file with settings by their names, one 'name = value' a line (CREDLET_CONFIG)";

    auto* serve = app.add_subcommand("serve", "run the daemon");
    serve->footer("Durations are like 500ms, 5s, 2m or 1h. A flag has precedence over its environment "
                  "variable, and that "
                  "over the file.");
    collect(*serve, "config", raw.config, "FILE", config_help);
    for (const auto& s : all_settings()) {
        auto* option = collect(*serve, s.name, raw.settings[s.name], s.values + (s.repeatable ? " ..." : ""),
                               s.help + " (" + variable_of(s.name) + ")");
        if (s.is_switch)
            option->expected(0, 1)->default_str("true"); // without a value; an empty one is refused
    }

    auto* explain = app.add_subcommand("explain", "tell why a pod gets its credentials, or why not");
    collect(*explain, "namespace", raw.namespace_name, "NAME", "of the pod")->required();
    collect(*explain, "pod", raw.pod, "NAME", "of the pod")->required();
    collect(
        *explain, "admin", raw.admin, "ADDR:PORT",
        "the daemon's --admin-listen (default: by CREDLET_ADMIN_LISTEN and the file, else 127.0.0.1:9797)");
    collect(*explain, "output", raw.output, "text|json", "form of the answer (default text)");
    collect(*explain, "config", raw.config, "FILE", config_help);

    auto* version = app.add_subcommand("version", "print the version");

    // To CLI11 an empty value behind '=' is none, and a switch without a value is on.
    for (const auto& s : all_settings())
        if (s.is_switch &&
            std::find(arguments.begin(), arguments.end(), "--" + s.name + "=") != arguments.end())
            return fail(errc::malformed, "--" + s.name + " is ''; it must be true or false, or without '='");

    command_line line;
    try {
        app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    } catch (const CLI::Success&) {
        line.what = action::help;
        line.text = app.help();
        return line;
    } catch (const CLI::ParseError& e) {
        return fail(errc::malformed, one_line(e.what()) + "; see credlet --help, or --help behind a command");
    }
    if (version->parsed()) {
        line.what = action::version;
        line.text = "credlet " CREDLET_VERSION "\n";
    } else if (explain->parsed()) {
        line.what = action::explain;
        auto read = read_explain(raw, around);
        if (!read)
            return read.error();
        line.explain = std::move(*read);
    } else {
        line.what = action::serve;
        auto read = serve_options(raw, around);
        if (!read)
            return read.error();
        line.serve = std::move(*read);
    }
    return line;
}

} // namespace credlet::app
