#include "runtime/event_log.hpp"

namespace credlet {

namespace {

constexpr std::chrono::minutes interval{1};

} // namespace

https_client_events log_client_events(logger& log, const clock& time, std::string server,
                                      const std::function<void(bool ok)>& ca_read) {
    const auto warn = [&log, &time, server, sampler = std::make_shared<log_sampler>(interval)](
                          std::string_view message, const error& why) {
        const auto admitted = sampler->admit(message, time.now().time_since_epoch());
        if (admitted.write)
            log.warn(message,
                     {{"server", server}, {"error", why.message}, {"suppressed", admitted.suppressed}});
    };
    https_client_events events;
    events.resolve_failed = [warn](const error& why) {
        warn("a host name cannot be looked up; what was known of it before stays in use for an hour", why);
    };
    events.ca_reloaded = [&log, server, ca_read] {
        ca_read(true);
        log.info("the CA certificates were read again", {{"server", server}});
    };
    events.ca_failed = [warn, ca_read](const error& why) {
        ca_read(false);
        warn("the CA certificates cannot be read again; those read before stay in use", why);
    };
    return events;
}

std::function<void(const std::string& what)> log_handler_failures(logger& log, const clock& time,
                                                                  std::string listener) {
    return [&log, &time, listener = std::move(listener),
            sampler = std::make_shared<log_sampler>(interval)](const std::string& what) {
        const auto admitted = sampler->admit(what, time.now().time_since_epoch());
        if (admitted.write)
            log.error("a request handler failed: this is a bug",
                      {{"listener", listener}, {"error", what}, {"suppressed", admitted.suppressed}});
    };
}

} // namespace credlet
