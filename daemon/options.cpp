#include "daemon/options.hpp"

#include "daemon/given_settings.hpp"
#include "runtime/file.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdlib>

namespace credlet::app {

namespace {

constexpr std::size_t max_configuration_bytes = 1024 * 1024;

// What CLI11 collects: texts alone, so that all checks are made in one place.
struct raw_arguments : told_settings {
    std::vector<std::string> namespace_name, pod, admin, output; // explain, probe
    std::vector<std::string> what;                               // probe
    std::vector<std::string> expect, patience;                   // ask
    std::vector<std::string> name, address;                      // link
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

// Which callers come where is what addresses are for.
result<void> keep_listeners_apart(const options& o) {
    const auto among = [](const auto& addresses, const options::endpoint& e) {
        return e.port() != 0 && std::any_of(addresses.begin(), addresses.end(),
                                            [&e](const admin_address& a) { return a == admin_address(e); });
    };
    for (const auto& e : o.listen) {
        if (among(o.admin_listen, e))
            return fail(errc::malformed,
                        "--admin-listen is one of the addresses of --listen; pods must not reach the "
                        "admin endpoints, so take another port or a loopback address");
        if (among(o.metrics_listen, e))
            return fail(errc::malformed,
                        "--metrics-listen is one of the addresses of --listen; take another port");
    }
    for (const auto& e : o.metrics_listen)
        if (among(o.admin_listen, e))
            return fail(errc::malformed, "--metrics-listen is one of the addresses of --admin-listen, which "
                                         "has metrics already; take another port");
    return {};
}

// What is asked inside of pods is asked nowhere else, unless both are wanted.
result<void> choose_listeners(options& o, const all_given& given) {
    if (!o.pod_listen.empty()) {
        if (!given.contains("listen"))
            o.listen.clear();
        return {};
    }
    for (const auto* name : {"pod-listen-for", "max-pod-namespaces", "proc-dir", "cgroup-dir", "netns-dir"})
        if (const auto found = given.find(name); found != given.end())
            return fail(errc::malformed, found->second.where +
                                             " is set, but --pod-listen is not, and without it no "
                                             "listener is made in pods; set it, or take the other away");
    return {};
}

// What only makes sense together.
result<void> complete(options& o, const all_given& given, const surroundings& around) {
    if (auto chosen = choose_listeners(o, given); !chosen)
        return chosen.error();
    if (auto apart = keep_listeners_apart(o); !apart)
        return apart.error();
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
    auto given = gather_settings(raw, around);
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

// Where the daemon is asked: as --admin says, else where its own variable or file have it listen first.
result<admin_address> admin_of(raw_arguments& raw, const surroundings& around) {
    const auto admin = single(raw.admin, "admin");
    if (!admin)
        return admin.error();
    options o;
    given_values where{{}, "--admin"};
    if (*admin) {
        where.values = {**admin};
    } else {
        auto given = gather_settings(raw, around);
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
    return reachable(o.admin_listen.front());
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

    auto admin = admin_of(raw, around);
    if (!admin)
        return admin.error();
    e.admin = std::move(*admin);
    return e;
}

result<ask_options> read_ask(raw_arguments& raw, const surroundings& around) {
    ask_options a;
    const std::string uri_variable = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    const auto text = variable(around, uri_variable);
    if (!text)
        return fail(errc::malformed, uri_variable +
                                         " is not set; credlet ask takes from it where to ask, like "
                                         "http://169.254.170.23/v1/credentials");
    auto uri = parse_container_uri(*text);
    if (!uri)
        return fail(errc::malformed, "the environment variable " + uri_variable + " is " + quoted({*text}) +
                                         "; it " + uri.error().message);
    a.uri = std::move(*uri);
    a.token_file = variable(around, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").value_or("");

    static constexpr std::array<named_value<expected_answer>, 2> names{
        {{"credentials", expected_answer::credentials}, {"identity", expected_answer::identity}}};
    const auto expect = single(raw.expect, "expect");
    if (!expect)
        return expect.error();
    const auto expected = parse_name<expected_answer>(expect->value_or("credentials"), names);
    if (!expected)
        return fail(errc::malformed,
                    "--expect is " + quoted({**expect}) + "; it " + expected.error().message);
    a.expected = *expected;

    const auto patience = single(raw.patience, "for");
    if (!patience)
        return patience.error();
    if (*patience) {
        const auto time = parse_duration(**patience, std::chrono::milliseconds(0), std::chrono::hours(1));
        if (!time)
            return fail(errc::malformed, "--for is " + quoted({**patience}) + "; it " + time.error().message);
        a.patience = *time;
    }
    return a;
}

result<probe_options> read_probe(raw_arguments& raw, const surroundings& around) {
    static constexpr std::array<named_value<probed>, 2> names{
        {{"healthz", probed::healthz}, {"readyz", probed::readyz}}};
    if (raw.what.size() > 1)
        return fail(errc::malformed, "credlet probe asks one thing at a time");
    const auto what = parse_name<probed>(raw.what.front(), names);
    if (!what)
        return fail(errc::malformed, "what to probe is " + quoted(raw.what) + "; it " + what.error().message);
    auto admin = admin_of(raw, around);
    if (!admin)
        return admin.error();
    return probe_options{*what, std::move(*admin)};
}

// The flag, else its variable.
given_values given_to_link(std::vector<std::string>& values, const std::string& name,
                           const surroundings& around) {
    const auto of_link = variable_of("link-" + name);
    if (const auto value = values.empty() ? variable(around, of_link) : std::nullopt)
        return {split_by_comma(*value), "the environment variable " + of_link};
    return {std::move(values), "--" + name};
}

result<link_options> read_link(raw_arguments& raw, const surroundings& around) {
    link_options o;
    const auto wrong = [](const given_values& given, const std::string& value, const error& why) {
        return fail(errc::malformed, given.where + " is " + quoted({value}) + "; it " + why.message);
    };
    const auto names = given_to_link(raw.name, "name", around);
    if (names.values.size() > 1)
        return fail(errc::malformed, names.where + " is given more than once; it takes one value");
    for (const auto& text : names.values) {
        auto name = parse_link_name(text);
        if (!name)
            return wrong(names, text, name.error());
        o.name = std::move(*name);
    }
    const auto addresses = given_to_link(raw.address, "address", around);
    for (const auto& text : addresses.values) {
        const auto address = parse_link_address(text);
        if (!address)
            return wrong(addresses, text, address.error());
        if (std::find(o.addresses.begin(), o.addresses.end(), *address) == o.addresses.end())
            o.addresses.push_back(*address);
    }
    if (o.addresses.empty())
        return fail(errc::malformed,
                    "--address is not set (nor CREDLET_LINK_ADDRESS); it is the address that "
                    "credlet serve listens on, like 169.254.170.23/32");
    return o;
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
    const std::string admin_shape = "ADDR:PORT|unix:/PATH";
    const std::string admin_help =
        "the daemon's --admin-listen (default: the first of CREDLET_ADMIN_LISTEN or "
        "of the file, else 127.0.0.1:9797)";

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
    collect(*explain, "admin", raw.admin, admin_shape, admin_help);
    collect(*explain, "output", raw.output, "text|json", "form of the answer (default text)");
    collect(*explain, "config", raw.config, "FILE", config_help);

    auto* ask = app.add_subcommand("ask", "ask for credentials as an SDK in a pod does, and say what came");
    ask->footer(
        "AWS_CONTAINER_CREDENTIALS_FULL_URI says where to ask, and AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE, "
        "where it is set, with which token.");
    collect(*ask, "expect", raw.expect, "credentials|identity",
            "identity: that the service account has no role will do (default credentials)");
    collect(*ask, "for", raw.patience, "TIME",
            "how long to go on asking a daemon that does not answer yet (default 30s)");

    auto* probe = app.add_subcommand("probe", "ask the daemon whether it is healthy or ready");
    probe->add_option("what", raw.what, "what to ask")->required()->type_name("healthz|readyz");
    collect(*probe, "admin", raw.admin, admin_shape, admin_help);
    collect(*probe, "config", raw.config, "FILE", config_help);

    auto* link = app.add_subcommand("link", "put the addresses that pods ask on a link of this node");
    collect(*link, "name", raw.name, "NAME", "of the link (default credlet0) (CREDLET_LINK_NAME)");
    collect(*link, "address", raw.address, "ADDR/32|ADDR/128 ...",
            "an address of --listen, without its port (CREDLET_LINK_ADDRESS)");

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
    } else if (ask->parsed()) {
        line.what = action::ask;
        auto read = read_ask(raw, around);
        if (!read)
            return read.error();
        line.ask = std::move(*read);
    } else if (probe->parsed()) {
        line.what = action::probe;
        auto read = read_probe(raw, around);
        if (!read)
            return read.error();
        line.probe = std::move(*read);
    } else if (link->parsed()) {
        line.what = action::link;
        auto read = read_link(raw, around);
        if (!read)
            return read.error();
        line.link = std::move(*read);
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
