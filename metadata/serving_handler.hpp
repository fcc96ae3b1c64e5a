#pragma once
// Answers the requests of the HTTP server as the serving core decides, waits where it says so, counts and
// logs. Serving loop only.

#include "metadata/serving_core.hpp"
#include "metrics/metrics.hpp"
#include "runtime/http_server.hpp"
#include "runtime/log.hpp"

#include <boost/unordered/unordered_flat_map.hpp>

#include <functional>
#include <unordered_map>

namespace credlet::metadata {

class serving_handler final : public request_handler {
public:
    // All references outlive the handler. send: brings an ask to the upstream loop.
    serving_handler(const service_settings& settings, const imds_sessions::key& session_key,
                    const clock& time, metrics::serving_metrics& metrics, logger& log,
                    std::function<void(ask)> send);

    reply_ptr answer_now(const request_head& head, const connection_info& connection) override;
    awaitable<reply_ptr> answer_later(std::unique_ptr<owned_request> request,
                                      connection_info connection) override;
    reply_ptr answer_fault(request_fault fault, const connection_info& connection) override;

    // What came from upstream. close_peer is called for each address that changed hands.
    void deliver(delivery d, const std::function<void(const asio::ip::address&)>& close_peer);

private:
    struct waiter {
        asio::steady_timer* wake;
        std::optional<answer> came;
    };
    struct waiting_place; // holds a waiter's place in the tables
    void finished(const request_facts& facts, const step& s, const connection_info& connection,
                  metrics::outcome served_as, boot_time started);
    [[nodiscard]] std::string shown_peer(const connection_info& connection) const;
    [[nodiscard]] std::chrono::milliseconds hold(route r) const;

    const service_settings& settings_;
    const clock& time_;
    metrics::serving_metrics& metrics_;
    logger& log_;
    log_sampler sampler_{std::chrono::seconds(10)};
    std::function<void(ask)> send_;
    serving_core core_;
    std::uint64_t next_id_ = 1;
    std::unordered_map<std::uint64_t, waiter*> waiters_;
    boost::unordered_flat_map<std::uint64_t, std::size_t> waiting_of_peer_; // by caller::limit_key
};

} // namespace credlet::metadata
