#pragma once
// The configuration file: a small part of TOML (https://toml.io/en/v1.0.0), one setting per line.
//
//   # a comment
//   node-name = "node-1"
//   listen = ["169.254.170.23:80", "[fd00:ec2::23]:80"]
//   imds-v1 = true
//   sts-rate = 20
//
// Numbers and words without quotes are taken as the text they are. Strings are "basic" with \" \\ \n \t or
// 'literal'. There are no tables. A key may stand there once.

#include "runtime/error.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace credlet::app {

struct configuration_entry {
    std::string key;
    std::vector<std::string> values; // one, or those of an array
    std::size_t line;                // from 1
};

// errc::malformed, with the line.
result<std::vector<configuration_entry>> parse_configuration(std::string_view text);

} // namespace credlet::app
