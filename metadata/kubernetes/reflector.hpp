#pragma once
// Keeps a sink equal to what the API server has of one kind of objects: one list, then watches, each resumed
// where the last one ended (watch_policy says how). Upstream loop only; all references outlive run().
// https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
//
// A watch that has gone dead without a word looks exactly like a cluster in which nothing happens. Three
// things tell them apart:
// - the kernel, where the network is gone (TCP_USER_TIMEOUT and keep-alive of the client's sockets);
// - bookmarks, which a server sends about once a minute: `longest_silence` without a byte ends the watch;
// - with `probe` (pods): when not a byte came for `silence`, the objects' metadata are listed from the
// server's
//   cache over another connection. Are they what we have seen, there is nothing that the watch could have
//   told us. Do they differ, and `grace` later still nothing came, the watch is dead and is resumed from the
//   last version. In an idle cluster no watch is ever restarted for being idle, in a busy one neither: other
//   nodes' pods are not compared. If the probe asks a server that lags behind, the price is a cheap
//   resumption, at most one in `silence`, and the same where the answer is larger than a page may be. A probe
//   that fails says nothing about the watch; it is repeated (probe_policy says when).

#include "metadata/kubernetes/api_client.hpp"
#include "metadata/kubernetes/object_feed.hpp"
#include "metadata/kubernetes/probe_policy.hpp"
#include "metadata/kubernetes/watch_frames.hpp"
#include "metadata/kubernetes/watch_policy.hpp"
#include "metrics/metrics.hpp"

#include <optional>
#include <string>

namespace credlet::metadata::kubernetes {

struct reflector_settings {
    std::string what; // for people: "pods on node n1"
    metrics::watched metric{};
    std::string collection;     // "/api/v1/pods"
    std::string field_selector; // unescaped; empty: all
    bool metadata_only = false; // PartialObjectMetadata
    bool as_own_node = false;
    std::size_t page = 50; // objects per page; halved while a page is larger than max_page_bytes
    // While it is parsed, a page takes about five times its size.
    std::size_t max_page_bytes = std::size_t{3} * 512 * 1024;
    std::chrono::milliseconds request_timeout{5000}; // of a watch's head, and of a probe
    // Of a page: to list one node's pods, servers before 1.31 read all pods of the cluster from etcd.
    std::chrono::milliseconds list_timeout{30000};
    std::chrono::seconds timeout_min{300}, timeout_max{600}; // timeoutSeconds of a watch, drawn for each
    std::chrono::milliseconds overtime{15000}; // silence after which even timeoutSeconds is overdue
    std::optional<std::chrono::milliseconds> longest_silence; // none: timeoutSeconds and overtime
    bool probe = false;
    std::chrono::milliseconds silence{35000}, grace{5000};
    std::string permission_hint; // what to grant when the server answers 403
};

class reflector {
public:
    reflector(reflector_settings settings, api_client& api, object_feed& feed, const clock& time,
              random_source& random, metrics::kubernetes_metrics& metrics, logger& log);

    // Until cancelled.
    awaitable<void> run();

private:
    struct ending {
        watch_end end;
        std::optional<std::chrono::milliseconds> retry_after;
        std::string message;
        std::chrono::nanoseconds lasted{0};
        bool contradicted = false; // silent, although the server has told of something else by other means
    };

    awaitable<std::optional<ending>> list();
    awaitable<ending> watch();
    awaitable<ending> read_events(http_stream& stream, std::chrono::milliseconds silence);
    awaitable<ending> doubt_silence();
    awaitable<api_result<bool>> matches_server();
    std::optional<ending> take(std::string_view frame);
    [[nodiscard]] std::string target(std::string_view parameters) const;
    [[nodiscard]] std::string accept(bool metadata, bool list) const;
    void alive();
    void report(const ending& e, watch_step next);

    reflector_settings settings_;
    api_client& api_;
    object_feed& feed_;
    const clock& time_;
    random_source& random_;
    metrics::kubernetes_metrics& metrics_;
    logger& log_;
    log_sampler sampler_;
    watch_policy policy_;
    probe_policy probes_;
    std::size_t page_;
    std::string version_; // of the list or the last event; kept while resuming
    boot_time last_alive_;
    bool troubled_ = false; // said so in the log
};

} // namespace credlet::metadata::kubernetes
