#pragma once
// STS over HTTPS: one request and one answer per call, told apart into credentials and failures.

#include "metrics/metrics.hpp"
#include "runtime/https_client.hpp"
#include "sts/client.hpp"
#include "sts/endpoint.hpp"

#include <memory>

namespace credlet::sts {

// Credentials that would never be served, for want of life, are refused (transient, ExpiredCredentials).
//
// http talks to e.server. All references outlive the client; coroutines still running refer to the client and
// to their arguments. call_timeout bounds one request and its answer.
//
// The client learns STS's time from the Date of its answers: it reports the difference to the metrics and,
// where that is more than a minute, signs by STS's time, so that a node with a wrong clock can still assume
// target roles.
std::unique_ptr<client> make_client(https_client& http, const clock& time, endpoint e,
                                    metrics::sts_metrics& metrics,
                                    std::chrono::milliseconds call_timeout = std::chrono::milliseconds(3000));

} // namespace credlet::sts
