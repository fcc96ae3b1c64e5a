#pragma once
// What was said about the settings, and where, before it is checked: the command line, the environment and
// the configuration file joined by their precedence.

#include "daemon/settings.hpp"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace credlet::app {

// By the command line.
struct told_settings {
    std::map<std::string, std::vector<std::string>, std::less<>> settings;
    std::vector<std::string> config;
};

// The texts a setting was given, and where.
struct given_values {
    std::vector<std::string> values;
    std::string where; // "--region", "the environment variable CREDLET_REGION", "'region' (line 3 of FILE)"
    bool foreign = false;
};
// By setting's name; what has precedence is in it.
using all_given = std::map<std::string, given_values, std::less<>>;

// Everything that was said. Takes what told holds.
result<all_given> gather_settings(told_settings& told, const surroundings& around);

// Checks what was given and puts it into the options.
result<void> apply(options& o, const setting& s, const given_values& g);

// For the options of one command, which are no settings.

// Exactly one value for what can only have one.
result<std::optional<std::string>> single(const std::vector<std::string>& values, const std::string& name);
// An environment variable; an empty one is not set.
std::optional<std::string> variable(const surroundings& around, const std::string& name);
std::vector<std::string> split_by_comma(const std::string& text);
// Text from outside, for one line of an error message.
std::string one_line(std::string_view text);
// Values in quotes, shortened, and without the passwords of URLs.
std::string quoted(const std::vector<std::string>& values);

} // namespace credlet::app
