// Any bytes as the body of an answer of STS: they are credentials that are whole, an error that can be shown,
// or refused.

#include "sts/answer.hpp"
#include "sts/failures.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>

namespace {

using namespace credlet;
using namespace credlet::sts;

void require(bool holds) {
    if (!holds)
        std::abort();
}

bool printable(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

void check_credentials(operation op, std::string_view body) {
    secret_string copy(body);
    const auto issued = parse_credentials(op, copy);
    require(copy.size() == body.size());
    if (!issued) {
        require(printable(issued.error().message) && issued.error().message.size() < 200);
        return;
    }
    require(!issued->access_key_id.empty() && printable(issued->access_key_id));
    require(!issued->secret_access_key.empty() && printable(issued->secret_access_key.reveal()));
    require(!issued->session_token.empty() && printable(issued->session_token.reveal()));
    require(printable(issued->assumed_role_arn));
    require(body.find("<!") == std::string_view::npos || body.find('{') != std::string_view::npos);
    secret_string again(body);
    require(!parse_error(again)); // never both
}

void check_error(std::string_view body) {
    secret_string copy(body);
    auto e = parse_error(copy);
    if (!e)
        return;
    require(!e->code.empty() && printable(e->code) && printable(e->request_id));
    // The beginning of the body as a secret that the message may quote.
    const auto secret = body.substr(0, 64);
    const std::string_view secrets[] = {secret};
    e->message = one_line(e->message, secrets);
    require(printable(e->message) && e->message.size() <= 512);
    for (const unsigned status : {400U, 403U, 429U, 500U}) {
        const auto f = from_error_document(*e, status, std::nullopt);
        require(f.kind != failure_kind::cancelled && f.kind != failure_kind::no_token);
        require(status < 500 || f.kind == failure_kind::transient || f.kind == failure_kind::throttled);
        require(!metric_result(f).empty());
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view body(reinterpret_cast<const char*>(data), size);
    check_credentials(operation::assume_role_with_web_identity, body);
    check_credentials(operation::assume_role, body);
    check_error(body);
    (void)parse_timestamp(body);
    return 0;
}
