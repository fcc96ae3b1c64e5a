#pragma once
// Structured logs: one event, one line, as JSON or as text. Writing never blocks and never fails: lines go
// through a bounded ring to a thread of their own, and when the reader of standard output has stopped, the
// oldest lines are dropped and counted. Thread-safe.

#include "runtime/secret.hpp"

#include <chrono>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

namespace credlet {

// audit: what must be on record whatever the level; it cannot be turned off.
enum class log_level { debug, info, warn, error, audit };
enum class log_format { json, text };

// One key and its value. A secret_string has no way in.
struct log_field {
    using value_type = std::variant<std::string_view, std::int64_t, double, bool>;
    template <class T>
    log_field(std::string_view k, const T& v) : key(k),
                                                value(convert(v)) {}
    log_field(std::string_view, const secret_string&) = delete;

    std::string_view key;
    value_type value;

private:
    template <class T>
    static value_type convert(const T& v) {
        if constexpr (std::same_as<T, bool>)
            return v;
        else if constexpr (std::integral<T>)
            return static_cast<std::int64_t>(v);
        else if constexpr (std::floating_point<T>)
            return static_cast<double>(v);
        else
            return std::string_view(v);
    }
};

class logger {
public:
    virtual ~logger() = default;
    virtual bool enabled(log_level level) const = 0;
    virtual void write(log_level level, std::string_view message,
                       std::initializer_list<log_field> fields) = 0;

    void debug(std::string_view m, std::initializer_list<log_field> f = {}) { write(log_level::debug, m, f); }
    void info(std::string_view m, std::initializer_list<log_field> f = {}) { write(log_level::info, m, f); }
    void warn(std::string_view m, std::initializer_list<log_field> f = {}) { write(log_level::warn, m, f); }
    void error(std::string_view m, std::initializer_list<log_field> f = {}) { write(log_level::error, m, f); }
    void audit(std::string_view m, std::initializer_list<log_field> f = {}) { write(log_level::audit, m, f); }
};

// Writes to a file descriptor (1 in production). Flushes what it can on destruction, within flush_limit.
class output_log : public logger {
public:
    // Lines that were dropped because the ring was full.
    [[nodiscard]] virtual std::uint64_t dropped() const = 0;
};
std::unique_ptr<output_log> make_output_log(int descriptor, log_level lowest, log_format format,
                                            std::chrono::milliseconds flush_limit);

// Lets one line per key through in each interval and counts the rest, which the next line then mentions: an
// error per request must not become a line per request. Not thread-safe. Bounded: keys whose interval has
// passed make room for new ones, and while there is none, all that find no place share one budget.
class log_sampler {
public:
    explicit log_sampler(std::chrono::nanoseconds interval) : interval_(interval) {}
    // Whether to write now, and how many lines of this key were held back since the last one.
    struct verdict {
        bool write;
        std::uint64_t suppressed;
    };
    verdict admit(std::string_view key, std::chrono::nanoseconds now);

private:
    struct entry {
        std::uint64_t key;
        std::chrono::nanoseconds next;
        std::uint64_t suppressed;
    };
    static constexpr std::size_t max_keys = 256;
    static constexpr std::uint64_t all_others = 0; // the shared budget

    entry* find(std::uint64_t key);
    void forget_passed(std::chrono::nanoseconds now);

    std::chrono::nanoseconds interval_;
    std::vector<entry> entries_;
};

} // namespace credlet
