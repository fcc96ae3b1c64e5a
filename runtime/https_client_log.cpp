#include "runtime/https_client_log.hpp"

namespace credlet {

https_client_events logged_events(logger& log, const clock& time, std::string server,
                                  std::function<void(bool ok)> ca_read) {
    // Both kinds of failure may come every second for as long as their cause lasts.
    const auto warn = [&log, &time, server, sampler = std::make_shared<log_sampler>(std::chrono::minutes(1))](
                          std::string_view message, const error& why) {
        const auto admitted = sampler->admit(message, time.now().time_since_epoch());
        if (admitted.write)
            log.warn(message,
                     {{"server", server}, {"error", why.message}, {"suppressed", admitted.suppressed}});
    };
    https_client_events events;
    events.resolve_failed = [warn](const error& why) {
        warn("a host name cannot be looked up; the addresses known before stay in use for an hour", why);
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

} // namespace credlet
