#include "daemon/ask_command.hpp"

#include "daemon/ask_daemon.hpp"
#include "runtime/file.hpp"
#include "runtime/json.hpp"

#include <algorithm>
#include <charconv>
#include <ostream>
#include <thread>

namespace credlet::app {

namespace {

using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

constexpr auto answer_limit = 10s; // the daemon holds a request for up to five
constexpr auto pause = 1s;
constexpr std::size_t max_body = 65536;
constexpr std::size_t max_token = 65536;

// As `answer` has it, but there are credentials in it.
struct pod_answer {
    unsigned status = 0;
    secret_string body;
};

result<pod_answer> ask_once(const ask_options& o) {
    question q;
    q.where = o.uri.where;
    q.host = o.uri.host;
    q.target = o.uri.target;
    q.answer_limit = answer_limit;
    q.max_body = max_body;
    if (!o.token_file.empty()) {
        auto read = read_secret_file(o.token_file, max_token);
        if (!read)
            return read.error();
        // A file written by hand ends with a newline.
        const auto text = read->reveal();
        q.authorization = secret_string(text.substr(0, text.find_last_not_of("\r\n") + 1));
    }
    const auto answered = ask(q);
    if (!answered)
        return answered.error();
    return pod_answer{answered->status, secret_string(answered->body)};
}

} // namespace

result<container_uri> parse_container_uri(std::string_view text) {
    constexpr std::string_view scheme = "http://";
    const auto wrong = [] {
        return fail(errc::malformed, "must be http://ADDRESS[:PORT]/PATH, an IPv6 address in brackets");
    };
    const bool printable = std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
    if (!text.starts_with(scheme) || !printable)
        return wrong();
    text.remove_prefix(scheme.size());
    const auto slash = text.find('/');
    if (slash == std::string_view::npos)
        return wrong();
    container_uri uri;
    uri.host = text.substr(0, slash);
    uri.target = text.substr(slash);

    std::string_view address = uri.host;
    std::string_view port = "80";
    const auto colon = address.rfind(':');
    const auto bracket = address.rfind(']');
    if (colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket)) {
        port = address.substr(colon + 1);
        address = address.substr(0, colon);
    }
    const bool in_brackets = address.size() > 2 && address.front() == '[' && address.back() == ']';
    if (in_brackets)
        address = address.substr(1, address.size() - 2);
    boost::system::error_code ec;
    const auto parsed = asio::ip::make_address(std::string(address), ec);
    std::uint16_t number = 0;
    const auto [end, failed] = std::from_chars(port.data(), port.data() + port.size(), number);
    if (ec || parsed.is_v6() != in_brackets || failed != std::errc() || end != port.data() + port.size() ||
        number == 0)
        return wrong();
    uri.where = {parsed, number};
    return uri;
}

judgement judge(unsigned status, std::string_view body, expected_answer expected) {
    judgement j;
    const auto document = json_document::parse(body, max_body);
    const auto member = [&](std::string_view name) {
        return document ? std::string(json_string(document->root(), name).value_or("")) : std::string();
    };
    if (status == 200) {
        j.as_expected = !member("AccessKeyId").empty() && !member("SecretAccessKey").empty();
        j.text = j.as_expected ? "credentials of " + member("RoleArn") + " until " + member("Expiration")
                               : "status 200, but no credentials";
        return j;
    }
    const auto code = member("code");
    const bool knows_who_asks = code == "NoRoleAssociated" || code == "RoleNotAllowed";
    j.as_expected = status == 403 && knows_who_asks && expected == expected_answer::identity;
    j.may_change = status == 429 || status >= 500;
    j.text = std::to_string(status) + " " +
             (code.empty() ? "(no answer of credlet)" : code + ": " + member("message"));
    return j;
}

int run_ask(const ask_options& o, std::ostream& out, std::ostream& err) {
    const auto until = steady::now() + o.patience;
    for (;;) {
        const auto answered = ask_once(o);
        const auto judged =
            answered ? judge(answered->status, answered->body.reveal(), o.expected) : judgement{};
        const bool again = (!answered || judged.may_change) && steady::now() + pause < until;
        if (again) {
            std::this_thread::sleep_for(pause);
            continue;
        }
        if (!answered) {
            err << "credlet ask: no answer from " << o.uri.host << ": " << harmless(answered.error().message)
                << "\n";
            return 2;
        }
        out << harmless(judged.text) << "\n";
        return judged.as_expected ? 0 : 1;
    }
}

} // namespace credlet::app
