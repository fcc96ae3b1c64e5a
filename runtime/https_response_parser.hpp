#pragma once
// Parses one HTTP/1.1 answer from bytes as they come; no I/O. All bytes pass through memory that is wiped.
//
// Refused as malformed: anything but HTTP/1.0 and 1.1, a transfer coding other than "chunked", both framings
// at once, a content coding (none was offered), switching protocols, more than a few interim (1xx) answers.

#include "runtime/https_client.hpp"

#include <span>

namespace credlet {

class https_response_parser {
public:
    static constexpr std::size_t max_head = std::size_t{32} * 1024; // bytes

    struct options {
        std::optional<std::size_t> max_body; // bytes; none: a stream, whose reader takes the body as it comes
        bool answers_head = false; // the request was HEAD: there is no body whatever the headers say
    };
    explicit https_response_parser(options what);
    ~https_response_parser();
    https_response_parser(https_response_parser&&) noexcept;
    https_response_parser& operator=(https_response_parser&&) = delete;

    // Where the next bytes go; never empty.
    std::span<char> space();
    // Says that n bytes have been put there. errc::malformed or errc::too_large end the answer.
    result<void> received(std::size_t n);
    // Says that the peer has closed the connection in an orderly way. errc::connection_lost unless that ends
    // the body.
    result<void> closed();

    [[nodiscard]] bool started() const; // a byte has been received
    [[nodiscard]] bool head_complete() const;
    [[nodiscard]] bool complete() const;
    // The connection can carry another exchange: complete, HTTP/1.1, not to be closed, and nothing came
    // unasked.
    [[nodiscard]] bool reusable() const;

    // Status and headers, once the head is complete; without the body.
    [[nodiscard]] http_response take_head();
    // What has come of the body since the last call.
    [[nodiscard]] secret_string take_body();

private:
    struct state;
    std::unique_ptr<state> state_;
};

} // namespace credlet
