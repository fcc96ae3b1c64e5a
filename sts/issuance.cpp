#include "sts/issuance.hpp"

#include <algorithm>
#include <utility>

namespace credlet::sts {

namespace {

failure failed_as(failure_kind kind, std::string code, std::string message) {
    failure f;
    f.kind = kind;
    f.code = std::move(code);
    f.message = std::move(message);
    return f;
}

failure cancelled() { return failed_as(failure_kind::cancelled, "Cancelled", "credlet is stopping"); }

// "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.", under one of the several
// names that STS has for a ValidationError.
bool exceeds_max_session_duration(const failure& f) {
    return f.kind == failure_kind::misconfigured && f.message.find("MaxSessionDuration") != std::string::npos;
}

awaitable<outcome<credentials>> obtain_chained(client& sts, const credential_spec& spec, secret_string jwt,
                                               issuance& notes) {
    ++notes.sts_calls;
    const auto first = co_await sts.assume_role_with_web_identity(spec, default_duration, std::move(jwt));
    if (first.has_error())
        co_return first.error();
    ++notes.sts_calls;
    // API_AssumeRole: with role chaining an hour is the most.
    co_return co_await sts.assume_role(spec, std::min(spec.duration, default_duration), *first);
}

// `notes` is where everything but the result goes; the caller keeps it and the request alive.
awaitable<outcome<credentials>> obtain(client& sts, web_identity_tokens& tokens,
                                       const issuance_request& request, issuance& notes) {
    const auto& spec = *request.spec;
    if (auto problem = sts.refuses(spec))
        co_return std::move(*problem);
    auto token = co_await tokens.obtain(request.spec, request.fresh_token);
    if (token.has_error())
        co_return std::move(token).error();
    notes.token_source = token->source;
    if (!spec.target_role_arn.empty())
        co_return co_await obtain_chained(sts, spec, std::move(token->jwt), notes);

    const auto wanted =
        request.short_duration_only ? std::min(spec.duration, default_duration) : spec.duration;
    ++notes.sts_calls;
    if (wanted <= default_duration)
        co_return co_await sts.assume_role_with_web_identity(spec, wanted, std::move(token->jwt));

    auto answer = co_await sts.assume_role_with_web_identity(spec, wanted, token->jwt.copy());
    if (answer.has_value() || !exceeds_max_session_duration(answer.error()))
        co_return answer;
    notes.duration_refused = true;
    ++notes.sts_calls;
    co_return co_await sts.assume_role_with_web_identity(spec, default_duration, std::move(token->jwt));
}

// Reports by value alone: an exception would surface only when the deadline has passed.
awaitable<outcome<credentials>> obtain_or_fail(client& sts, web_identity_tokens& tokens,
                                               const issuance_request& request, issuance& notes) {
    auto result = outcome<credentials>(cancelled());
    try {
        result = co_await obtain(sts, tokens, request, notes);
    } catch (const boost::system::system_error& e) {
        if (e.code() != asio::error::operation_aborted)
            result = failed_as(failure_kind::transient, "InternalError", e.what());
    } catch (const std::exception& e) {
        result = failed_as(failure_kind::transient, "InternalError", e.what());
    }
    co_return result;
}

} // namespace

awaitable<issuance> issue(client& sts, web_identity_tokens& tokens, issuance_request request) {
    using namespace asio::experimental::awaitable_operators;
    issuance done{.result = cancelled()};
    asio::steady_timer deadline(co_await asio::this_coro::executor, request.timeout);
    auto winner = co_await (obtain_or_fail(sts, tokens, request, done) || deadline.async_wait(as_result));
    const auto state = co_await asio::this_coro::cancellation_state;
    if (winner.index() == 0) {
        done.result = std::get<0>(std::move(winner));
    } else if (state.cancelled() == asio::cancellation_type::none) {
        auto f = failed_as(failure_kind::transient, "Timeout",
                           "no credentials within " + std::to_string(request.timeout.count()) +
                               " ms; check the way to STS and to the token source");
        f.transport = errc::timed_out;
        done.result = std::move(f);
    }
    co_return done;
}

} // namespace credlet::sts
