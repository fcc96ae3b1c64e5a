#include "daemon/given_settings.hpp"

#include "daemon/configuration_file.hpp"

#include <algorithm>
#include <sstream>

namespace credlet::app {

namespace {

// A URL may carry a password before its '@'; the message about it must not.
std::string without_user(const std::string& value) {
    const auto scheme = value.find("://");
    const auto at = value.rfind('@');
    if (scheme == std::string::npos || at == std::string::npos || at < scheme)
        return value;
    return value.substr(0, scheme + 3) + "..." + value.substr(at);
}

result<void> add_file(all_given& given, const std::string& path, const surroundings& around) {
    const auto text = around.read_file(path);
    if (!text)
        return in_context("configuration file", text.error());
    auto entries = parse_configuration(*text);
    if (!entries)
        return in_context("configuration file " + quoted({path}), entries.error());
    for (auto& entry : *entries) {
        const auto where = "line " + std::to_string(entry.line) + " of " + one_line(path);
        const auto& settings = all_settings();
        const auto known = std::find_if(settings.begin(), settings.end(),
                                        [&](const setting& s) { return s.name == entry.key; });
        if (known == settings.end())
            return fail(errc::malformed, where + ": there is no setting '" + entry.key +
                                             "'; credlet serve --help lists them, here without '--'");
        if (entry.values.empty())
            return fail(errc::malformed,
                        where + ": '" + entry.key + "' has no value; leave it out for the default");
        if (entry.values.size() > 1 && !known->repeatable)
            return fail(errc::malformed, where + ": '" + entry.key + "' takes one value");
        given.try_emplace(entry.key,
                          given_values{std::move(entry.values), "'" + entry.key + "' (" + where + ")"});
    }
    return {};
}

} // namespace

std::vector<std::string> split_by_comma(const std::string& text) {
    std::vector<std::string> parts;
    std::istringstream in(text);
    for (std::string part; std::getline(in, part, ',');) {
        const auto first = part.find_first_not_of(' ');
        if (first != std::string::npos)
            parts.push_back(part.substr(first, part.find_last_not_of(' ') - first + 1));
    }
    return parts;
}

std::string one_line(std::string_view text) {
    std::string line(text);
    std::replace_if(
        line.begin(), line.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; },
        '?');
    return line;
}

std::string quoted(const std::vector<std::string>& values) {
    std::string all;
    for (const auto& given : values) {
        const auto value = without_user(given);
        all.append(all.empty() ? "'" : ", '").append(one_line(value.substr(0, 200)));
        all.append(value.size() > 200 ? "...'" : "'");
    }
    return all;
}

std::optional<std::string> variable(const surroundings& around, const std::string& name) {
    auto value = around.environment(name);
    if (value && value->empty())
        return std::nullopt;
    return value;
}

result<std::optional<std::string>> single(const std::vector<std::string>& values, const std::string& name) {
    if (values.size() > 1)
        return fail(errc::malformed, "--" + name + " is given " + std::to_string(values.size()) +
                                         " times; it takes one value");
    return values.empty() ? std::nullopt : std::optional(values.front());
}

result<all_given> gather_settings(told_settings& told, const surroundings& around) {
    all_given given;
    for (auto& [name, values] : told.settings)
        if (!values.empty())
            given.try_emplace(name, given_values{std::move(values), "--" + name});
    for (const auto& s : all_settings()) {
        if (auto value = variable(around, variable_of(s.name)))
            given.try_emplace(s.name,
                              given_values{s.repeatable ? split_by_comma(*value) : std::vector{*value},
                                           "the environment variable " + variable_of(s.name)});
    }
    auto config = single(told.config, "config");
    if (!config)
        return config.error();
    if (!*config)
        *config = variable(around, "CREDLET_CONFIG");
    if (*config)
        if (auto added = add_file(given, **config, around); !added)
            return added.error();
    for (const auto& s : all_settings())
        for (const auto& foreign : s.foreign_variables)
            if (auto value = variable(around, foreign))
                given.try_emplace(s.name,
                                  given_values{{*value}, "the environment variable " + foreign, true});
    return given;
}

result<void> apply(options& o, const setting& s, const given_values& g) {
    if (g.values.empty())
        return fail(errc::malformed, g.where + " has no value");
    if (g.values.size() > 1 && !s.repeatable)
        return fail(errc::malformed,
                    g.where + " is given " + std::to_string(g.values.size()) + " times; it takes one value");
    if (const auto applied = s.apply(o, g.values); !applied)
        return fail(errc::malformed,
                    g.where + " is " + quoted(g.values) + "; it " + one_line(applied.error().message));
    return {};
}

} // namespace credlet::app
