#include "daemon/ask_daemon.hpp"

#include "runtime/async.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>

namespace credlet::app {

namespace {

namespace beast = boost::beast;
namespace http = beast::http;
using namespace std::chrono_literals;

constexpr auto step_limit = 3s;

std::string reason(const boost::system::error_code& ec) {
    return ec == beast::error::timeout ? "no answer in time" : ec.message();
}

awaitable<result<answer>> exchange(const question& q) {
    beast::basic_stream<asio::generic::stream_protocol> stream(co_await asio::this_coro::executor);
    stream.expires_after(step_limit);
    if (const auto [ec] = co_await stream.async_connect(q.where, as_result); ec)
        co_return fail(errc::connect_failed, reason(ec));

    http::request<http::empty_body> request(http::verb::get, q.target, 11);
    request.set(http::field::host, q.host);
    request.set(http::field::connection, "close");
    if (!q.authorization.empty())
        request.set(http::field::authorization, q.authorization.reveal());
    stream.expires_after(step_limit);
    if (const auto [ec, n] = co_await http::async_write(stream, request, as_result); ec)
        co_return fail(errc::connection_lost, reason(ec));

    http::response_parser<http::string_body> parser;
    parser.body_limit(q.max_body);
    beast::flat_buffer buffer;
    stream.expires_after(q.answer_limit);
    if (const auto [ec, n] = co_await http::async_read(stream, buffer, parser, as_result); ec)
        co_return fail(errc::connection_lost, reason(ec));
    answer a;
    a.status = parser.get().result_int();
    a.body = std::move(parser.get().body());
    co_return a;
}

} // namespace

result<answer> ask(const question& q) {
    asio::io_context loop(1);
    result<answer> answered = fail(errc::internal, "not asked");
    asio::co_spawn(loop, exchange(q), [&](const std::exception_ptr& failure, result<answer> a) {
        if (!failure)
            answered = std::move(a);
    });
    loop.run();
    return answered;
}

result<answer> ask_daemon(const admin_address& where, const std::string& target,
                          std::chrono::milliseconds answer_limit) {
    question q;
    q.where = endpoint_of(where);
    q.host = std::holds_alternative<unix_path>(where) ? "localhost" : text_of(where);
    q.target = target;
    q.answer_limit = answer_limit;
    q.max_body = max_admin_answer;
    return ask(q);
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

} // namespace credlet::app
