#include "runtime/https_response_parser.hpp"

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>

#include <algorithm>

namespace credlet {

namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;

namespace {

constexpr std::size_t read_size = std::size_t{16} * 1024; // a TLS record holds no more
constexpr int max_interim_answers = 8;

// A Beast body kept in memory that is wiped.
struct wiped_body {
    using value_type = secret_string;
    class reader {
    public:
        template <bool IsRequest, class Fields>
        reader(http::header<IsRequest, Fields>&, value_type& body) : body_(body) {}
        void init(const boost::optional<std::uint64_t>& length, error_code& ec) {
            ec = {};
            if (length)
                body_.reserve(static_cast<std::size_t>(std::min<std::uint64_t>(*length, 1024 * 1024)));
        }
        std::size_t put(const asio::const_buffer& part, error_code& ec) {
            ec = {};
            body_.append({static_cast<const char*>(part.data()), part.size()});
            return part.size();
        }
        void finish(error_code& ec) { ec = {}; }

    private:
        value_type& body_;
    };
};

using beast_parser = http::response_parser<wiped_body>;

error cut_short() {
    return fail(errc::connection_lost, "the connection was closed before the answer was whole");
}

} // namespace

struct https_response_parser::state {
    explicit state(options o) : what(o), buffer(max_head + read_size) { restart(); }

    void restart() {
        head_size = 0;
        parser.emplace();
        parser->header_limit(max_head);
        if (what.max_body)
            parser->body_limit(*what.max_body);
        else
            parser->body_limit(boost::none);
        parser->skip(what.answers_head);
    }

    result<void> parse();
    result<void> check_head() const;
    [[nodiscard]] error explain(const error_code& ec) const;

    options what;
    beast::basic_flat_buffer<wiping_allocator<char>> buffer;
    std::optional<beast_parser> parser;
    bool started = false;
    bool head_complete = false;
    std::size_t head_size = 0; // taken so far
    int interim_answers = 0;
};

error https_response_parser::state::explain(const error_code& ec) const {
    if (ec == http::error::header_limit)
        return fail(errc::too_large, "the head of the answer exceeds " + std::to_string(max_head) + " bytes");
    if (ec == http::error::body_limit)
        return fail(errc::too_large,
                    "the body of the answer exceeds " + std::to_string(what.max_body.value_or(0)) + " bytes");
    if (ec == http::error::partial_message)
        return cut_short();
    return fail(errc::malformed, "the answer is not HTTP/1.1: " + ec.message());
}

result<void> https_response_parser::state::check_head() const {
    const auto& message = parser->get();
    if (message.result_int() == 101)
        return fail(errc::malformed, "the answer switches protocols, which nobody asked for");
    if (message.result_int() < 100)
        return fail(errc::malformed, "the answer's status is below 100");
    // Beast takes "xchunked" and "chunked, gzip" for no framing at all.
    if (message.count(http::field::transfer_encoding) > 0 &&
        (message.version() < 11 || message.count(http::field::transfer_encoding) > 1 ||
         !beast::iequals(message[http::field::transfer_encoding], "chunked")))
        return fail(errc::malformed, "the answer has a transfer coding other than chunked");
    for (auto [it, last] = message.equal_range(http::field::content_encoding); it != last; ++it)
        if (!beast::iequals(it->value(), "identity"))
            return fail(errc::malformed, "the answer has a content coding, although none was offered");
    return {};
}

result<void> https_response_parser::state::parse() {
    while (!parser->is_done() && buffer.size() > 0) {
        error_code ec;
        const auto taken = parser->put(buffer.cdata(), ec);
        buffer.consume(taken);
        if (ec == http::error::need_more) {
            if (!head_complete)
                head_size += taken;
            if (buffer.size() >= max_head) // a chunk's extensions or the trailer; heads have their own limit
                return fail(errc::too_large, "a line between the chunks of the answer is too long");
            return {};
        }
        if (ec)
            return explain(ec);
        if (head_complete)
            continue;
        // Beast looks at its limit only while a head is not whole; what came whole is measured here. put()
        // stops where the head ends.
        head_size += taken;
        if (head_size > max_head)
            return explain(http::error::header_limit);
        if (!parser->is_header_done())
            continue;
        if (const auto checked = check_head(); checked.has_error())
            return checked;
        if (parser->get().result_int() / 100 != 1) {
            head_complete = true;
        } else {
            if (++interim_answers > max_interim_answers)
                return fail(errc::malformed, "too many interim answers");
            restart();
        }
    }
    return {};
}

https_response_parser::https_response_parser(options what) : state_(std::make_unique<state>(what)) {}
https_response_parser::~https_response_parser() = default;
https_response_parser::https_response_parser(https_response_parser&&) noexcept = default;

std::span<char> https_response_parser::space() {
    auto& buffer = state_->buffer;
    const auto room = buffer.prepare(std::min(read_size, buffer.max_size() - buffer.size()));
    return {static_cast<char*>(room.data()), room.size()};
}

result<void> https_response_parser::received(std::size_t n) {
    state_->started = state_->started || n > 0;
    state_->buffer.commit(n);
    return state_->parse();
}

result<void> https_response_parser::closed() {
    if (!state_->parser->got_some())
        return cut_short();
    if (complete())
        return {};
    error_code ec;
    state_->parser->put_eof(ec);
    if (ec)
        return state_->explain(ec);
    return {};
}

bool https_response_parser::started() const { return state_->started; }
bool https_response_parser::head_complete() const { return state_->head_complete; }
bool https_response_parser::complete() const { return state_->head_complete && state_->parser->is_done(); }

bool https_response_parser::reusable() const {
    return complete() && state_->parser->get().version() == 11 && state_->parser->keep_alive() &&
           state_->buffer.size() == 0;
}

http_response https_response_parser::take_head() {
    http_response head;
    const auto& message = state_->parser->get();
    head.status = message.result_int();
    for (const auto& field : message)
        head.headers.emplace_back(field.name_string(), field.value());
    return head;
}

secret_string https_response_parser::take_body() { return std::exchange(state_->parser->get().body(), {}); }

} // namespace credlet
