#pragma once
// Reads the Prometheus text format strictly enough to notice when it is wrong.
// https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format

#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>

namespace credlet::test {

struct exposition {
    std::map<std::string, double> samples; // by name and labels as they stand there: name{a="b"}
    std::map<std::string, std::string> types;
    std::set<std::string> helped;

    [[nodiscard]] double at(const std::string& series) const {
        const auto found = samples.find(series);
        if (found == samples.end())
            throw std::runtime_error("no such series: " + series);
        return found->second;
    }
    [[nodiscard]] bool has(const std::string& series) const { return samples.contains(series); }
};

// The family a sample belongs to.
inline std::string family_of(const exposition& e, const std::string& name) {
    for (const std::string_view suffix : {"_bucket", "_sum", "_count"}) {
        if (!name.ends_with(suffix))
            continue;
        const auto family = name.substr(0, name.size() - suffix.size());
        const auto type = e.types.find(family);
        if (type != e.types.end() && type->second == "histogram")
            return family;
    }
    return name;
}

inline exposition parse_exposition(std::string_view text) {
    exposition e;
    if (!text.ends_with('\n'))
        throw std::runtime_error("the last line has no end");
    while (!text.empty()) {
        const auto end = text.find('\n');
        const std::string line(text.substr(0, end));
        text.remove_prefix(end + 1);
        if (line.starts_with("# HELP ")) {
            const auto name = line.substr(7, line.find(' ', 7) - 7);
            if (line.size() <= 8 + name.size() || !e.helped.insert(name).second)
                throw std::runtime_error("bad or repeated help: " + line);
        } else if (line.starts_with("# TYPE ")) {
            const auto space = line.find(' ', 7);
            if (!e.types.emplace(line.substr(7, space - 7), line.substr(space + 1)).second)
                throw std::runtime_error("repeated type: " + line);
        } else {
            const auto space = line.rfind(' ');
            const auto series = line.substr(0, space);
            const auto name = series.substr(0, series.find('{'));
            const auto family = family_of(e, name);
            if (!e.types.contains(family) || !e.helped.contains(family))
                throw std::runtime_error("no HELP and TYPE before: " + line);
            std::size_t parsed = 0;
            const double value = std::stod(line.substr(space + 1), &parsed);
            if (parsed != line.size() - space - 1 || !e.samples.emplace(series, value).second)
                throw std::runtime_error("bad or repeated sample: " + line);
        }
    }
    return e;
}

} // namespace credlet::test
