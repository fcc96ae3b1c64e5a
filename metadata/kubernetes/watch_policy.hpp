#pragma once
// What a reflector does after a list or a watch has ended, for whatever reason: list anew or resume, and
// when. Plain and synchronous; the reflector carries it out.

#include "metadata/kubernetes/api_client.hpp"
#include "runtime/random.hpp"

#include <chrono>
#include <string_view>

namespace credlet::metadata::kubernetes {

enum class watch_end {
    closed,        // the body ended as it should: the server's timeoutSeconds
    connection,    // no connection, reset, cut short, or a deadline of the exchange passed
    silent,        // nothing came for too long: half-open
    expired,       // 410: the resourceVersion or the continue token is too old
    throttled,     // 429
    unavailable,   // 5xx
    unauthorized,  // 401, although the token file was read again
    forbidden,     // 403
    version_ahead, // 504 ResourceVersionTooLarge: this server has not caught up with what another one told us
    undecodable,   // a frame or a page that cannot be understood: something was missed
    refused,       // any other answer, 400 for one
};
// The label of credlet_watch_restarts_total.
std::string_view reason_of(watch_end end);
// How a failed list, or the head of a watch, ended.
watch_end end_of(const api_error& e);

struct watch_step {
    bool relist;
    std::chrono::milliseconds delay;
};

class watch_policy {
public:
    // 800 ms, doubled up to 30 s, full jitter: the backoff of Kubernetes' own client, which every API server
    // knows.
    static constexpr std::chrono::milliseconds first_backoff{800}, longest_backoff{30000};
    // Longer than this the server is not believed: the map of pods would age unseen.
    static constexpr std::chrono::milliseconds longest_retry_after{60000};
    // A watch that lasted so long was healthy: the next trouble is a new one.
    static constexpr std::chrono::milliseconds healthy_after{10000};
    // One that was closed sooner than this is not simply begun anew at once: a server that closes all watches
    // at once would be asked without pause.
    static constexpr std::chrono::milliseconds briefest_watch{1000};
    // After so many in a row the version is of no use: the cluster's history was set back, by a restored
    // backup.
    static constexpr unsigned versions_ahead_in_a_row = 3;
    // After so many refusals by the server in a row, and no event taken between them, it may be this very
    // version that it cannot serve; a list does not need it.
    static constexpr unsigned unavailable_in_a_row = 3;

    explicit watch_policy(random_source& random) : random_(random) {}

    // A watch event was taken: the version to resume from is another one now.
    void event_taken() { unavailable_ = 0; }
    // have_version: there was a complete list and its resourceVersion can be resumed from. lasted: how long
    // the watch stood open; zero for a list and for a watch that did not open.
    watch_step after(watch_end end, bool have_version, std::chrono::nanoseconds lasted,
                     std::optional<std::chrono::milliseconds> retry_after);

private:
    std::chrono::milliseconds backoff(unsigned& failures);

    random_source& random_;
    // Each counts what happened in a row.
    unsigned failures_ = 0;
    unsigned relists_ = 0; // because something was missed
    unsigned versions_ahead_ = 0;
    unsigned unavailable_ = 0;
};

} // namespace credlet::metadata::kubernetes
