#include "daemon/explain_command.hpp"

#include "daemon/option_values.hpp"
#include "runtime/async.hpp"
#include "runtime/json.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>

#include <algorithm>
#include <ostream>

namespace credlet::app {

namespace {

namespace beast = boost::beast;
namespace http = beast::http;
using namespace std::chrono_literals;

constexpr auto connect_limit = 3s;
constexpr auto answer_limit = 30s;
constexpr std::size_t max_answer = 1024 * 1024;

struct answer {
    unsigned status = 0;
    std::string body;
};

std::string reason(const boost::system::error_code& ec) {
    return ec == beast::error::timeout ? "no answer in time" : ec.message();
}

// The names are DNS names: nothing in them needs encoding.
awaitable<result<answer>> ask(options::endpoint daemon, std::string target) {
    beast::tcp_stream stream(co_await asio::this_coro::executor);
    stream.expires_after(connect_limit);
    if (const auto [ec] = co_await stream.async_connect(daemon, as_result); ec)
        co_return fail(errc::connect_failed, reason(ec));

    http::request<http::empty_body> request(http::verb::get, target, 11);
    request.set(http::field::host, text_of(daemon));
    request.set(http::field::connection, "close");
    stream.expires_after(connect_limit);
    if (const auto [ec, n] = co_await http::async_write(stream, request, as_result); ec)
        co_return fail(errc::connection_lost, reason(ec));

    http::response_parser<http::string_body> parser;
    parser.body_limit(max_answer);
    beast::flat_buffer buffer;
    stream.expires_after(answer_limit);
    if (const auto [ec, n] = co_await http::async_read(stream, buffer, parser, as_result); ec)
        co_return fail(errc::connection_lost, reason(ec));
    answer a;
    a.status = parser.get().result_int();
    a.body = std::move(parser.get().body());
    co_return a;
}

std::string harmless(std::string_view text) {
    std::string out(text);
    // Also C1 control characters, whose second byte in UTF-8 is below 0xa0.
    for (std::size_t i = 0; i < out.size(); ++i) {
        const auto c = static_cast<unsigned char>(out[i]);
        if (c < 0x20 || c == 0x7f)
            out[i] = ' ';
        else if (c == 0xc2 && i + 1 < out.size() && static_cast<unsigned char>(out[i + 1]) < 0xa0)
            out[i] = out[i + 1] = '?';
    }
    return out;
}

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
    const auto document = json_document::parse(answer, max_answer);
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
    asio::io_context loop(1);
    result<answer> answered = fail(errc::internal, "not asked");
    asio::co_spawn(loop, ask(o.admin, "/explain?namespace=" + o.namespace_name + "&pod=" + o.pod),
                   [&](const std::exception_ptr& failure, result<answer> a) {
                       if (!failure)
                           answered = std::move(a);
                   });
    loop.run();

    const auto code = [](explained e) { return static_cast<int>(e); };
    if (!answered) {
        err << "credlet explain: cannot ask the daemon at " << text_of(o.admin) << ": "
            << answered.error().message
            << "\nIt answers on the node it runs on, where its --admin-listen says; give --admin "
               "ADDR:PORT.\n";
        return code(explained::not_answered);
    }
    const auto document = json_document::parse(answered->body, max_answer);
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
