#pragma once
// The table of the daemon's settings: name, meaning, and how a value gets into the options. The command line,
// the environment and the configuration file are all read by it.

#include "daemon/option_values.hpp"

#include <functional>
#include <span>
#include <string>
#include <vector>

namespace credlet::app {

struct setting {
    std::string name;   // as on the command line, without "--"
    std::string values; // shape of a value, for --help
    std::string help;
    bool repeatable = false;
    bool is_switch = false; // --name alone means true
    // Variables that are not ours but say the same, in order; honoured where flag, CREDLET_ variable and file
    // are silent.
    std::vector<std::string> foreign_variables;
    // Never called with no values.
    std::function<result<void>(options&, std::span<const std::string>)> apply;
};

const std::vector<setting>& all_settings();

// CREDLET_STS_ENDPOINT for "sts-endpoint".
std::string variable_of(std::string_view setting_name);

} // namespace credlet::app
