#pragma once
// `credlet ask`: asks for credentials as an SDK in a pod does, by the variables that SDKs read, and says what
// came. From within a pod it proves what nothing on the node can: that pods get through to the daemon, and
// that it knows which of them asks. `helm test` runs it. Secrets are not printed.

#include "runtime/error.hpp"

#include <boost/asio/ip/tcp.hpp>

#include <chrono>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>

namespace credlet::app {

namespace asio = boost::asio;

// http://ADDRESS[:PORT]/PATH, as AWS_CONTAINER_CREDENTIALS_FULL_URI has it. A host's name is refused: the
// daemon is asked by address.
struct container_uri {
    asio::ip::tcp::endpoint where;
    std::string host; // as it stands in the URI: what the Host header has to say
    std::string target;
};
result<container_uri> parse_container_uri(std::string_view text);

enum class expected_answer {
    credentials,
    identity, // credentials, or that the pod's service account has no role: the daemon knows who asks
};

struct ask_options {
    container_uri uri;
    std::string token_file; // empty: none is sent
    expected_answer expected = expected_answer::credentials;
    std::chrono::milliseconds patience{30000}; // with a daemon that cannot be reached or cannot answer yet
};

// Whether this answer is what was expected, and what to tell about it.
struct judgement {
    bool as_expected = false;
    bool may_change = false; // asking again may help
    std::string text;
};
judgement judge(unsigned status, std::string_view body, expected_answer expected);

// Returns the exit code: 0 when the answer is as expected, 1 when it is not, 2 when there was none. What was
// answered goes to out, what went wrong with asking to err.
int run_ask(const ask_options& o, std::ostream& out, std::ostream& err);

} // namespace credlet::app
