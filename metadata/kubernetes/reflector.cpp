#include "metadata/kubernetes/reflector.hpp"

#include <algorithm>
#include <utility>

namespace credlet::metadata::kubernetes {

namespace {

constexpr std::chrono::minutes log_interval{1};

awaitable<bool> cancelled() {
    const auto state = co_await asio::this_coro::cancellation_state;
    co_return state.cancelled() != asio::cancellation_type::none;
}

} // namespace

reflector::reflector(reflector_settings settings, api_client& api, object_feed& feed, const clock& time,
                     random_source& random, metrics::kubernetes_metrics& metrics, logger& log)
    : settings_(std::move(settings)),
      api_(api),
      feed_(feed),
      time_(time),
      random_(random),
      metrics_(metrics),
      log_(log),
      sampler_(log_interval),
      policy_(random),
      probes_(settings_.silence, settings_.grace, random),
      page_(std::max<std::size_t>(settings_.page, 1)),
      last_alive_(time.now()) {}

void reflector::alive() {
    last_alive_ = time_.now();
    metrics_.watch_alive(settings_.metric, last_alive_);
}

std::string reflector::target(std::string_view parameters) const {
    std::string t = settings_.collection + "?";
    t += parameters;
    if (!settings_.field_selector.empty())
        t += "&fieldSelector=" + query_escape(settings_.field_selector);
    return t;
}

std::string reflector::accept(bool metadata, bool list) const {
    if (!metadata)
        return "application/json";
    return std::string("application/json;as=PartialObjectMetadata") + (list ? "List" : "") +
           ";g=meta.k8s.io;v=v1";
}

awaitable<void> reflector::run() {
    // A cancelled wait reports itself by its result; nothing here is to be interrupted by an exception.
    co_await asio::this_coro::throw_if_cancelled(false);
    bool relist = true;
    for (;;) {
        std::optional<ending> e;
        if (relist)
            e = co_await list();
        if (co_await cancelled())
            co_return;
        if (!e) {
            relist = false;
            e = co_await watch();
            if (co_await cancelled())
                co_return;
        }
        const auto next = policy_.after(e->end, !version_.empty(), e->lasted, e->retry_after);
        relist = relist || next.relist;
        metrics_.watch_restarted(settings_.metric, reason_of(e->end));
        report(*e, next);
        if (next.delay.count() > 0 && (co_await sleep_for(next.delay)).has_error())
            co_return;
    }
}

awaitable<std::optional<reflector::ending>> reflector::list() {
    // Objects are deleted and created while a long list is read page by page; its pages are still of one
    // moment, as long as the server remembers it. If it does not (410), begin once more.
    bool restarted = false;
    std::string continue_token;
    feed_.begin_list();
    for (;;) {
        // A page of one object cannot be made smaller.
        const auto most = page_ > 1 ? settings_.max_page_bytes : max_watch_frame;
        api_request request;
        request.target = target("limit=" + std::to_string(page_));
        if (!continue_token.empty())
            request.target += "&continue=" + query_escape(continue_token);
        request.accept = accept(settings_.metadata_only, true);
        request.as_own_node = settings_.as_own_node;
        request.max_response_body = most;
        const auto answer = co_await api_.exchange(std::move(request), settings_.list_timeout);
        if (answer.has_error()) {
            const auto& problem = answer.error();
            const auto end = end_of(problem);
            if (end == watch_end::expired && !continue_token.empty() && !restarted) {
                restarted = true;
                continue_token.clear();
                feed_.begin_list();
                continue;
            }
            if (problem.kind == errc::too_large && page_ > 1) {
                page_ = std::max<std::size_t>(page_ / 2, 1);
                continue;
            }
            co_return ending{end, problem.retry_after, problem.message};
        }
        const auto document = json_document::parse(answer->body.reveal(), most);
        if (document.has_error())
            co_return ending{
                watch_end::undecodable, {}, "a list of " + settings_.what + ": " + document.error().message};
        const auto metadata = parse_list_metadata(document->root());
        if (metadata.has_error())
            co_return ending{watch_end::undecodable, {}, metadata.error().message};
        if (const auto items = list_items(document->root())) {
            for (const auto item : *items)
                feed_.list_item(item);
        }
        continue_token = metadata->continue_token;
        if (continue_token.empty()) {
            version_ = metadata->resource_version;
            alive();
            feed_.end_list(version_);
            co_return std::nullopt;
        }
    }
}

awaitable<reflector::ending> reflector::watch() {
    using namespace asio::experimental::awaitable_operators;
    const auto spread =
        static_cast<std::uint64_t>((settings_.timeout_max - settings_.timeout_min).count()) + 1;
    const auto timeout = settings_.timeout_min + std::chrono::seconds(random_.next() % spread);
    api_request request;
    request.target = target("watch=1&allowWatchBookmarks=true&resourceVersion=" + query_escape(version_) +
                            "&timeoutSeconds=" + std::to_string(timeout.count()));
    request.accept = accept(settings_.metadata_only, false);
    request.as_own_node = settings_.as_own_node;
    auto stream = co_await api_.open(std::move(request), settings_.request_timeout);
    if (stream.has_error())
        co_return ending{end_of(stream.error()), stream.error().retry_after, stream.error().message};

    const auto opened = time_.now();
    alive();
    if (std::exchange(troubled_, false))
        log_.info("following " + settings_.what + " again");
    const auto overdue = std::chrono::milliseconds(timeout) + settings_.overtime;
    const auto silence = std::min(settings_.longest_silence.value_or(overdue), overdue);
    ending e{watch_end::closed, {}, {}};
    if (settings_.probe) {
        auto first = co_await (read_events(**stream, silence) || doubt_silence());
        e = std::visit([](auto& which) { return std::move(which); }, first);
    } else {
        e = co_await read_events(**stream, silence);
    }
    e.lasted = time_.now() - opened;
    co_return e;
}

awaitable<reflector::ending> reflector::read_events(http_stream& stream, std::chrono::milliseconds silence) {
    co_await asio::this_coro::throw_if_cancelled(false);
    watch_frames frames;
    for (;;) {
        auto bytes = co_await stream.read_some(silence);
        if (bytes.has_error()) {
            const bool quiet = bytes.error().kind == errc::timed_out;
            co_return ending{quiet ? watch_end::silent : watch_end::connection, {}, bytes.error().message};
        }
        if (bytes->empty()) {
            if (frames.partial())
                co_return ending{watch_end::connection, {}, "the watch ended in the middle of an event"};
            co_return ending{watch_end::closed, {}, {}};
        }
        alive();
        if (const auto fed = frames.feed(*bytes); fed.has_error())
            co_return ending{watch_end::undecodable, {}, fed.error().message};
        while (const auto frame = frames.next()) {
            if (auto e = take(*frame))
                co_return std::move(*e);
        }
    }
}

std::optional<reflector::ending> reflector::take(std::string_view frame) {
    const auto event = decode_watch_event(frame);
    if (event.has_error())
        return ending{watch_end::undecodable, {}, event.error().message};
    result<void> taken;
    switch (event->type) {
    case watch_event_type::error: {
        const auto problem = error_of_object(event->object);
        return ending{end_of(problem), problem.retry_after, problem.message};
    }
    case watch_event_type::bookmark:
        break;
    case watch_event_type::added:
    case watch_event_type::modified:
        taken = feed_.changed(event->object);
        break;
    case watch_event_type::deleted:
        taken = feed_.removed(event->object);
        break;
    }
    if (taken.has_error())
        return ending{watch_end::undecodable, {}, taken.error().message};
    auto version = version_of(event->object).resource_version;
    if (version.empty())
        return ending{watch_end::undecodable, {}, "a watch event without a resourceVersion"};
    version_ = std::move(version);
    policy_.event_taken();
    return std::nullopt;
}

awaitable<reflector::ending> reflector::doubt_silence() {
    co_await asio::this_coro::throw_if_cancelled(false);
    const ending stopped{watch_end::closed, {}, {}};
    auto silence = probes_.silence();
    auto wait = silence;
    for (;;) {
        if ((co_await sleep_for(wait)).has_error())
            co_return stopped;
        const auto heard = last_alive_;
        const auto quiet = std::chrono::ceil<std::chrono::milliseconds>(time_.now() - heard);
        if (quiet < silence) {
            wait = silence - quiet;
            continue;
        }
        const auto same = co_await matches_server();
        if (co_await cancelled())
            co_return stopped;
        if (same.has_error() && same.error().kind == errc::too_large)
            co_return ending{watch_end::silent, {}, "too many objects to tell whether the watch is dead"};
        if (same.has_error()) {
            wait = probes_.after_failure(same.error().retry_after);
            continue;
        }
        probes_.answered();
        if (!*same && last_alive_ == heard) {
            if ((co_await sleep_for(settings_.grace)).has_error())
                co_return stopped;
            if (last_alive_ == heard) {
                ending dead{watch_end::silent, {}, "the watch is silent although something has changed"};
                dead.contradicted = true;
                co_return dead;
            }
        }
        wait = silence = probes_.silence();
    }
}

awaitable<api_result<bool>> reflector::matches_server() {
    std::size_t seen = 0;
    std::string continue_token;
    do {
        api_request request;
        // resourceVersion=0: from the server's memory, without a read of etcd. Few servers divide such an
        // answer into pages, but none is asked for more at once than a page of a list.
        request.target =
            target((continue_token.empty() ? "resourceVersion=0&limit=" : "limit=") + std::to_string(page_));
        if (!continue_token.empty())
            request.target += "&continue=" + query_escape(continue_token);
        request.accept = accept(true, true);
        request.as_own_node = settings_.as_own_node;
        request.max_response_body = settings_.max_page_bytes;
        const auto answer = co_await api_.exchange(std::move(request), settings_.request_timeout);
        if (answer.has_error())
            co_return answer.error();
        const auto document = json_document::parse(answer->body.reveal(), settings_.max_page_bytes);
        if (document.has_error())
            co_return error_of_transport(document.error());
        const auto metadata = parse_list_metadata(document->root());
        if (metadata.has_error())
            co_return error_of_transport(metadata.error());
        if (const auto items = list_items(document->root())) {
            for (const auto item : *items) {
                if (!feed_.knows(version_of(item)))
                    co_return false;
                ++seen;
            }
        }
        continue_token = metadata->continue_token;
    } while (!continue_token.empty());
    co_return seen == feed_.known();
}

void reflector::report(const ending& e, watch_step next) {
    // A watch without bookmarks may be silent and well.
    const bool merely_silent = e.end == watch_end::silent && !e.contradicted;
    if (e.end == watch_end::closed || e.end == watch_end::expired || merely_silent) {
        log_.debug("watch ended",
                   {{"what", settings_.what}, {"reason", reason_of(e.end)}, {"relist", next.relist}});
        return;
    }
    troubled_ = true;
    const auto admitted = sampler_.admit(reason_of(e.end), time_.now().time_since_epoch());
    if (!admitted.write)
        return;
    std::string why = e.message;
    if (e.end == watch_end::forbidden)
        why = "the API server refused to list or watch " + settings_.what + " (403): " + e.message + "; " +
              settings_.permission_hint;
    else if (e.end == watch_end::unauthorized)
        why = "the API server does not accept the daemon's token (401): " + e.message +
              "; see that --kube-token-file holds a token of this cluster that has not expired";
    log_.warn("cannot follow " + settings_.what + " for now; what is known stays in use",
              {{"reason", reason_of(e.end)},
               {"why", why},
               {"retry_in_ms", next.delay.count()},
               {"relist", next.relist},
               {"held_back", admitted.suppressed}});
}

} // namespace credlet::metadata::kubernetes
