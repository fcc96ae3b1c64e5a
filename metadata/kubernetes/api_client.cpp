#include "metadata/kubernetes/api_client.hpp"

#include "runtime/step_limit.hpp"

#include <stdexcept>

namespace credlet::metadata::kubernetes {

namespace {

constexpr std::size_t max_status_body = std::size_t{64} * 1024;

errc kind_of(unsigned status) {
    switch (status) {
    case 401:
    case 403:
        return errc::denied;
    case 404:
        return errc::not_found;
    case 429:
        return errc::throttled;
    default:
        if (status >= 400 && status <= 499)
            return errc::rejected;
        return status >= 500 ? errc::unavailable : errc::malformed;
    }
}

// As much of the body as comes; `body` outlives it.
awaitable<result<void>> read_explanation(http_stream& stream, std::string& body,
                                         std::chrono::milliseconds silence) {
    co_await asio::this_coro::throw_if_cancelled(false);
    while (body.size() < max_status_body && !co_await caller_cancelled()) {
        const auto more = co_await stream.read_some(silence);
        if (more.has_error() || more->empty())
            break;
        body += *more;
    }
    co_return result<void>();
}

api_error from(const api_status& status) {
    api_error e;
    e.status = status.code;
    e.kind = kind_of(status.code);
    e.message = status.message.empty() ? "status " + std::to_string(status.code) : status.message;
    e.reason = status.reason;
    e.version_too_large = status.version_too_large;
    if (status.retry_after_seconds)
        e.retry_after = std::chrono::seconds(*status.retry_after_seconds);
    return e;
}

} // namespace

void throw_exception_from_error(const api_error& e, const boost::source_location&) {
    throw std::runtime_error(e.message);
}

api_error error_of_status(unsigned status, std::string_view body,
                          std::optional<std::chrono::milliseconds> retry_after) {
    api_error e;
    // A proxy on the way answers in HTML: that is no message for anybody.
    if (auto document = json_document::parse(body, max_status_body); document.has_value()) {
        if (auto parsed = parse_status(document->root())) {
            parsed->code = status;
            e = from(*parsed);
        }
    }
    if (e.status == 0) {
        e.status = status;
        e.kind = kind_of(status);
        e.message = "status " + std::to_string(status) + " without an explanation";
    }
    if (retry_after)
        e.retry_after = retry_after;
    return e;
}

api_error error_of_object(simdjson::dom::element status_object) {
    if (const auto parsed = parse_status(status_object))
        return from(*parsed);
    api_error e;
    e.kind = errc::malformed;
    e.message = "an ERROR event without a Status";
    return e;
}

api_error error_of_transport(const error& cause) {
    api_error e;
    e.kind = cause.kind;
    e.message = one_line(cause.message);
    return e;
}

bool is_unrelated_to_node(const api_error& e) {
    return e.status == 403 && e.message.find("no relationship found between node") != std::string::npos;
}

std::string query_escape(std::string_view text) {
    static constexpr char hex[] = "0123456789ABCDEF";
    std::string out;
    out.reserve(text.size() + 16);
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                           c == '-' || c == '.' || c == '_' || c == '~';
        if (plain) {
            out.push_back(c);
        } else {
            out.push_back('%');
            out.push_back(hex[byte >> 4]);
            out.push_back(hex[byte & 0xf]);
        }
    }
    return out;
}

http_request api_client::prepare(const api_request& request) {
    http_request out;
    out.method = request.method;
    out.target = request.target;
    out.max_response_body = request.max_response_body;
    secret_string authorization("Bearer ");
    authorization.append(token_.current().reveal());
    out.headers.push_back({"Authorization", std::move(authorization)});
    out.headers.push_back({"Accept", secret_string(request.accept)});
    if (request.as_own_node)
        out.headers.push_back({"Impersonate-User", secret_string("system:node:" + node_name_)});
    if (!request.body.empty()) {
        out.headers.push_back({"Content-Type", secret_string("application/json")});
        out.body.append(request.body);
    }
    return out;
}

awaitable<api_result<http_response>> api_client::exchange(api_request request,
                                                          std::chrono::milliseconds limit) {
    for (bool again = false;; again = true) {
        auto prepared = prepare(request);
        const auto used = token_.generation();
        auto answer = co_await http_.exchange(std::move(prepared), limit);
        if (answer.has_error())
            co_return error_of_transport(answer.error());
        if (answer->status >= 200 && answer->status <= 299)
            co_return std::move(*answer);
        if (answer->status == 401 && !again && token_.replaced(used))
            continue;
        co_return error_of_status(answer->status, answer->body.reveal(), retry_after(*answer, time_.wall()));
    }
}

awaitable<api_result<std::unique_ptr<http_stream>>> api_client::open(api_request request,
                                                                     std::chrono::milliseconds limit) {
    for (bool again = false;; again = true) {
        auto prepared = prepare(request);
        const auto used = token_.generation();
        auto stream = co_await http_.open(std::move(prepared), limit);
        if (stream.has_error())
            co_return error_of_transport(stream.error());
        const auto& head = (*stream)->head();
        if (head.status == 200)
            co_return std::move(*stream);
        if (head.status == 401 && !again && token_.replaced(used))
            continue;
        // The explanation is worth as long a wait as the head was, not more, however slowly it trickles in.
        std::string body;
        (void)co_await with_deadline(read_explanation(**stream, body, limit), limit, "the explanation");
        co_return error_of_status(head.status, body, retry_after(head, time_.wall()));
    }
}

} // namespace credlet::metadata::kubernetes
