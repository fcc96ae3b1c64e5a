#include "metadata/kubernetes/daemon_token.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <system_error>
#include <unistd.h>

namespace credlet::metadata::kubernetes {

namespace {

constexpr std::size_t max_token_file = std::size_t{64} * 1024;

struct descriptor {
    int value;
    explicit descriptor(int v) : value(v) {}
    descriptor(const descriptor&) = delete;
    descriptor& operator=(const descriptor&) = delete;
    ~descriptor() {
        if (value >= 0)
            ::close(value);
    }
};

bool same_file(const struct stat& a, const struct stat& b) {
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_size == b.st_size &&
           a.st_mtim.tv_sec == b.st_mtim.tv_sec && a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
}

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
    const auto problem = [&](const std::string& what) {
        return fail(errc::io_failed, "the daemon's own token " + path_ + ": " + what);
    };
    const descriptor file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat found{};
    if (file.value < 0 || ::fstat(file.value, &found) != 0)
        return problem(std::system_category().message(errno));
    if (!S_ISREG(found.st_mode))
        return problem("is not a regular file");
    secret_string text;
    text.resize(max_token_file + 1);
    std::size_t size = 0;
    while (size < text.size()) {
        const auto n = ::read(file.value, text.data() + size, text.size() - size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return problem(std::system_category().message(errno));
        if (n == 0)
            break;
        size += static_cast<std::size_t>(n);
    }
    if (size > max_token_file)
        return problem("is too large for a token");
    const auto token = trimmed(text.reveal().substr(0, size));
    if (!is_token(token))
        return problem(token.empty() ? "is empty" : "does not hold a token");
    seen_ = found;
    read_at_ = time_.now();
    if (token != token_.reveal()) {
        const bool first = token_.empty();
        token_ = secret_string(token);
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
    struct stat found{};
    const bool unchanged = ::stat(path_.c_str(), &found) == 0 && same_file(found, seen_);
    if (failing_ || !unchanged || now - read_at_ >= max_age)
        refresh();
    return token_;
}

bool daemon_token::reread() {
    const auto before = token_.copy();
    refresh();
    return !(before == token_);
}

} // namespace credlet::metadata::kubernetes
