#include "daemon/explain_command.hpp"

#include "daemon/ask_daemon.hpp"
#include "runtime/json.hpp"

#include <algorithm>
#include <ostream>

namespace credlet::app {

namespace {

using namespace std::chrono_literals;

constexpr auto answer_limit = 30s;

std::string padded(std::string text, std::size_t width) {
    text.append(text.size() < width ? width - text.size() : 0, ' ');
    return text;
}

struct step {
    std::string name, detail, advice;
    bool ok, reached;
};

result<std::vector<step>> parse_steps(const json_document& document) {
    const auto list = json_member(document.root(), "steps");
    simdjson::dom::array array;
    if (!list || list->get(array) != simdjson::SUCCESS)
        return fail(errc::malformed, "there are no steps in it");
    std::vector<step> steps;
    for (const auto s : array) {
        const auto name = json_string(s, "name");
        const auto ok = json_bool(s, "ok"), reached = json_bool(s, "reached");
        if (!name || !ok || !reached)
            return fail(errc::malformed, "a step lacks its name, ok or reached");
        steps.push_back({harmless(*name), harmless(json_string(s, "detail").value_or("")),
                         harmless(json_string(s, "advice").value_or("")), *ok, *reached});
    }
    if (steps.empty())
        return fail(errc::malformed, "there are no steps in it");
    return steps;
}

} // namespace

explanation render_explanation_text(std::string_view answer, const explain_options& o) {
    const auto document = json_document::parse(answer, max_admin_answer);
    auto steps = document ? parse_steps(*document) : result<std::vector<step>>(document.error());
    if (!steps)
        return {explained::not_answered,
                "what the daemon answered is not an explanation: " + steps.error().message};

    const std::string_view marks[] = {"not reached", "FAILED", "ok"};
    std::size_t width = 0;
    for (const auto& s : *steps)
        width = std::max(width, s.name.size());
    std::string text = o.namespace_name + "/" + o.pod + "\n\n";
    const step* failed = nullptr;
    for (const auto& s : *steps) {
        const auto mark = marks[!s.reached ? 0 : s.ok ? 2 : 1];
        std::string line = "  " + padded(std::string(mark), marks[0].size()) + "  " + padded(s.name, width) +
                           "  " + s.detail;
        line.erase(line.find_last_not_of(' ') + 1);
        text.append(line).push_back('\n');
        if (failed == nullptr && !s.ok)
            failed = &s;
    }
    if (failed == nullptr)
        return {explained::ok, text + "\nThe pod gets its credentials.\n"};
    text.append("\nIt fails at: ").append(failed->name);
    if (!failed->detail.empty())
        text.append(": ").append(failed->detail);
    text.push_back('\n');
    if (!failed->advice.empty())
        text.append("What to do: ").append(failed->advice).push_back('\n');
    return {explained::failed, std::move(text)};
}

int run_explain(const explain_options& o, std::ostream& out, std::ostream& err) {
    // The names are DNS names: nothing in them needs encoding.
    const auto answered =
        ask_daemon(o.admin, "/explain?namespace=" + o.namespace_name + "&pod=" + o.pod, answer_limit);
    const auto code = [](explained e) { return static_cast<int>(e); };
    if (!answered) {
        err << "credlet explain: cannot ask the daemon at " << text_of(o.admin) << ": "
            << answered.error().message
            << "\nIt answers on the node it runs on, where its --admin-listen says; give --admin "
               "ADDR:PORT or --admin unix:/PATH.\n";
        return code(explained::not_answered);
    }
    const auto document = json_document::parse(answered->body, max_admin_answer);
    if (answered->status != 200) {
        const auto message = document ? json_string(document->root(), "message") : std::nullopt;
        err << "credlet explain: the daemon at " << text_of(o.admin) << " answered with status "
            << answered->status << (message ? ": " + harmless(*message) : std::string()) << "\n";
        return code(explained::not_answered);
    }
    const auto rendered = render_explanation_text(answered->body, o);
    if (rendered.outcome == explained::not_answered)
        err << "credlet explain: " << rendered.text << "\n";
    else
        out << (o.output == output_format::json ? answered->body : rendered.text);
    return code(rendered.outcome);
}

} // namespace credlet::app
