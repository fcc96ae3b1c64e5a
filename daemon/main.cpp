#include "daemon/ask_command.hpp"
#include "daemon/explain_command.hpp"
#include "daemon/link_command.hpp"
#include "daemon/options.hpp"
#include "daemon/probe_command.hpp"
#include "daemon/serve.hpp"

#include <cstdio>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

// Exit codes: 0 done; 1 the daemon failed, or an explained step did, or it is not healthy or ready, or the
// link could not be had; 2 wrong usage, or no daemon to ask.
int main(int argc, char** argv) {
    namespace app = credlet::app;
    try {
        const std::vector<std::string> arguments(argv + 1, argv + argc);
        const auto line = app::parse_command_line(arguments, app::process_surroundings());
        if (!line) {
            std::fprintf(stderr, "credlet: %s\n", line.error().message.c_str());
            return 2;
        }
        switch (line->what) {
        case app::action::serve:
            return app::serve(line->serve);
        case app::action::ask:
            return app::run_ask(line->ask, std::cout, std::cerr);
        case app::action::explain:
            return app::run_explain(line->explain, std::cout, std::cerr);
        case app::action::probe:
            return app::run_probe(line->probe, std::cout, std::cerr);
        case app::action::link:
            return app::run_link(line->link, std::cout, std::cerr);
        case app::action::version:
        case app::action::help:
            std::fputs(line->text.c_str(), stdout);
            return 0;
        }
    } catch (const std::exception& e) {
        std::fprintf(stderr, "credlet: %s\n", e.what());
    }
    return 1;
}
