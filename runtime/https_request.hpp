#pragma once
// The bytes of a request. They hold tokens, so they are rendered into memory that is wiped.

#include "runtime/https_client.hpp"

namespace credlet {

// Head and body, ready for the wire. errc::malformed if a part of the request could break out of its place (a
// CR or LF in a header, a space in the target) or is the client's own; the message names the part, never its
// value.
result<secret_string> render_request(const origin& server, std::string_view user_agent,
                                     const http_request& request);

} // namespace credlet
