#include "runtime/connect.hpp"

#include <algorithm>
#include <deque>
#include <memory>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <optional>
#include <sys/socket.h>

namespace credlet {
namespace {

using boost::system::error_code;
using tcp = asio::ip::tcp;

template <int Level, int Name>
using socket_option = asio::detail::socket_option::integer<Level, Name>;

// The attempts under way. Shared with their completions, which may come after the race is over.
struct race : std::enable_shared_from_this<race> {
    race(const asio::any_io_executor& executor, connect_settings s) : settings(s), changed(executor) {}

    struct attempt {
        tcp::socket socket;
        tcp::endpoint to;
        bool running = true;
    };

    void start(const tcp::endpoint& to);
    void finished(attempt& one, const error_code& ec);
    void end(attempt& one, std::string_view why);
    void end_oldest();
    void close();

    connect_settings settings;
    asio::steady_timer changed; // cancelled when an attempt has ended
    std::deque<attempt> attempts;
    std::size_t running = 0;
    attempt* winner = nullptr;
    std::string failures; // "address: reason", joined
};

// A dead peer is noticed: by unacknowledged data while we speak, by probes while we listen.
void set_options(tcp::socket& socket, const connect_settings& settings) {
    error_code ignored; // each of them is an improvement, none a condition
    socket.set_option(tcp::no_delay(true), ignored);
    socket.set_option(tcp::socket::keep_alive(true), ignored);
    socket.set_option(socket_option<IPPROTO_TCP, TCP_KEEPIDLE>(30), ignored);
    socket.set_option(socket_option<IPPROTO_TCP, TCP_KEEPINTVL>(10), ignored);
    socket.set_option(
        socket_option<IPPROTO_TCP, TCP_USER_TIMEOUT>(static_cast<int>(settings.tcp_user_timeout.count())),
        ignored);
}

void race::start(const tcp::endpoint& to) {
    auto& one = attempts.emplace_back(attempt{tcp::socket(changed.get_executor()), to});
    ++running;
    error_code ec;
    one.socket.open(to.protocol(), ec);
    if (ec) {
        finished(one, ec);
        return;
    }
    set_options(one.socket, settings);
    one.socket.async_connect(
        to, [self = shared_from_this(), &one](const error_code& failure) { self->finished(one, failure); });
}

void race::finished(attempt& one, const error_code& ec) {
    if (!one.running)
        return; // given up before
    if (ec)
        end(one, ec.message());
    else if (winner == nullptr)
        winner = &one;
    changed.cancel();
}

void race::end(attempt& one, std::string_view why) {
    one.running = false;
    --running;
    error_code ignored;
    one.socket.close(ignored);
    failures.append(failures.empty() ? "" : "; ");
    failures.append(one.to.address().to_string());
    failures.append(": ");
    failures.append(why);
}

void race::end_oldest() {
    const auto oldest = std::ranges::find_if(attempts, &attempt::running);
    if (oldest != attempts.end())
        end(*oldest, "no answer");
}

void race::close() {
    for (auto& one : attempts) {
        error_code ignored;
        if (&one != winner)
            one.socket.close(ignored);
    }
}

// Closes what is left of the race, also when the coroutine is destroyed where it waits.
struct race_end {
    explicit race_end(race& r) : which(r) {}
    race_end(const race_end&) = delete;
    race_end& operator=(const race_end&) = delete;
    ~race_end() { which.close(); }
    race& which;
};

} // namespace

awaitable<result<tcp::socket>> connect_any(std::string server, std::vector<tcp::endpoint> candidates,
                                           connect_settings settings, step_limit limit) {
    using clock = std::chrono::steady_clock;
    const auto attempts = std::make_shared<race>(co_await asio::this_coro::executor, settings);
    const race_end end(*attempts);
    std::size_t next = 0;
    auto next_start = clock::time_point::min();
    while (attempts->winner == nullptr) {
        if (co_await caller_cancelled())
            co_return fail(errc::cancelled, "connecting to " + server + " was cancelled");
        if (limit.passed()) {
            const std::string others = attempts->failures.empty() ? "" : " (" + attempts->failures + ")";
            co_return fail(errc::timed_out, "connecting to " + server + " was not done " + limit.text() +
                                                ": no address answered" + others);
        }
        const bool may_start = next < candidates.size();
        if (may_start && (attempts->running == 0 || clock::now() >= next_start)) {
            // Who has not answered for so long must not keep a better address from its turn.
            if (attempts->running == settings.max_parallel)
                attempts->end_oldest();
            attempts->start(candidates[next++]);
            next_start = clock::now() + settings.attempt_delay;
            continue;
        }
        if (attempts->running == 0)
            co_return fail(errc::connect_failed, "connecting to " + server + ": " + attempts->failures);
        attempts->changed.expires_at(may_start ? std::min(next_start, limit.at) : limit.at);
        co_await attempts->changed.async_wait(as_result);
    }
    co_return std::move(attempts->winner->socket);
}

} // namespace credlet
