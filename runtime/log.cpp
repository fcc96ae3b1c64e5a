// spdlog's asynchronous logger is not used here: the destructor of its thread pool posts to its own queue and
// joins, so a standard output that nobody reads hangs the exit; its sinks hold a lock while they write; and
// its queue is bounded in lines, not in bytes.

#include "runtime/log.hpp"

#include "runtime/clock.hpp"
#include "runtime/json.hpp"

#include <climits>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <condition_variable>
#include <csignal>
#include <deque>
#include <fcntl.h>
#include <mutex>
#include <poll.h>
#include <pthread.h>
#include <system_error>
#include <thread>
#include <unistd.h>

namespace credlet {

namespace {

constexpr std::size_t max_line = 8 * 1024;     // bytes, line feed included
constexpr std::size_t max_lines = 1024;        // in the ring
constexpr std::size_t max_bytes = 1024 * 1024; // in the ring
constexpr std::size_t tail_reserve = 32;       // for the mark of a cut line and its end

std::string_view name_of(log_level level) {
    switch (level) {
    case log_level::debug:
        return "debug";
    case log_level::info:
        return "info";
    case log_level::warn:
        return "warn";
    case log_level::error:
        return "error";
    case log_level::audit:
        return "audit";
    }
    return "error";
}

void append_padded(std::string& out, unsigned value, std::size_t width) {
    std::array<char, 10> digits{};
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
    const auto length = static_cast<std::size_t>(end - digits.data());
    out.append(width > length ? width - length : 0, '0');
    out.append(digits.data(), length);
}

// RFC 3339 in UTC with milliseconds.
void append_time(std::string& out, wall_time t) {
    const auto day = std::chrono::floor<std::chrono::days>(t);
    const std::chrono::year_month_day date(day);
    const std::chrono::hh_mm_ss time(t - day);
    append_padded(out, static_cast<unsigned>(static_cast<int>(date.year())), 4);
    out.push_back('-');
    append_padded(out, static_cast<unsigned>(date.month()), 2);
    out.push_back('-');
    append_padded(out, static_cast<unsigned>(date.day()), 2);
    out.push_back('T');
    append_padded(out, static_cast<unsigned>(time.hours().count()), 2);
    out.push_back(':');
    append_padded(out, static_cast<unsigned>(time.minutes().count()), 2);
    out.push_back(':');
    append_padded(out, static_cast<unsigned>(time.seconds().count()), 2);
    out.push_back('.');
    append_padded(out, static_cast<unsigned>(time.subseconds().count()), 3);
    out.push_back('Z');
}

// As a JSON string; C1 control characters, which JSON allows and terminals obey, are escaped as well.
void append_escaped(std::string& out, std::string_view text) {
    const std::size_t start = out.size();
    append_json_string(out, text);
    for (std::size_t i = start; (i = out.find('\xc2', i)) != std::string::npos; ++i) {
        const auto next = static_cast<unsigned char>(out[i + 1]);
        if (next >= 0x80 && next < 0xa0) {
            static constexpr char hex[] = "0123456789abcdef";
            const char escape[] = {'\\', 'u', '0', '0', hex[next >> 4], hex[next & 0xf]};
            out.replace(i, 2, escape, sizeof escape);
        }
    }
}

// The same in at most `room` bytes. False: the text had to be cut.
bool append_escaped_within(std::string& out, std::string_view text, std::size_t room) {
    const std::size_t start = out.size();
    bool whole = true;
    for (;;) {
        if (text.size() + 2 <= room) {
            append_escaped(out, text);
            const std::size_t took = out.size() - start;
            if (took <= room)
                return whole;
            out.resize(start);
            // What is left after escaping is longer: cut in proportion, and by one byte at least.
            text = text.substr(0, std::min(text.size() - 1, text.size() * room / took));
        } else {
            text = text.substr(0, room > 2 ? room - 2 : 0);
        }
        while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xc0U) == 0x80U)
            text.remove_suffix(1);
        if (!text.empty() && static_cast<unsigned char>(text.back()) >= 0xc0U)
            text.remove_suffix(1);
        whole = false;
        if (text.empty()) {
            out.append("\"\"");
            return whole;
        }
    }
}

bool plain_word(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
        return c > ' ' && c < 0x7f && c != '"' && c != '=' && c != '\\';
    });
}

bool plain_sentence(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c < 0x7f; });
}

void append_number(std::string& out, double value) {
    if (!std::isfinite(value)) {
        out.append("null");
        return;
    }
    std::array<char, 40> digits{};
    out.append(digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr);
}

// False: it had to be cut.
bool append_value(std::string& out, const log_field::value_type& value, log_format format, std::size_t room) {
    if (const auto* text = std::get_if<std::string_view>(&value)) {
        if (format == log_format::text && plain_word(*text) && text->size() <= room) {
            out.append(*text);
            return true;
        }
        return append_escaped_within(out, *text, room);
    }
    if (const auto* integer = std::get_if<std::int64_t>(&value))
        out.append(std::to_string(*integer));
    else if (const auto* number = std::get_if<double>(&value))
        append_number(out, *number);
    else
        out.append(std::get<bool>(value) ? "true" : "false");
    return true;
}

std::size_t room_in(const std::string& line) {
    const std::size_t taken = line.size() + tail_reserve;
    return taken < max_line ? max_line - taken : 0;
}

std::string render(log_format format, log_level level, std::string_view message,
                   std::initializer_list<log_field> fields) {
    const bool json = format == log_format::json;
    std::string line;
    line.reserve(256);
    line.append(json ? "{\"time\":\"" : "");
    append_time(line, system_clock().wall());
    line.append(json ? "\",\"level\":\"" : " ").append(name_of(level));
    bool whole = true;
    if (json) {
        line.append("\",\"message\":");
        whole = append_escaped_within(line, message, room_in(line));
    } else {
        line.append(level == log_level::info || level == log_level::warn ? "  " : " ");
        if (plain_sentence(message) && message.size() <= room_in(line))
            line.append(message);
        else
            whole = append_escaped_within(line, message, room_in(line));
    }
    for (const auto& field : fields) {
        const std::size_t before = line.size();
        line.append(json ? ",\"" : " ").append(field.key).append(json ? "\":" : "=");
        // The longest number takes 24 characters: what fits those fits every value that is not a text.
        if (!whole || room_in(line) < 24) {
            line.resize(before);
            whole = false;
            break;
        }
        whole = append_value(line, field.value, format, room_in(line));
    }
    if (!whole)
        line.append(json ? ",\"truncated\":true" : " truncated=true");
    line.append(json ? "}\n" : "\n");
    return line;
}

// What the callers and the writer's thread share. The mutex is never held during I/O. Owned by both sides: a
// writer that the kernel holds in write(2) outlives the log.
struct shared_state {
    shared_state(int descriptor, log_format f) : format(f), out(::fcntl(descriptor, F_DUPFD_CLOEXEC, 3)) {
        if (out < 0)
            throw std::system_error(errno, std::generic_category(),
                                    "cannot duplicate the log's file descriptor");
    }
    shared_state(const shared_state&) = delete;
    shared_state& operator=(const shared_state&) = delete;
    ~shared_state() { ::close(out); }

    void push(std::string line) {
        {
            const std::lock_guard lock(mutex);
            bytes += line.size();
            lines.push_back(std::move(line));
            while (lines.size() > max_lines || bytes > max_bytes) {
                bytes -= lines.front().size();
                lines.pop_front();
                count_dropped();
            }
        }
        wake.notify_one();
    }

    void count_dropped() { dropped.fetch_add(1, std::memory_order_relaxed); }

    // Waits for the next line. False: the log ends and all is written.
    bool pop(std::string& line) {
        std::unique_lock lock(mutex);
        wake.wait(lock, [this] { return stopping || !lines.empty(); });
        if (lines.empty())
            return false;
        line = std::move(lines.front());
        lines.pop_front();
        bytes -= line.size();
        return true;
    }

    // False: the line did not get out, or not as a whole.
    bool put(std::string_view line) {
        bool first = true;
        while (!line.empty()) {
            pollfd ready{out, POLLOUT, 0};
            // Not for ever: the log may have been given up meanwhile.
            const int polled = ::poll(&ready, 1, 100);
            if (abandoned.load())
                return false;
            if (polled <= 0)
                continue;
            // A pipe that is ready takes PIPE_BUF bytes without blocking, more may block.
            const ssize_t n = ::write(out, line.data(), std::min<std::size_t>(line.size(), PIPE_BUF));
            if (n < 0 && (errno == EINTR || errno == EAGAIN))
                continue;
            if (n <= 0) {
                cut_within_line = cut_within_line || !first;
                return false;
            }
            first = false;
            line.remove_prefix(static_cast<std::size_t>(n));
        }
        return true;
    }

    // The writer's thread.
    void run() {
        std::string line;
        std::uint64_t told = 0;
        while (pop(line)) {
            if (abandoned.load()) {
                count_dropped();
                continue;
            }
            if (cut_within_line && put("\n"))
                cut_within_line = false;
            const std::uint64_t lost = dropped.load(std::memory_order_relaxed);
            if (lost != told &&
                put(render(format, log_level::warn, "log lines were dropped: the output did not take them",
                           {{"dropped", lost - told}, {"dropped_in_total", lost}})))
                told = lost;
            if (!put(line))
                count_dropped();
        }
        const std::lock_guard lock(mutex);
        finished = true;
        done.notify_all();
    }

    const log_format format;
    const int out;
    std::atomic<std::uint64_t> dropped{0};
    std::atomic<bool> abandoned{false};

    std::mutex mutex;
    std::condition_variable wake, done;
    std::deque<std::string> lines;
    std::size_t bytes = 0;
    bool stopping = false;
    bool finished = false;

    bool cut_within_line = false; // the writer's own
};

class descriptor_log final : public output_log {
public:
    descriptor_log(int descriptor, log_level lowest, log_format format, std::chrono::milliseconds flush_limit)
        : lowest_(lowest),
          flush_limit_(flush_limit),
          state_(std::make_shared<shared_state>(descriptor, format)) {
        // The thread inherits a full signal mask: signals go to those who wait for them, and SIGPIPE stays an
        // errno.
        sigset_t all{}, before{};
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &before);
        try {
            writer_ = std::thread([state = state_] { state->run(); });
        } catch (...) {
            ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
            throw;
        }
        ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }
    descriptor_log(const descriptor_log&) = delete;
    descriptor_log& operator=(const descriptor_log&) = delete;

    ~descriptor_log() override {
        std::unique_lock lock(state_->mutex);
        state_->stopping = true;
        state_->wake.notify_one();
        const auto finished = [this] { return state_->finished; };
        bool ended = state_->done.wait_for(lock, flush_limit_, finished);
        if (!ended) {
            state_->abandoned = true;
            ended = state_->done.wait_for(lock, std::chrono::milliseconds(250), finished);
        }
        lock.unlock();
        if (ended)
            writer_.join();
        else
            writer_.detach(); // in write(2), which nothing interrupts; it owns all it still touches
    }

    [[nodiscard]] bool enabled(log_level level) const override { return level >= lowest_; }

    void write(log_level level, std::string_view message, std::initializer_list<log_field> fields) override {
        if (!enabled(level))
            return;
        try {
            state_->push(render(state_->format, level, message, fields));
        } catch (const std::bad_alloc&) {
            state_->count_dropped();
        }
    }

    [[nodiscard]] std::uint64_t dropped() const override {
        return state_->dropped.load(std::memory_order_relaxed);
    }

private:
    const log_level lowest_;
    const std::chrono::milliseconds flush_limit_;
    const std::shared_ptr<shared_state> state_;
    std::thread writer_;
};

} // namespace

std::unique_ptr<output_log> make_output_log(int descriptor, log_level lowest, log_format format,
                                            std::chrono::milliseconds flush_limit) {
    return std::make_unique<descriptor_log>(descriptor, lowest, format, flush_limit);
}

log_sampler::entry* log_sampler::find(std::uint64_t key) {
    const auto found = std::ranges::find(entries_, key, &entry::key);
    return found == entries_.end() ? nullptr : &*found;
}

// What they held back is told by the entry of all that found no place.
void log_sampler::forget_passed(std::chrono::nanoseconds now) {
    std::uint64_t held_back = 0;
    std::erase_if(entries_, [&](const entry& e) {
        if (now < e.next)
            return false;
        held_back += e.suppressed;
        return true;
    });
    if (held_back == 0)
        return;
    if (entry* const shared = find(all_others))
        shared->suppressed += held_back;
    else
        entries_.push_back({all_others, now, held_back});
}

log_sampler::verdict log_sampler::admit(std::string_view key, std::chrono::nanoseconds now) {
    std::uint64_t hash = std::hash<std::string_view>{}(key);
    entry* found = find(hash);
    if (found == nullptr && entries_.size() >= max_keys) {
        forget_passed(now);
        if (entries_.size() >= max_keys) {
            hash = all_others;
            found = find(hash);
        }
    }
    if (found == nullptr) {
        entries_.push_back({hash, now + interval_, 0});
        return {true, 0};
    }
    if (now < found->next) {
        ++found->suppressed;
        return {false, 0};
    }
    found->next = now + interval_;
    return {true, std::exchange(found->suppressed, 0)};
}

} // namespace credlet
