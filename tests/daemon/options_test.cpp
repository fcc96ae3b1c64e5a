#include "daemon/options.hpp"
#include "daemon/settings.hpp"

#include <doctest/doctest.h>

#include <map>
#include <set>

using namespace credlet;
using namespace credlet::app;
using namespace std::chrono_literals;

namespace {

struct fake_surroundings {
    std::map<std::string, std::string> variables{
        {"NODE_NAME", "node-1"}, {"AWS_REGION", "eu-west-1"}, {"KUBERNETES_SERVICE_HOST", "10.0.0.1"}};
    std::map<std::string, std::string> files;

    [[nodiscard]] surroundings get() const {
        return {[this](const std::string& name) {
                    const auto found = variables.find(name);
                    return found == variables.end() ? std::nullopt : std::optional(found->second);
                },
                [this](const std::string& path) -> result<std::string> {
                    const auto found = files.find(path);
                    if (found == files.end())
                        return fail(errc::not_found, "cannot open '" + path + "'");
                    return found->second;
                }};
    }
    [[nodiscard]] result<command_line> parse(std::vector<std::string> arguments) const {
        return parse_command_line(arguments, get());
    }
    [[nodiscard]] options serve(std::vector<std::string> arguments) const {
        arguments.insert(arguments.begin(), "serve");
        auto line = parse(std::move(arguments));
        REQUIRE_MESSAGE(line.has_value(), line.error().message);
        REQUIRE(line->what == action::serve);
        return line->serve;
    }
    [[nodiscard]] std::string refusal(std::vector<std::string> arguments) const {
        arguments.insert(arguments.begin(), "serve");
        const auto line = parse(std::move(arguments));
        REQUIRE(line.has_error());
        const auto message = line.error().message;
        CHECK(message.find('\n') == std::string::npos);
        return message;
    }
};

bool holds(const std::string& text, const std::string& part) {
    const bool found = text.find(part) != std::string::npos;
    if (!found)
        MESSAGE("'" << text << "' does not hold '" << part << "'");
    return found;
}

options::endpoint at(const char* address, std::uint16_t port) {
    return {asio::ip::make_address(address), port};
}

} // namespace

TEST_CASE("inside a pod nothing but the node's name and the region must be said") {
    const auto o = fake_surroundings{}.serve({});
    CHECK(o.listen == std::vector{at("169.254.170.23", 80)});
    CHECK(o.pod_listen.empty());
    CHECK(o.metrics_listen.empty());
    CHECK(o.admin_listen == std::vector<admin_address>{at("127.0.0.1", 9797)});
    CHECK(o.node_name == "node-1");
    REQUIRE(o.kube_api);
    CHECK(o.kube_api->host == "10.0.0.1");
    CHECK(o.kube_api->port == 443);
    CHECK(o.kube_token_file == "/var/run/secrets/kubernetes.io/serviceaccount/token");
    CHECK(o.region == "eu-west-1");
    CHECK_FALSE(o.sts_endpoint);
    CHECK(o.identity == metadata::identity_mode::any);
    CHECK(o.annotation_prefixes == std::vector<std::string>{"credlet.io/", "eks.amazonaws.com/"});
    CHECK(o.drain_timeout == 5s);
}

TEST_CASE("every flag is taken") {
    const auto o = fake_surroundings{}.serve({"--listen",
                                              "127.0.0.1:8080",
                                              "--listen=[::1]:0",
                                              "--admin-listen",
                                              "[::]:9000",
                                              "--admin-listen=unix:/run/credlet/admin.sock",
                                              "--metrics-listen",
                                              "0.0.0.0:9798",
                                              "--allowed-host",
                                              "credlet.internal",
                                              "--pod-listen",
                                              "127.0.0.1:9799",
                                              "--pod-listen=[::1]:9799",
                                              "--pod-listen-for",
                                              "role",
                                              "--max-pod-namespaces",
                                              "300",
                                              "--proc-dir",
                                              "/host/proc",
                                              "--cgroup-dir",
                                              "/host/sys/fs/cgroup",
                                              "--netns-dir",
                                              "/host/run/netns",
                                              "--node-name",
                                              "other",
                                              "--kube-api",
                                              "https://api.example:6443",
                                              "--kube-token-file",
                                              "/t",
                                              "--kube-ca-file",
                                              "/c",
                                              "--kubelet-pods-dir",
                                              "/pods",
                                              "--token-issuer",
                                              "https://issuer.example",
                                              "--sts-endpoint",
                                              "https://localhost:9443",
                                              "--sts-ca-file",
                                              "/sts.pem",
                                              "--sts-fips",
                                              "--sts-dualstack=true",
                                              "--sts-regional-endpoints",
                                              "legacy",
                                              "--region",
                                              "us-gov-west-1",
                                              "--availability-zone",
                                              "us-gov-west-1a",
                                              "--sts-rate",
                                              "2.5",
                                              "--sts-burst",
                                              "10",
                                              "--sts-max-in-flight",
                                              "4",
                                              "--identity",
                                              "both",
                                              "--token-source",
                                              "projected",
                                              "--token-lifetime",
                                              "20m",
                                              "--audience",
                                              "aud",
                                              "--caller-audience",
                                              "a",
                                              "--caller-audience",
                                              "b",
                                              "--annotation-prefix",
                                              "example.com",
                                              "--role-arn-base",
                                              "arn:aws:iam::123456789012:role/team/",
                                              "--role-policy-file",
                                              "/policy.json",
                                              "--session-scope",
                                              "pod",
                                              "--imds-v1",
                                              "--max-connections",
                                              "100",
                                              "--max-connections-per-pod",
                                              "10",
                                              "--pod-request-rate",
                                              "5",
                                              "--pod-request-burst",
                                              "50",
                                              "--drain-timeout",
                                              "1500ms",
                                              "--log-level",
                                              "debug",
                                              "--log-format",
                                              "text"});
    CHECK(o.listen == std::vector{at("127.0.0.1", 8080), at("::1", 0)});
    CHECK(o.admin_listen == std::vector<admin_address>{at("::", 9000), unix_path{"/run/credlet/admin.sock"}});
    CHECK(o.metrics_listen == std::vector{at("0.0.0.0", 9798)});
    CHECK(o.allowed_hosts == std::vector<std::string>{"credlet.internal"});
    CHECK(o.pod_listen == std::vector{at("127.0.0.1", 9799), at("::1", 9799)});
    CHECK(o.pod_listen_for == pod_choice::with_role);
    CHECK(o.max_pod_namespaces == 300);
    CHECK(o.proc_dir == "/host/proc");
    CHECK(o.cgroup_dir == "/host/sys/fs/cgroup");
    CHECK(o.netns_dir == "/host/run/netns");
    CHECK(o.node_name == "other");
    CHECK(o.kube_api->port == 6443);
    CHECK(o.kube_token_file == "/t");
    CHECK(o.kube_ca_file == "/c");
    CHECK(o.kubelet_pods_dir == "/pods");
    CHECK(o.token_issuer == "https://issuer.example");
    CHECK(o.sts_endpoint->host == "localhost");
    CHECK(o.sts_endpoint->port == 9443);
    CHECK(o.sts_ca_file == "/sts.pem");
    CHECK(o.sts_fips);
    CHECK(o.sts_dualstack);
    CHECK(o.sts_regional_endpoints == regional_endpoints::legacy);
    CHECK(o.region == "us-gov-west-1");
    CHECK(o.availability_zone == "us-gov-west-1a");
    CHECK(o.sts_rate == 2.5);
    CHECK(o.sts_burst == 10);
    CHECK(o.sts_max_in_flight == 4);
    CHECK(o.identity == metadata::identity_mode::both);
    CHECK(o.token_source == metadata::kubernetes::token_source::projected);
    CHECK(o.token_lifetime == 20min);
    CHECK(o.audience == "aud");
    CHECK(o.caller_audiences == std::vector<std::string>{"a", "b"});
    CHECK(o.annotation_prefixes == std::vector<std::string>{"example.com/"});
    CHECK(o.role_arn_base == "arn:aws:iam::123456789012:role/team/");
    CHECK(o.role_policy_file == "/policy.json");
    CHECK(o.session_scope == metadata::session_scope::pod);
    CHECK(o.imds_v1);
    CHECK(o.max_connections == 100);
    CHECK(o.max_connections_per_pod == 10);
    CHECK(o.pod_request_rate == 5);
    CHECK(o.pod_request_burst == 50);
    CHECK(o.drain_timeout == 1500ms);
    CHECK(o.lowest_log_level == log_level::debug);
    CHECK(o.logs == log_format::text);
}

TEST_CASE("a flag precedes its variable, that the file, that AWS's own variable") {
    fake_surroundings s;
    CHECK(s.serve({}).region == "eu-west-1");
    s.files["/c"] = "region = \"us-east-1\"";
    CHECK(s.serve({"--config", "/c"}).region == "us-east-1");
    s.variables["CREDLET_REGION"] = "us-east-2";
    CHECK(s.serve({"--config", "/c"}).region == "us-east-2");
    CHECK(s.serve({"--config", "/c", "--region", "us-west-1"}).region == "us-west-1");
    s.variables["CREDLET_REGION"] = ""; // as templates leave it
    s.variables["CREDLET_CONFIG"] = "/c";
    CHECK(s.serve({}).region == "us-east-1");
}

TEST_CASE("the AWS SDKs' variables are honoured") {
    fake_surroundings s;
    s.variables["AWS_ENDPOINT_URL"] = "https://everything.example";
    s.variables["AWS_USE_FIPS_ENDPOINT"] = "true";
    s.variables["AWS_USE_DUALSTACK_ENDPOINT"] = "True";
    s.variables["AWS_STS_REGIONAL_ENDPOINTS"] = "legacy";
    s.variables["AWS_DEFAULT_REGION"] = "ap-south-1";
    const auto o = s.serve({"--sts-fips=false"});
    CHECK(o.sts_endpoint->host == "everything.example");
    CHECK_FALSE(o.sts_fips);
    CHECK(o.sts_dualstack);
    CHECK(o.sts_regional_endpoints == regional_endpoints::legacy);
    CHECK(o.region == "eu-west-1");
    s.variables["AWS_ENDPOINT_URL_STS"] = "https://sts.example";
    s.variables.erase("AWS_REGION");
    CHECK(s.serve({}).sts_endpoint->host == "sts.example");
    CHECK(s.serve({}).region == "ap-south-1");
}

TEST_CASE("the Kubernetes API inside a pod may have an IPv6 address") {
    fake_surroundings s;
    s.variables["KUBERNETES_SERVICE_HOST"] = "fd00::1";
    s.variables["KUBERNETES_SERVICE_PORT"] = "6443";
    CHECK(s.serve({}).kube_api->host == "fd00::1");
    CHECK(s.serve({}).kube_api->port == 6443);
    s.variables["KUBERNETES_SERVICE_PORT_HTTPS"] = "7443";
    CHECK(s.serve({}).kube_api->port == 7443);
}

TEST_CASE("repeatable settings are lists in the file and separated by commas in the environment") {
    fake_surroundings s;
    s.variables["CREDLET_LISTEN"] = "127.0.0.1:1, 127.0.0.1:2";
    CHECK(s.serve({}).listen == std::vector{at("127.0.0.1", 1), at("127.0.0.1", 2)});
    s.variables.erase("CREDLET_LISTEN");
    s.files["/c"] = "listen = [\"127.0.0.1:3\", '[::1]:4', ] # both\n";
    CHECK(s.serve({"--config", "/c"}).listen == std::vector{at("127.0.0.1", 3), at("::1", 4)});
}

TEST_CASE("a bad value is refused with the setting, where it came from, the value and what is allowed") {
    fake_surroundings s;
    auto text = s.refusal({"--listen", "8080"});
    CHECK(holds(text, "--listen is '8080'"));
    CHECK(holds(text, "ADDRESS:PORT"));
    s.variables["CREDLET_STS_ENDPOINT"] = "http://sts.example";
    text = s.refusal({});
    CHECK(holds(text, "CREDLET_STS_ENDPOINT is 'http://sts.example'"));
    CHECK(holds(text, "https://"));
    s.variables.erase("CREDLET_STS_ENDPOINT");
    s.files["/c"] = "\n\nidentity = guess\n";
    text = s.refusal({"--config", "/c"});
    CHECK(holds(text, "'identity' (line 3 of /c) is 'guess'"));
    CHECK(holds(text, "must be one of any, token, address, both"));
}

TEST_CASE("every value out of bounds is refused") {
    const fake_surroundings s;
    const std::vector<std::pair<std::string, std::vector<std::string>>> bad{
        {"listen",
         {"", "127.0.0.1", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:", "::1:80", "[127.0.0.1]:80",
          "localhost:80", "127.0.0.1:8x", "[::1]80"}},
        {"admin-listen", {":80", "1.2.3:80", "unix:admin", "/run/admin"}},
        {"metrics-listen", {"9798", "unix:/run/metrics"}},
        {"pod-listen",
         {"", "9799", "127.0.0.1", "127.0.0.1:0", "[::1]:0", "0.0.0.0:9799", "[::]:9799", "169.254.170.23:80",
          "10.0.0.1:9799", "[::ffff:127.0.0.1]:9799", "[::1%1]:9799", "localhost:9799"}},
        {"pod-listen-for", {"none", "ALL"}},
        {"max-pod-namespaces", {"0", "100001", "x"}},
        {"proc-dir", {""}},
        {"node-name", {"Node", "a b", "-a", "a..b", "a.", std::string(254, 'a')}},
        {"kube-api", {"http://10.0.0.1", "10.0.0.1", "https://", "https://user:pw@host"}},
        {"sts-endpoint", {"http://sts.us-east-1.amazonaws.com", "https://host?x=1", "https://host/a/../b"}},
        {"region", {"US-EAST-1", "us east", "-", "us-east-1/../x", std::string(64, 'a')}},
        {"sts-rate", {"0", "-1", "nan", "inf", "1e9", "x", "1x", ""}},
        {"sts-burst", {"0"}},
        {"sts-max-in-flight", {"0", "257", "1.5", "-1"}},
        {"identity", {"", "ANY", "anything"}},
        {"token-source", {"automatic"}},
        {"token-lifetime", {"599s", "13h", "10"}},
        {"audience", {"two words", std::string(257, 'a'), "tab\t"}},
        {"annotation-prefix", {"/", "Upper.example/", "a/b/"}},
        {"role-arn-base",
         {"arn:aws:iam::1:role/", "arn:aws:iam::123456789012:role", "role/",
          "arn:aws:iam::123456789012:user/"}},
        {"session-scope", {"node"}},
        {"imds-v1", {"maybe", ""}},
        {"max-connections", {"0", "1000001"}},
        {"pod-request-rate", {"0"}},
        {"drain-timeout", {"6m", "-1s", "5 s", "s", "1d"}},
        {"log-level", {"trace"}},
        {"log-format", {"xml"}},
        {"allowed-host", {"a b", "a/b", ""}},
        {"kube-token-file", {""}},
    };
    for (const auto& [name, values] : bad)
        for (const auto& value : values) {
            CAPTURE(name);
            CAPTURE(value);
            CHECK(holds(s.refusal({"--" + name + "=" + value}), name));
        }
}

TEST_CASE("an error message stays on one line and short whatever the value is") {
    fake_surroundings s;
    s.variables["CREDLET_REGION"] = "a\nb\x1b" + std::string(5000, 'x');
    const auto text = s.refusal({});
    CHECK(text.size() < 500);
    CHECK(text.find('\x1b') == std::string::npos);
}

TEST_CASE("a switch without a value is on; with an empty one it is refused") {
    const fake_surroundings s;
    CHECK(s.serve({"--imds-v1"}).imds_v1);
    CHECK(s.serve({"--imds-v1", "--sts-fips", "false"}).imds_v1);
    CHECK(holds(s.refusal({"--imds-v1", ""}), "--imds-v1 is ''"));
}

TEST_CASE("T36: a password in a URL is not repeated in the message about it") {
    fake_surroundings s;
    const auto text = s.refusal({"--sts-endpoint", "https://user:s3cret@sts.example"});
    CHECK(holds(text, "user information has no place here"));
    CHECK(text.find("s3cret") == std::string::npos);
    s.variables["AWS_ENDPOINT_URL"] = "https://user:s3cret@sts.example/?x";
    CHECK(s.refusal({}).find("s3cret") == std::string::npos);
}

TEST_CASE("a word behind a setting's value is not swallowed") {
    const fake_surroundings s;
    CHECK(holds(s.refusal({"--admin-listen", "127.0.0.1:1", "stray"}), "stray"));
    CHECK(holds(s.refusal({"--listen", "127.0.0.1:1", "stray"}), "stray"));
}

TEST_CASE("a setting given twice is refused, and so is a repeated value") {
    const fake_surroundings s;
    CHECK(holds(s.refusal({"--region", "us-east-1", "--region", "us-east-2"}), "--region is given 2 times"));
    CHECK(holds(s.refusal({"--listen", "127.0.0.1:80", "--listen", "127.0.0.1:80"}), "twice"));
}

TEST_CASE("what only makes sense together is checked together") {
    fake_surroundings s;
    CHECK(holds(s.refusal({"--listen", "127.0.0.1:9797"}), "--admin-listen is one of the addresses"));
    CHECK(holds(s.refusal({"--listen", "127.0.0.1:80", "--admin-listen", "unix:/a", "--admin-listen",
                           "127.0.0.1:80"}),
                "--admin-listen is one of the addresses"));
    CHECK(holds(s.refusal({"--listen", "127.0.0.1:80", "--metrics-listen", "127.0.0.1:80"}),
                "--metrics-listen is one of the addresses of --listen"));
    CHECK(holds(s.refusal({"--metrics-listen", "127.0.0.1:9797"}),
                "--metrics-listen is one of the addresses of --admin-listen"));
    CHECK(holds(s.refusal({"--max-connections", "10"}), "--max-connections-per-pod (64) is above"));
    s.variables.erase("NODE_NAME");
    CHECK(holds(s.refusal({}), "--node-name is not set"));
    s.variables.erase("KUBERNETES_SERVICE_HOST");
    CHECK(holds(s.refusal({}), "--kube-api is not set"));
    s.variables.erase("AWS_REGION");
    CHECK(holds(s.refusal({}), "--region is not set"));
    CHECK(s.serve({"--pods-file", "/pods.json", "--region", "us-east-1"}).pods_file == "/pods.json");
    CHECK(holds(s.refusal({"--pods-file", "/p", "--kube-api", "https://k", "--region", "us-east-1"}),
                "--kube-api is set too"));
}

TEST_CASE("with a listener in each pod there is none on the node, unless that is wanted too") {
    fake_surroundings s;
    auto o = s.serve({"--pod-listen", "127.0.0.1:9799"});
    CHECK(o.pod_listen == std::vector{at("127.0.0.1", 9799)});
    CHECK(o.listen.empty());
    CHECK(o.pod_listen_for == pod_choice::all);
    CHECK(o.max_pod_namespaces == 1024);
    o = s.serve({"--pod-listen", "127.0.0.1:9799", "--listen", "169.254.170.23:80"});
    CHECK(o.listen == std::vector{at("169.254.170.23", 80)});
    s.variables["CREDLET_POD_LISTEN"] = "127.0.0.1:9799,[::1]:9799";
    o = s.serve({});
    CHECK(o.pod_listen == std::vector{at("127.0.0.1", 9799), at("::1", 9799)});
    CHECK(o.listen.empty());
}

TEST_CASE("a listener in pods may have the address of one on the node: it is in another namespace") {
    const fake_surroundings s;
    CHECK(s.serve({"--pod-listen", "127.0.0.1:9797", "--admin-listen", "127.0.0.1:9797"}).pod_listen.size() ==
          1);
    CHECK(s.serve({"--pod-listen", "127.0.0.1:80", "--listen", "127.0.0.1:80", "--metrics-listen",
                   "127.0.0.1:81"})
              .listen.size() == 1);
    CHECK(
        s.serve({"--pod-listen", "127.0.0.1:9798", "--metrics-listen", "127.0.0.1:9798"}).pod_listen.size() ==
        1);
    CHECK(s.serve({"--pod-listen", "127.0.0.1:9799", "--pods-file", "/p"}).pod_listen.size() == 1);
    CHECK(holds(s.refusal({"--pod-listen", "[::1]:9799", "--pod-listen", "[0::1]:9799"}), "twice"));
}

TEST_CASE("what is said of listeners in pods without --pod-listen is refused") {
    fake_surroundings s;
    for (const auto& [name, value] : std::map<std::string, std::string>{{"pod-listen-for", "role"},
                                                                        {"max-pod-namespaces", "10"},
                                                                        {"proc-dir", "/host/proc"},
                                                                        {"cgroup-dir", "/host/sys/fs/cgroup"},
                                                                        {"netns-dir", "/host/run/netns"}}) {
        CHECK(holds(s.refusal({"--" + name, value}), "--" + name + " is set, but --pod-listen is not"));
        CHECK(s.parse({"serve", "--pod-listen", "127.0.0.1:9799", "--" + name, value}).has_value());
    }
    s.variables["CREDLET_POD_LISTEN_FOR"] = "role";
    CHECK(holds(s.refusal({}), "CREDLET_POD_LISTEN_FOR is set, but --pod-listen is not"));
}

TEST_CASE("a configuration file with an unknown setting, several values for one, or no end is refused") {
    fake_surroundings s;
    const auto refused = [&](const std::string& text) {
        s.files["/c"] = text;
        return s.refusal({"--config", "/c"});
    };
    CHECK(holds(refused("regoin = \"us-east-1\""), "no setting 'regoin'"));
    CHECK(holds(refused("region = [\"us-east-1\", \"us-east-2\"]"), "takes one value"));
    CHECK(holds(refused("listen = []"), "has no value"));
    CHECK(holds(refused("region = \"us-east-1"), "has no end"));
    CHECK(holds(s.refusal({"--config", "/missing"}), "cannot open '/missing'"));
    CHECK(holds(s.refusal({"--config", "/c", "--config", "/d"}), "--config is given 2 times"));
}

TEST_CASE("explain asks the daemon where it listens") {
    fake_surroundings s;
    auto line = s.parse({"explain", "--namespace", "shop", "--pod", "web-0"});
    REQUIRE(line.has_value());
    CHECK(line->what == action::explain);
    CHECK(line->explain.namespace_name == "shop");
    CHECK(line->explain.pod == "web-0");
    CHECK(line->explain.admin == admin_address(at("127.0.0.1", 9797)));
    CHECK(line->explain.output == output_format::text);
    s.variables["CREDLET_ADMIN_LISTEN"] = "[::]:9000";
    CHECK(s.parse({"explain", "--namespace", "a", "--pod", "b"})->explain.admin ==
          admin_address(at("::1", 9000)));
    line =
        s.parse({"explain", "--namespace", "a", "--pod", "b", "--admin", "10.0.0.1:1", "--output", "json"});
    CHECK(line->explain.admin == admin_address(at("10.0.0.1", 1)));
    CHECK(line->explain.output == output_format::json);
    CHECK(s.parse({"explain", "--namespace", "a"}).has_error());
    CHECK(holds(s.parse({"explain", "--namespace", "a b", "--pod", "b"}).error().message,
                "--namespace is 'a b'"));
    CHECK(holds(s.parse({"explain", "--namespace", "a", "--pod", "b", "--admin", "x"}).error().message,
                "--admin"));
    CHECK(holds(s.parse({"explain", "--namespace", "a", "--pod", "b", "--output", "yaml"}).error().message,
                "text, json"));
}

TEST_CASE("explain and probe ask where the daemon listens first") {
    fake_surroundings s;
    s.variables["CREDLET_ADMIN_LISTEN"] = "unix:/run/credlet/admin.sock, 127.0.0.1:9797";
    const admin_address socket = unix_path{"/run/credlet/admin.sock"};
    CHECK(s.parse({"explain", "--namespace", "a", "--pod", "b"})->explain.admin == socket);
    auto line = s.parse({"probe", "readyz"});
    REQUIRE_MESSAGE(line.has_value(), line.error().message);
    CHECK(line->what == action::probe);
    CHECK(line->probe.what == probed::readyz);
    CHECK(line->probe.admin == socket);
    s.files["/c"] = "admin-listen = ['unix:/run/other', '127.0.0.1:1']";
    s.variables.erase("CREDLET_ADMIN_LISTEN");
    CHECK(s.parse({"probe", "healthz", "--config", "/c"})->probe.admin ==
          admin_address(unix_path{"/run/other"}));
    line = s.parse({"probe", "healthz", "--admin", "10.0.0.1:1"});
    CHECK(line->probe.what == probed::healthz);
    CHECK(line->probe.admin == admin_address(at("10.0.0.1", 1)));
    CHECK(s.parse({"probe", "healthz"})->probe.admin == admin_address(at("127.0.0.1", 9797)));

    CHECK(s.parse({"probe"}).has_error());
    CHECK(s.parse({"probe", "healthz", "readyz"}).has_error());
    CHECK(holds(s.parse({"probe", "livez"}).error().message, "must be one of healthz, readyz"));
}

TEST_CASE("the link and its addresses come from flags or their variables") {
    fake_surroundings s;
    auto line =
        s.parse({"link", "--name", "agent0", "--address", "169.254.170.23/32", "--address=fd00:ec2::23/128",
                 "--address", "169.254.170.2", "--address", "169.254.170.2/32"});
    REQUIRE_MESSAGE(line.has_value(), line.error().message);
    CHECK(line->what == action::link);
    CHECK(line->link.name == "agent0");
    using asio::ip::make_address;
    CHECK(line->link.addresses == std::vector{make_address("169.254.170.23"), make_address("fd00:ec2::23"),
                                              make_address("169.254.170.2")});

    s.variables["CREDLET_LINK_NAME"] = "other0";
    s.variables["CREDLET_LINK_ADDRESS"] = "169.254.170.23/32,fd00:ec2::23/128";
    line = s.parse({"link"});
    CHECK(line->link.name == "other0");
    CHECK(line->link.addresses == std::vector{make_address("169.254.170.23"), make_address("fd00:ec2::23")});
    line = s.parse({"link", "--address", "10.0.0.1"});
    CHECK(line->link.addresses == std::vector{make_address("10.0.0.1")});

    const fake_surroundings bare;
    CHECK(holds(bare.parse({"link"}).error().message, "--address is not set"));
    CHECK(bare.parse({"link", "--address", "10.0.0.1"})->link.name == "credlet0");
    for (const auto* address : {"169.254.0.0/16", "10.0.0.1/33", "10.0.0.1/", "fd00::1/32", "0.0.0.0",
                                "224.0.0.1", "fe80::1%lo/128", "localhost", "10.0.0.1:80", ""})
        CHECK(holds(bare.parse({"link", "--address", address}).error().message, "must be one address"));
    for (const auto* name : {"", "sixteen-letters-", "a/b", "a b", "a:b", ".."})
        CHECK(holds(bare.parse({"link", "--address", "10.0.0.1", "--name", name}).error().message,
                    "must be the name of a link"));
}

TEST_CASE("version, help, and what is neither") {
    const fake_surroundings s;
    CHECK(s.parse({"version"})->text == "credlet " CREDLET_VERSION "\n");
    const auto help = s.parse({"serve", "--help"});
    REQUIRE(help->what == action::help);
    CHECK(holds(s.parse({"--help"})->text, "explain"));
    for (const auto& setting : all_settings()) {
        CHECK(holds(help->text, "--" + setting.name));
        CHECK(holds(help->text, variable_of(setting.name)));
    }
    CHECK(s.parse({}).has_error());
    CHECK(s.parse({"sreve"}).has_error());
    CHECK(holds(s.parse({"serve", "--no-such-flag"}).error().message, "--no-such-flag"));
    CHECK(s.parse({"serve", "stray"}).has_error());
    CHECK(s.parse({"serve", "--region"}).has_error());
}

TEST_CASE("settings have names of their own") {
    std::set<std::string> names;
    for (const auto& setting : all_settings())
        CHECK(names.insert(setting.name).second);
    CHECK(names.size() == 44);
}
