#pragma once
// A log that keeps its lines, for tests that look at them.

#include "runtime/log.hpp"

#include <string>
#include <utility>
#include <vector>

namespace credlet::test {

class recording_log final : public logger {
public:
    struct line {
        log_level level;
        std::string message;
        std::vector<std::pair<std::string, std::string>> fields; // numbers and booleans as text
        [[nodiscard]] std::string field(std::string_view key) const {
            for (const auto& [k, v] : fields)
                if (k == key)
                    return v;
            return {};
        }
    };
    [[nodiscard]] bool enabled(log_level) const override { return true; }
    void write(log_level level, std::string_view message, std::initializer_list<log_field> fields) override {
        line l{level, std::string(message), {}};
        for (const auto& f : fields)
            l.fields.emplace_back(f.key, text(f.value));
        lines.push_back(std::move(l));
    }
    std::vector<line> lines;

private:
    static std::string text(const log_field::value_type& value) {
        if (const auto* s = std::get_if<std::string_view>(&value))
            return std::string(*s);
        if (const auto* i = std::get_if<std::int64_t>(&value))
            return std::to_string(*i);
        if (const auto* d = std::get_if<double>(&value))
            return std::to_string(*d);
        return std::get<bool>(value) ? "true" : "false";
    }
};

} // namespace credlet::test
