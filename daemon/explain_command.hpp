#pragma once
// `credlet explain`: asks the daemon of this node about a pod and prints the answer.

#include "daemon/options.hpp"

#include <iosfwd>
#include <string>
#include <string_view>

namespace credlet::app {

enum class explained { ok = 0, failed = 1, not_answered = 2 }; // exit codes

struct explanation {
    explained outcome;
    std::string text; // for people
};

// The daemon's answer (see daemon/admin.hpp) as text: a line for each step, then the first one that failed
// and what to do about it. Control characters are replaced: some of it comes from STS and from annotations.
// not_answered: the answer is not one.
explanation render_explanation_text(std::string_view answer, const explain_options& o);

// Returns the exit code: 0 when every step is ok, 1 when one failed, 2 when the daemon could not be asked.
// The answer goes to out, what went wrong with asking to err. Takes at most half a minute.
int run_explain(const explain_options& o, std::ostream& out, std::ostream& err);

} // namespace credlet::app
