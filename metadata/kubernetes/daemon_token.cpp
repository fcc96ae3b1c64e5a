#include "metadata/kubernetes/daemon_token.hpp"

#include <algorithm>

namespace credlet::metadata::kubernetes {

namespace {

constexpr std::size_t max_token_file = std::size_t{64} * 1024;

std::string_view trimmed(std::string_view text) {
    constexpr std::string_view blank = " \t\r\n";
    const auto first = text.find_first_not_of(blank);
    if (first == std::string_view::npos)
        return {};
    return text.substr(first, text.find_last_not_of(blank) - first + 1);
}

// What may stand in an Authorization header without being cut or split.
bool is_token(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
}

} // namespace

daemon_token::daemon_token(std::string path, const clock& time, std::function<void(bool)> reloaded)
    : path_(std::move(path)),
      time_(time),
      reloaded_(std::move(reloaded)) {}

result<void> daemon_token::read() {
    const auto found = stamp_of(path_);
    const auto text = read_secret_file(path_, max_token_file);
    if (text.has_error())
        return in_context("the daemon's own token", text.error());
    const auto token = trimmed(text->reveal());
    if (!is_token(token))
        return fail(errc::malformed, "the daemon's own token: '" + path_ +
                                         (token.empty() ? "' is empty" : "' does not hold a token"));
    seen_ = found;
    read_at_ = time_.now();
    if (token != token_.reveal()) {
        const bool first = token_.empty();
        token_ = secret_string(token);
        ++generation_;
        if (!first && reloaded_)
            reloaded_(true);
    }
    return {};
}

result<void> daemon_token::load() { return read(); }

void daemon_token::refresh() {
    failing_ = read().has_error();
    if (failing_) {
        failed_at_ = time_.now();
        if (reloaded_)
            reloaded_(false);
    }
}

const secret_string& daemon_token::current() {
    const auto now = time_.now();
    if (failing_ && now - failed_at_ < retry_after_failure)
        return token_;
    if (failing_ || stamp_of(path_) != seen_ || now - read_at_ >= max_age)
        refresh();
    return token_;
}

bool daemon_token::replaced(std::uint64_t generation) {
    if (generation == generation_)
        refresh();
    return generation != generation_;
}

} // namespace credlet::metadata::kubernetes
