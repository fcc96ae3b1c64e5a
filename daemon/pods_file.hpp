#pragma once
// The static pod map in place of Kubernetes, for development on one machine: --pods-file. Runs on the
// upstream loop.
//
//   {"pods": [{"namespace": "shop", "name": "web-0", "uid": "...", "serviceAccount": "web",
//              "addresses": ["127.0.0.2"], "hostNetwork": false}],
//    "serviceAccounts": [{"namespace": "shop", "name": "web", "uid": "...", "tokenFile": "web.jwt",
//                         "annotations": {"credlet.io/role-arn": "arn:aws:iam::123456789012:role/web"}}],
//    "issuer": "https://...", "jwksFile": "jwks.json"}
//
// A uid that is left out is made of namespace and name. Files that are named are relative to this one. The
// tokens given to STS are those of tokenFile, read anew for each call; without one, what a caller presented.
// Callers' tokens are verified with the keys in jwksFile; without one they are refused. The file is read
// again when it changes; a bad one leaves the last good one in force.

#include "daemon/options.hpp"
#include "metadata/cluster.hpp"
#include "metrics/metrics.hpp"
#include "runtime/task_group.hpp"
#include "sts/credential_service.hpp"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace credlet::app {

struct static_cluster {
    std::vector<metadata::pod> pods;
    std::vector<metadata::service_account> service_accounts;
    // For the service account at the same position; empty: none.
    std::vector<std::string> token_files;
    std::string issuer;
    std::string jwks_file;
};

// directory: what relative names of files are completed with.
result<static_cluster> parse_pods_file(std::string_view json, const std::string& directory,
                                       const std::string& node_name,
                                       const std::vector<std::string>& annotation_prefixes);

class pods_file : public metadata::cluster,
                  public metadata::presented_tokens,
                  public sts::web_identity_tokens {
public:
    // Feeds what was read and watches the file. The sinks get nothing before this.
    virtual void start(metadata::object_sink<metadata::pod>& pods,
                       metadata::object_sink<metadata::service_account>& accounts) = 0;
    // Looks whether the file has changed, and feeds it if so. start() calls it every second.
    virtual void refresh() = 0;
    virtual void stop() = 0;
};

// Uses pods_file, node_name and annotation_prefixes of o, which must outlive it as all else does; `tasks` are
// drained before it goes. Fails when the file cannot be read or is not well-formed. metrics may be null.
result<std::unique_ptr<pods_file>> make_pods_file(task_group& tasks, const clock& time, logger& log,
                                                  const options& o,
                                                  metrics::kubernetes_metrics* metrics = nullptr);

} // namespace credlet::app
