#include "runtime/http_server.hpp"
#include "runtime/json.hpp"

namespace credlet {

namespace {

// RFC 9110 section 15. Any other status goes without a phrase, which RFC 9112 section 4 allows.
std::string_view reason_phrase(unsigned status) {
    switch (status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 408:
        return "Request Timeout";
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    case 503:
        return "Service Unavailable";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "";
    }
}

std::string render_head(unsigned status, std::string_view content_type, std::size_t body_size,
                        std::string_view extra_headers) {
    std::string head = "HTTP/1.1 " + std::to_string(status) + ' ';
    head.append(reason_phrase(status)).append("\r\n");
    if (!content_type.empty())
        head.append("Content-Type: ").append(content_type).append("\r\n");
    head.append("Content-Length: ").append(std::to_string(body_size)).append("\r\n");
    head.append("Cache-Control: no-store\r\n").append(extra_headers);
    return head;
}

} // namespace

rendered_reply::rendered_reply(unsigned status, std::string_view content_type, std::string_view body,
                               std::string_view extra_headers)
    : status_(status) {
    const std::string head = render_head(status, content_type, body.size(), extra_headers);
    head_size_ = head.size();
    bytes_.reserve(head.size() + blank_line.size() + body.size());
    bytes_.append(head);
    bytes_.append(blank_line);
    bytes_.append(body);
}

reply_ptr render_error(unsigned status, std::string_view code, std::string_view message,
                       std::string_view extra_headers) {
    std::string body;
    const auto member = [&body](std::string_view name, std::string_view value) {
        body += body.empty() ? '{' : ',';
        append_json_string(body, name);
        body += ':';
        append_json_string(body, value);
    };
    member("code", code);
    member("message", message);
    member("Code", code);
    member("Message", message);
    body += '}';
    return std::make_shared<const rendered_reply>(status, "application/json", body, extra_headers);
}

} // namespace credlet
