#include "daemon/admin.hpp"

#include "daemon/heartbeat.hpp"
#include "daemon/option_values.hpp"
#include "runtime/json.hpp"

#include <algorithm>
#include <optional>

namespace credlet::app {

namespace {

constexpr std::string_view plain_text = "text/plain; charset=utf-8";
constexpr std::string_view json = "application/json";
constexpr std::string_view exposition = "text/plain; version=0.0.4; charset=utf-8";
constexpr auto exposition_lasts = std::chrono::seconds(1);

reply_ptr reply(unsigned status, std::string_view type, std::string_view body,
                std::string_view headers = {}) {
    return std::make_shared<const rendered_reply>(status, type, body, headers);
}

reply_ptr only_get() { return reply(405, plain_text, "only GET\n", "Allow: GET\r\n"); }

reply_ptr faulty(request_fault fault) {
    return reply(status_of(fault), plain_text, std::string(to_string(fault)) + "\n");
}

// RFC 3986 section 2.1; none where it is not well-formed.
std::optional<std::string> percent_decoded(std::string_view text) {
    const auto digit = [](char c) {
        return c >= '0' && c <= '9'   ? c - '0'
               : c >= 'a' && c <= 'f' ? c - 'a' + 10
               : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                      : -1;
    };
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            out.push_back(text[i]);
            continue;
        }
        if (i + 2 >= text.size() || digit(text[i + 1]) < 0 || digit(text[i + 2]) < 0)
            return std::nullopt;
        out.push_back(static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2])));
        i += 2;
    }
    return out;
}

struct explain_query {
    std::string namespace_name, pod;
};

result<explain_query> parse_explain_query(std::string_view query) {
    explain_query q;
    while (!query.empty()) {
        const auto part = query.substr(0, query.find('&'));
        query.remove_prefix(std::min(part.size() + 1, query.size()));
        const auto equals = part.find('=');
        const auto name = part.substr(0, equals);
        const bool is_namespace = name == "namespace";
        if (!is_namespace && name != "pod")
            return fail(errc::malformed, "only the parameters namespace and pod are known");
        auto& into = is_namespace ? q.namespace_name : q.pod;
        if (!into.empty())
            return fail(errc::malformed, std::string(name) + " is given twice");
        const auto value = percent_decoded(equals == std::string_view::npos ? "" : part.substr(equals + 1));
        const auto checked = parse_dns_name(value.value_or(""));
        if (!checked)
            return fail(errc::malformed, std::string(name) + " " + checked.error().message);
        into = *checked;
    }
    if (q.namespace_name.empty() || q.pod.empty())
        return fail(errc::malformed,
                    "the parameters namespace and pod are needed: /explain?namespace=N&pod=P");
    return q;
}

std::string render_readiness(const readiness& r) {
    std::string body = r.ready ? R"({"ready":true,"reasons":[)" : R"({"ready":false,"reasons":[)";
    for (std::size_t i = 0; i < r.reasons.size(); ++i) {
        body.append(i == 0 ? "" : ",");
        append_json_string(body, r.reasons[i]);
    }
    return body + "]}\n";
}

std::string render_message(std::string_view message) {
    std::string body = "{\"message\":";
    append_json_string(body, message);
    return body + "}\n";
}

awaitable<result<std::vector<metadata::explain_step>>>
as_value(awaitable<std::vector<metadata::explain_step>> steps) {
    co_return co_await std::move(steps);
}

struct counted {
    explicit counted(std::size_t& n) : count(++n) {}
    counted(const counted&) = delete;
    counted& operator=(const counted&) = delete;
    ~counted() { --count; }
    std::size_t& count;
};

class admin_handler final : public request_handler {
public:
    admin_handler(asio::io_context& upstream, const std::vector<watched_loop>& others, const clock& time,
                  admin_sources sources, admin_limits limits)
        : sources_(std::move(sources)),
          limits_(limits) {
        for (const auto& other : others)
            hearts_.push_back({std::make_unique<heartbeat>(upstream.get_executor(), other.loop, time),
                               "the loop that " + other.does + " does not respond\n"});
    }

    reply_ptr answer_now(const request_head& head, const connection_info&) override {
        const auto path = head.path;
        if (path != "/metrics" && path != "/healthz" && path != "/readyz" && path != "/explain")
            return reply(404, plain_text, "there are /metrics, /healthz, /readyz and /explain\n");
        if (head.method != "GET")
            return only_get();
        if (path == "/metrics")
            return reply(200, exposition, sources_.metrics());
        if (path == "/readyz") {
            const auto r = sources_.ready();
            return reply(r.ready ? 200 : 503, json, render_readiness(r));
        }
        if (path == "/explain") {
            if (const auto query = parse_explain_query(head.query); !query)
                return reply(400, json, render_message(query.error().message));
            if (explaining_ >= limits_.explaining_at_once)
                return reply(503, json, render_message("too many explanations are under way; ask again"),
                             "Retry-After: 1\r\n");
        }
        return nullptr;
    }

    awaitable<reply_ptr> answer_later(std::unique_ptr<owned_request> request, connection_info) override {
        if (request->head.path == "/healthz") {
            // This very answer shows that the upstream loop turns.
            for (const auto& heart : hearts_)
                if (!co_await heart.beat->beats(limits_.heartbeat))
                    co_return reply(503, plain_text, heart.failure);
            co_return reply(200, plain_text, "ok\n");
        }
        const auto query = parse_explain_query(request->head.query);
        if (!query)
            co_return reply(400, json, render_message(query.error().message));
        const counted one(explaining_);
        auto steps = co_await with_deadline(as_value(sources_.explain(query->namespace_name, query->pod)),
                                            limits_.explain, "the explanation");
        if (!steps)
            co_return reply(503, json, render_message(steps.error().message));
        co_return reply(200, json, render_explanation(query->namespace_name, query->pod, *steps));
    }

    reply_ptr answer_fault(request_fault fault, const connection_info&) override { return faulty(fault); }

private:
    struct heart {
        std::unique_ptr<heartbeat> beat;
        std::string failure; // what is told when it does not
    };

    const admin_sources sources_;
    const admin_limits limits_;
    std::vector<heart> hearts_;
    std::size_t explaining_ = 0;
};

class metrics_handler final : public request_handler {
public:
    metrics_handler(const clock& time, std::function<std::string()> metrics)
        : time_(time),
          metrics_(std::move(metrics)) {}

    reply_ptr answer_now(const request_head& head, const connection_info&) override {
        if (head.path != "/metrics")
            return reply(404, plain_text, "there is /metrics\n");
        if (head.method != "GET")
            return only_get();
        const auto now = time_.now();
        if (!rendered_ || now - rendered_at_ >= exposition_lasts) {
            rendered_ = reply(200, exposition, metrics_());
            rendered_at_ = now;
        }
        return rendered_;
    }

    awaitable<reply_ptr> answer_later(std::unique_ptr<owned_request>, connection_info) override {
        co_return reply(404, plain_text, "there is /metrics\n"); // never asked: all is answered at once
    }

    reply_ptr answer_fault(request_fault fault, const connection_info&) override { return faulty(fault); }

private:
    const clock& time_;
    const std::function<std::string()> metrics_;
    reply_ptr rendered_;
    boot_time rendered_at_{};
};

} // namespace

std::unique_ptr<request_handler> make_metrics_handler(const clock& time,
                                                      std::function<std::string()> metrics) {
    return std::make_unique<metrics_handler>(time, std::move(metrics));
}

std::unique_ptr<request_handler> make_admin_handler(asio::io_context& upstream,
                                                    const std::vector<watched_loop>& others,
                                                    const clock& time, admin_sources sources,
                                                    admin_limits limits) {
    return std::make_unique<admin_handler>(upstream, others, time, std::move(sources), limits);
}

std::string render_explanation(const std::string& namespace_name, const std::string& pod,
                               const std::vector<metadata::explain_step>& steps) {
    const bool ok =
        !steps.empty() && std::all_of(steps.begin(), steps.end(), [](const auto& s) { return s.ok; });
    std::string body = "{\"namespace\":";
    append_json_string(body, namespace_name);
    body.append(",\"pod\":");
    append_json_string(body, pod);
    body.append(ok ? ",\"ok\":true,\"steps\":[" : ",\"ok\":false,\"steps\":[");
    for (std::size_t i = 0; i < steps.size(); ++i) {
        body.append(i == 0 ? "{\"name\":" : ",{\"name\":");
        append_json_string(body, steps[i].name);
        body.append(steps[i].ok ? ",\"ok\":true" : ",\"ok\":false");
        body.append(steps[i].reached ? ",\"reached\":true,\"detail\":" : ",\"reached\":false,\"detail\":");
        append_json_string(body, steps[i].detail);
        body.append(",\"advice\":");
        append_json_string(body, steps[i].advice);
        body.push_back('}');
    }
    return body + "]}\n";
}

} // namespace credlet::app
