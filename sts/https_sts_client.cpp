#include "sts/https_sts_client.hpp"

#include "sts/answer.hpp"
#include "sts/failures.hpp"
#include "sts/query.hpp"
#include "sts/sigv4.hpp"

#include <algorithm>
#include <array>

namespace credlet::sts {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::string_view form_type = "application/x-www-form-urlencoded";
constexpr seconds tolerated_skew{
    60}; // Date has whole seconds, and answers take time; STS itself tolerates minutes

// What STS may quote in an error and nobody may read.
using secret_views = std::span<const std::string_view>;

bool equal_ignoring_case(std::string_view a, std::string_view b) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [&](char x, char y) { return lower(x) == lower(y); });
}

// arn:PARTITION:sts::ACCOUNT:assumed-role/NAME/SESSION names a session of this role.
bool is_session_of(std::string_view assumed_role_arn, const role_arn& role) {
    const std::string prefix =
        "arn:" + role.partition + ":sts::" + role.account + ":assumed-role/" + role.name + "/";
    return equal_ignoring_case(assumed_role_arn.substr(0, prefix.size()), prefix);
}

failure refuse(std::string code, std::string message) {
    failure f;
    f.code = std::move(code);
    f.message = std::move(message);
    return f;
}

class https_sts_client final : public client {
public:
    https_sts_client(https_client& http, const clock& time, endpoint e, metrics::sts_metrics& metrics,
                     milliseconds call_timeout)
        : http_(http),
          time_(time),
          endpoint_(std::move(e)),
          metrics_(metrics),
          call_timeout_(call_timeout) {}

    [[nodiscard]] std::optional<failure> refuses(const credential_spec& spec) const override;
    awaitable<outcome<credentials>> assume_role_with_web_identity(const credential_spec& spec,
                                                                  seconds duration,
                                                                  secret_string web_identity_token) override;
    awaitable<outcome<credentials>> assume_role(const credential_spec& spec, seconds duration,
                                                const credentials& with) override;

private:
    // What was asked for, and what the answer is judged by.
    struct asked {
        operation op;
        std::string_view role; // its ARN
        std::string_view session_name;
        seconds duration;
        secret_views secrets;
    };
    awaitable<outcome<credentials>> call(asked what, http_request request);
    outcome<credentials> judge(const asked& what, http_response response);
    outcome<credentials> accept(const asked& what, issued_credentials issued,
                                std::optional<wall_time> date) const;
    failure read_failure(const asked& what, http_response& response, std::optional<wall_time> date);
    void learn_time(std::optional<wall_time> date);
    [[nodiscard]] wall_time time_of_sts() const;
    void sign(http_request& request, const credentials& with) const;

    https_client& http_;
    const clock& time_;
    const endpoint endpoint_;
    metrics::sts_metrics& metrics_;
    const milliseconds call_timeout_;
    milliseconds skew_{}; // our wall clock minus STS's, by its last answer
};

http_request form_request(secret_string body) {
    http_request request;
    request.method = "POST";
    request.headers.push_back({"Content-Type", secret_string(form_type)});
    request.body = std::move(body);
    request.max_response_body = max_answer;
    return request;
}

std::optional<failure> https_sts_client::refuses(const credential_spec& spec) const {
    if (auto problem = check_role(endpoint_, spec.role_arn))
        return problem;
    if (!spec.target_role_arn.empty())
        if (auto problem = check_role(endpoint_, spec.target_role_arn))
            return problem;
    return check_limits(spec);
}

awaitable<outcome<credentials>>
https_sts_client::assume_role_with_web_identity(const credential_spec& spec, seconds duration,
                                                secret_string web_identity_token) {
    if (auto problem = check_role(endpoint_, spec.role_arn))
        co_return std::move(*problem);
    auto body = web_identity_form(spec, duration, web_identity_token.reveal());
    if (!body)
        co_return body.error();
    const std::array<std::string_view, 1> secrets{web_identity_token.reveal()};
    const asked what{operation::assume_role_with_web_identity, spec.role_arn, spec.session_name, duration,
                     secrets};
    auto request = form_request(std::move(*body));
    co_return co_await call(what, std::move(request));
}

awaitable<outcome<credentials>> https_sts_client::assume_role(const credential_spec& spec, seconds duration,
                                                              const credentials& with) {
    if (auto problem = check_role(endpoint_, spec.target_role_arn))
        co_return std::move(*problem);
    auto body = assume_role_form(spec, duration);
    if (!body)
        co_return body.error();
    const std::array<std::string_view, 2> secrets{with.secret_access_key.reveal(),
                                                  with.session_token.reveal()};
    const asked what{operation::assume_role, spec.target_role_arn, spec.session_name,
                     std::min(duration, max_chained_duration), secrets};
    auto request = form_request(std::move(*body));
    sign(request, with);
    co_return co_await call(what, std::move(request));
}

void https_sts_client::sign(http_request& request, const credentials& with) const {
    const signing_scope scope{endpoint_.signing_region, "sts", time_of_sts()};
    const auto host = authority(endpoint_.server);
    const auto path = endpoint_.server.base_path + request.target;
    request.headers.push_back({"X-Amz-Date", secret_string(amz_date(scope.at))});
    request.headers.push_back({"X-Amz-Security-Token", with.session_token.copy()});

    signable_request signable{request.method, path, {{"host", host}}, request.body.reveal()};
    for (const auto& header : request.headers)
        signable.headers.push_back({header.name, header.value.reveal()});
    request.headers.push_back({"Authorization", authorization(signable, scope, with.access_key_id,
                                                              with.secret_access_key.reveal())});
}

awaitable<outcome<credentials>> https_sts_client::call(asked what, http_request request) {
    const auto started = time_.now();
    auto response = co_await http_.exchange(std::move(request), call_timeout_);
    outcome<credentials> answer =
        response ? judge(what, std::move(*response))
                 : outcome<credentials>(from_transport(
                       in_context("calling STS at " + authority(endpoint_.server), response.error())));
    metrics_.request(to_string(what.op), answer ? "ok" : metric_result(answer.error()),
                     time_.now() - started);
    co_return answer;
}

outcome<credentials> https_sts_client::judge(const asked& what, http_response response) {
    std::optional<wall_time> date;
    if (const auto text = response.header("Date"))
        date = http_date(*text);
    if (response.status != 200)
        return read_failure(what, response, date);
    auto issued = parse_credentials(what.op, response.body);
    if (!issued) {
        auto f = from_transport(issued.error());
        f.http_status = response.status;
        return f;
    }
    learn_time(date);
    return accept(what, std::move(*issued), date);
}

failure https_sts_client::read_failure(const asked& what, http_response& response,
                                       std::optional<wall_time> date) {
    const auto wait = retry_after(response, time_.wall());
    auto document = parse_error(response.body);
    // A redirect is no answer of STS, whatever its body says.
    if (!document || response.status < 400)
        return from_status(response.status, wait);
    learn_time(date);
    if (document->request_id.empty())
        document->request_id = response.header("x-amzn-requestid").value_or("").substr(0, 64);
    for (auto* text : {&document->code, &document->message, &document->request_id}) {
        auto safe = one_line(*text, what.secrets);
        OPENSSL_cleanse(text->data(), text->size());
        *text = std::move(safe);
    }
    return from_error_document(*document, response.status, wait);
}

outcome<credentials> https_sts_client::accept(const asked& what, issued_credentials issued,
                                              std::optional<wall_time> date) const {
    const auto role = role_arn::parse(what.role);
    if (!role)
        return refuse("InvalidRoleArn", role.error().message);
    if (!issued.assumed_role_arn.empty() && !is_session_of(issued.assumed_role_arn, *role))
        return refuse("WrongRole", "STS answered with credentials of " +
                                       one_line(issued.assumed_role_arn, what.secrets) + " when asked for " +
                                       std::string(what.role));

    // Life by STS's own clock, so that ours may be wrong. Where a Date is absent or says that STS granted
    // more than it was asked for, ours has to do. Never more than was asked for.
    const auto wall = time_.wall();
    const bool date_is_sane = date && issued.expiration - *date <= what.duration + tolerated_skew;
    const auto life =
        std::min<milliseconds>(issued.expiration - (date_is_sane ? *date : wall), what.duration);
    if (life <= serve_until_before_expiry)
        return refuse(
            "ExpiredCredentials",
            "STS answered with credentials that " +
                (life.count() > 0
                     ? "expire in " + std::to_string(std::chrono::floor<seconds>(life).count()) + " s"
                     : std::string("have expired already")) +
                (date_is_sane ? "" : " by this node's clock"));

    credentials c;
    c.access_key_id = std::move(issued.access_key_id);
    c.secret_access_key = std::move(issued.secret_access_key);
    c.session_token = std::move(issued.session_token);
    c.expiration = issued.expiration;
    c.issued = wall;
    c.fetched = time_.now();
    c.expires = c.fetched + life;
    c.assumed_role_arn = std::move(issued.assumed_role_arn);
    c.account_id = role->account;
    c.role_arn = what.role;
    c.session_name = what.session_name;
    return c;
}

void https_sts_client::learn_time(std::optional<wall_time> date) {
    if (!date)
        return;
    skew_ = time_.wall() - *date;
    metrics_.clock_skew(skew_);
}

wall_time https_sts_client::time_of_sts() const {
    return skew_ > -tolerated_skew && skew_ < tolerated_skew ? time_.wall() : time_.wall() - skew_;
}

} // namespace

std::unique_ptr<client> make_client(https_client& http, const clock& time, endpoint e,
                                    metrics::sts_metrics& metrics, milliseconds call_timeout) {
    return std::make_unique<https_sts_client>(http, time, std::move(e), metrics, call_timeout);
}

} // namespace credlet::sts
