#include "daemon/probe_command.hpp"

#include "daemon/ask_daemon.hpp"
#include "runtime/json.hpp"

#include <ostream>

namespace credlet::app {

namespace {

using namespace std::chrono_literals;

constexpr auto answer_limit = 5s; // /healthz waits two for a sign of the serving loop

// "no listener for pods is open yet; draining". The body itself where it is not what /readyz answers.
std::string reasons_of(const std::string& body) {
    const auto document = json_document::parse(body, max_admin_answer);
    const auto list = document ? json_member(document->root(), "reasons") : std::nullopt;
    simdjson::dom::array array;
    if (!list || list->get(array) != simdjson::SUCCESS)
        return body;
    std::string all;
    for (const auto reason : array) {
        std::string_view text;
        if (reason.get(text) == simdjson::SUCCESS)
            all.append(all.empty() ? "" : "; ").append(text);
    }
    return all;
}

std::string trimmed(std::string text) {
    text.erase(text.find_last_not_of(" \n") + 1);
    return text;
}

} // namespace

int run_probe(const probe_options& o, std::ostream& out, std::ostream& err) {
    const bool about_readiness = o.what == probed::readyz;
    const auto answered = ask_daemon(o.admin, about_readiness ? "/readyz" : "/healthz", answer_limit);
    if (!answered) {
        err << "credlet probe: cannot ask the daemon at " << text_of(o.admin) << ": "
            << answered.error().message << "\n";
        return 2;
    }
    if (answered->status == 200) {
        out << (about_readiness ? "ready\n" : "ok\n");
        return 0;
    }
    if (answered->status != 503) {
        err << "credlet probe: what answers at " << text_of(o.admin) << " is no credlet: status "
            << answered->status << "\n";
        return 2;
    }
    const auto why = about_readiness ? reasons_of(answered->body) : answered->body;
    out << (about_readiness ? "not ready: " : "not healthy: ") << trimmed(harmless(why)) << "\n";
    return 1;
}

} // namespace credlet::app
