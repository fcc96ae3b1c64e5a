#include "runtime/json.hpp"
#include "runtime/log.hpp"

#include <doctest/doctest.h>

#include <array>
#include <fcntl.h>
#include <limits>
#include <poll.h>
#include <string>
#include <thread>
#include <type_traits>
#include <unistd.h>
#include <vector>

using namespace credlet;
using namespace std::chrono_literals;

// T36: a secret has no way into a log line, neither as it is nor through a conversion.
static_assert(!std::is_constructible_v<log_field, std::string_view, secret_string>);
static_assert(!std::is_constructible_v<log_field, std::string_view, const secret_string&>);
static_assert(!std::is_constructible_v<log_field, std::string_view, secret_string&&>);
static_assert(!std::is_convertible_v<secret_string, std::string_view>);
static_assert(!std::is_convertible_v<secret_string, std::string>);

namespace {

struct pipe_ends {
    pipe_ends() {
        std::array<int, 2> ends{};
        REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
        read_end = ends[0];
        write_end = ends[1];
    }
    pipe_ends(const pipe_ends&) = delete;
    pipe_ends& operator=(const pipe_ends&) = delete;
    ~pipe_ends() {
        close_reader();
        close_writer();
    }
    void close_reader() {
        if (read_end >= 0)
            ::close(read_end);
        read_end = -1;
    }
    void close_writer() {
        if (write_end >= 0)
            ::close(write_end);
        write_end = -1;
    }
    // Reads until no writer is left, or nothing has come for a while.
    std::string read_all() const {
        std::string all;
        std::array<char, 65536> chunk{};
        for (;;) {
            pollfd ready{read_end, POLLIN, 0};
            if (::poll(&ready, 1, 10000) <= 0)
                return all;
            const ssize_t n = ::read(read_end, chunk.data(), chunk.size());
            if (n <= 0)
                return all;
            all.append(chunk.data(), static_cast<std::size_t>(n));
        }
    }
    int read_end = -1, write_end = -1;
};

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::size_t start = 0;
    for (std::size_t end; (end = text.find('\n', start)) != std::string::npos; start = end + 1)
        lines.push_back(text.substr(start, end - start));
    CHECK_MESSAGE(start == text.size(), "the last line has no end");
    return lines;
}

template <class Writes>
std::vector<std::string> logged(log_format format, log_level lowest, Writes&& writes) {
    pipe_ends p;
    {
        const auto log = make_output_log(p.write_end, lowest, format, 5s);
        p.close_writer();
        writes(*log);
    }
    return lines_of(p.read_all());
}

json_document parse(const std::string& line) {
    auto document = json_document::parse(line, 1 << 20);
    REQUIRE_MESSAGE(document.has_value(), line);
    return std::move(*document);
}

} // namespace

TEST_CASE("a JSON line carries time, level, message and the fields with their types") {
    const auto lines = logged(log_format::json, log_level::debug, [](logger& log) {
        log.warn("watch restarted", {{"reason", "expired"},
                                     {"pods", 17},
                                     {"ratio", 0.5},
                                     {"not_a_number", std::numeric_limits<double>::quiet_NaN()},
                                     {"synced", true}});
    });
    REQUIRE(lines.size() == 1);
    const auto document = parse(lines[0]);
    const auto time = json_string(document.root(), "time");
    REQUIRE(time);
    CHECK(time->size() == 24);
    CHECK((*time)[10] == 'T');
    CHECK(time->ends_with('Z'));
    CHECK(json_string(document.root(), "level") == "warn");
    CHECK(json_string(document.root(), "message") == "watch restarted");
    CHECK(json_string(document.root(), "reason") == "expired");
    CHECK(json_integer(document.root(), "pods") == 17);
    CHECK(json_bool(document.root(), "synced") == true);
    CHECK(lines[0].find("\"ratio\":0.5,\"not_a_number\":null") != std::string::npos);
}

TEST_CASE("a text line is readable, and quotes values that need it") {
    const auto lines = logged(log_format::text, log_level::debug, [](logger& log) {
        log.info("listening", {{"address", "127.0.0.1:80"}, {"note", "two words"}, {"empty", ""}, {"n", -3}});
    });
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].substr(24) == " info  listening address=127.0.0.1:80 note=\"two words\" empty=\"\" n=-3");
}

TEST_CASE("lines below the lowest level are not written") {
    const auto lines = logged(log_format::json, log_level::warn, [](logger& log) {
        CHECK_FALSE(log.enabled(log_level::info));
        CHECK(log.enabled(log_level::warn));
        log.debug("no");
        log.info("no");
        log.warn("yes");
        log.error("yes");
    });
    CHECK(lines.size() == 2);
}

TEST_CASE("control characters and line ends cannot forge a line") {
    const std::string nasty = "a\n{\"level\":\"error\"}\r\x1b[31m\x7f\xc2\x9b"
                              "31m\xff \"quoted\"";
    for (const auto format : {log_format::json, log_format::text}) {
        const auto lines =
            logged(format, log_level::debug, [&](logger& log) { log.info(nasty, {{"value", nasty}}); });
        REQUIRE(lines.size() == 1);
        for (const char c : lines[0])
            CHECK(static_cast<unsigned char>(c) >= 0x20);
        CHECK(lines[0].find('\x7f') == std::string::npos);
        CHECK(lines[0].find("\xc2\x9b") == std::string::npos);
        CHECK(lines[0].find("\\u009b") != std::string::npos);
        if (format == log_format::json)
            CHECK(json_string(parse(lines[0]).root(), "message")->starts_with("a\n{"));
    }
}

TEST_CASE("a line longer than 8 KiB is cut and stays well-formed") {
    for (const std::string& filler :
         {std::string("x"), std::string("\x01"), std::string("\xf0\x9f\x94\x91"), std::string("\xc2\x9b")}) {
        std::string huge;
        while (huge.size() < 20000)
            huge += filler;
        const auto lines = logged(log_format::json, log_level::debug, [&](logger& log) {
            log.info("short", {{"first", 1}, {"huge", huge}, {"lost", 2}});
            log.info(huge, {{"lost", 2}});
        });
        REQUIRE(lines.size() == 2);
        for (const auto& line : lines) {
            CHECK(line.size() < 8192);
            CHECK(line.size() > 8000);
            const auto document = parse(line);
            CHECK(json_bool(document.root(), "truncated") == true);
            CHECK_FALSE(json_integer(document.root(), "lost"));
            CHECK(line.find("\xef\xbf\xbd") == std::string::npos); // no character was cut in two
        }
        CHECK(json_integer(parse(lines[0]).root(), "first") == 1);
    }
}

TEST_CASE("F47: a reader that has stopped blocks nobody, the oldest lines are dropped, and a line says so") {
    pipe_ends p;
    auto log = make_output_log(p.write_end, log_level::info, log_format::json, 10s);
    p.close_writer();
    constexpr int written = 20000; // 2 MB; the pipe takes 64 KiB and the ring 1024 lines
    const std::string padding(60, 'p');
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < written; ++i)
        log->info("line", {{"n", i}, {"padding", padding}});
    CHECK(std::chrono::steady_clock::now() - begin < 5s);
    CHECK(log->dropped() > written / 2);

    std::string text;
    std::thread reader([&] { text = p.read_all(); });
    const std::uint64_t lost = log->dropped();
    log.reset(); // flushes
    reader.join();

    const auto lines = lines_of(text);
    CHECK(lines.size() > 1024);
    std::int64_t told = 0, last = -1, whole = 0;
    for (const auto& line : lines) {
        const auto document = parse(line);
        if (const auto n = json_integer(document.root(), "n")) {
            CHECK(*n > last);
            last = *n;
            ++whole;
        }
        if (const auto dropped = json_integer(document.root(), "dropped"))
            told += *dropped;
    }
    CHECK(last == written - 1); // the newest survive
    CHECK(told == static_cast<std::int64_t>(lost));
    CHECK(whole + told == written);
}

TEST_CASE("F47: the ring is bounded in bytes too") {
    pipe_ends p;
    auto log = make_output_log(p.write_end, log_level::info, log_format::json, 10s);
    p.close_writer();
    const std::string huge(8000, 'h');
    for (int i = 0; i < 1000; ++i)
        log->info("line", {{"huge", huge}});
    CHECK(log->dropped() >= 1000 - (1024 * 1024 + 65536) / 8000 - 2);
    CHECK(log->dropped() < 1000 - 1024 * 1024 / 8192 + 2);
    std::thread reader([&] { (void)p.read_all(); });
    log.reset();
    reader.join();
}

TEST_CASE("F47: a closed pipe kills nobody and is counted") {
    pipe_ends p;
    p.close_reader();
    const auto log = make_output_log(p.write_end, log_level::info, log_format::json, 5s);
    for (int i = 0; i < 10; ++i)
        log->info("nobody reads this");
    const auto deadline = std::chrono::steady_clock::now() + 10s;
    while (log->dropped() < 10 && std::chrono::steady_clock::now() < deadline)
        std::this_thread::yield();
    CHECK(log->dropped() == 10);
}

TEST_CASE("F47: a full disk kills nobody and is counted") {
    const int full = ::open("/dev/full", O_WRONLY | O_CLOEXEC);
    REQUIRE(full >= 0);
    {
        const auto log = make_output_log(full, log_level::info, log_format::json, 5s);
        for (int i = 0; i < 10; ++i)
            log->info("there is no room for this");
        const auto deadline = std::chrono::steady_clock::now() + 10s;
        while (log->dropped() < 10 && std::chrono::steady_clock::now() < deadline)
            std::this_thread::yield();
        CHECK(log->dropped() == 10);
    }
    ::close(full);
}

TEST_CASE("F47: at exit a blocked output costs the flush limit and no more") {
    pipe_ends p;
    auto log = make_output_log(p.write_end, log_level::info, log_format::json, 200ms);
    const std::string padding(4000, 'p');
    for (int i = 0; i < 100; ++i)
        log->info("line", {{"padding", padding}});
    const auto begin = std::chrono::steady_clock::now();
    log.reset();
    const auto took = std::chrono::steady_clock::now() - begin;
    CHECK(took >= 150ms);
    CHECK(took < 5s);
}

TEST_CASE("many threads may write at once, and every line is whole") {
    const auto lines = logged(log_format::json, log_level::info, [](logger& log) {
        std::vector<std::thread> threads;
        for (int t = 0; t < 4; ++t)
            threads.emplace_back([&log, t] {
                for (int i = 0; i < 100; ++i)
                    log.info("line", {{"thread", t}, {"n", i}});
            });
        for (auto& thread : threads)
            thread.join();
    });
    CHECK(lines.size() == 400);
    for (const auto& line : lines)
        CHECK(json_integer(parse(line).root(), "n"));
}

TEST_CASE("F48: one line per key and interval, and the next one says how many were held back") {
    log_sampler sampler(10s);
    const auto first = sampler.admit("sts Throttling", 0s);
    CHECK(first.write);
    CHECK(first.suppressed == 0);
    for (int i = 0; i < 1000; ++i)
        CHECK_FALSE(sampler.admit("sts Throttling", 9999ms).write);
    CHECK(sampler.admit("sts AccessDenied", 1s).write); // another key has its own budget
    const auto next = sampler.admit("sts Throttling", 10s);
    CHECK(next.write);
    CHECK(next.suppressed == 1000);
    CHECK_FALSE(sampler.admit("sts Throttling", 19s).write);
}

TEST_CASE("F48: a million errors with ever new keys stay a few hundred lines") {
    log_sampler sampler(10s);
    int written = 0;
    for (int i = 0; i < 1'000'000; ++i)
        written += sampler.admit("key " + std::to_string(i % 5000), std::chrono::microseconds(i)).write;
    CHECK(written <= 257);
    CHECK(written > 200);
    // Once the interval is over, each new key gets a line again.
    CHECK(sampler.admit("another", 1h).write);
    CHECK(sampler.admit("and yet another", 1h).write);
}

TEST_CASE("F48: what a forgotten key held back is told with the lines of those that found no place") {
    log_sampler sampler(10s);
    std::uint64_t suppressed = 0;
    for (int i = 0; i < 256; ++i) {
        CHECK(sampler.admit("early " + std::to_string(i), 0s).write);
        CHECK_FALSE(sampler.admit("early " + std::to_string(i), 1s).write);
    }
    for (int i = 0; i < 1000; ++i)
        suppressed += sampler.admit("late " + std::to_string(i), 10s).suppressed;
    suppressed += sampler.admit("late 1001", 20s).suppressed;
    for (int i = 0; i < 1000; ++i)
        suppressed += sampler.admit("last " + std::to_string(i), 20s).suppressed;
    CHECK(suppressed >= 256);
}
