// Everything an operator can hand to the daemon: arguments, environment, configuration file, role policy,
// pods file. The first byte says which.

#include "daemon/configuration_file.hpp"
#include "daemon/options.hpp"
#include "daemon/pods_file.hpp"
#include "daemon/role_policy_file.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <sstream>

using namespace credlet;
using namespace credlet::app;

namespace {

// An error is one line for a person, whatever came in.
template <class T>
void expect_readable(const result<T>& r) {
    if (r.has_value())
        return;
    const auto& message = r.error().message;
    if (message.empty() || message.find('\0') != std::string::npos)
        std::abort();
}

void parse_with(const std::vector<std::string>& arguments, const std::string& variable,
                const std::string& file) {
    surroundings around;
    around.environment = [&](const std::string& name) -> std::optional<std::string> {
        if (name == "NODE_NAME")
            return "node-1";
        if (name == "AWS_REGION")
            return "us-east-1";
        return variable;
    };
    around.read_file = [&](const std::string&) -> result<std::string> { return file; };
    expect_readable(parse_command_line(arguments, around));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0)
        return 0;
    const std::string text(reinterpret_cast<const char*>(data + 1), size - 1);
    switch (data[0]) {
    case 'a': {
        std::vector<std::string> arguments;
        std::istringstream lines(text);
        for (std::string line; std::getline(lines, line);)
            arguments.push_back(line);
        parse_with(arguments, "", "");
        break;
    }
    case 'e':
        parse_with({"serve"}, text, text);
        break;
    case 'f':
        expect_readable(parse_configuration(text));
        parse_with({"serve", "--config", "/f", "--kube-api", "https://k"}, "", text);
        break;
    case 'r':
        expect_readable(parse_role_policy(text));
        break;
    default:
        expect_readable(parse_pods_file(text, "/dir", "node-1", {"credlet.io/"}));
        break;
    }
    return 0;
}
