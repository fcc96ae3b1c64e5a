#include "runtime/address_book.hpp"

#include <boost/asio/post.hpp>

#include <algorithm>
#include <mutex>

namespace credlet {

// Where the resolver's thread leaves an answer. The lock keeps the loop from ending between the look and the
// post.
struct address_book::mailbox {
    std::mutex mutex;
    asio::io_context* loop; // null once closed
    address_book* owner;    // null once closed; touched on the loop's thread only
};

address_book::address_book(asio::io_context& loop, const clock& time, std::shared_ptr<name_resolver> names,
                           std::string host, std::chrono::seconds stale_for,
                           std::function<void(const error&)> on_failure)
    : time_(time),
      names_(std::move(names)),
      host_(std::move(host)),
      stale_for_(stale_for),
      on_failure_(std::move(on_failure)),
      mailbox_(std::make_shared<mailbox>()) {
    mailbox_->loop = &loop;
    mailbox_->owner = this;
    boost::system::error_code ec;
    const auto address = asio::ip::make_address(host_, ec);
    if (!ec) {
        literal_ = true;
        known_ = {address};
    }
}

address_book::~address_book() { close(); }

void address_book::close() {
    {
        const std::lock_guard lock(mailbox_->mutex);
        mailbox_->loop = nullptr;
    }
    mailbox_->owner = nullptr;
    waiting_.wake_all();
}

awaitable<result<std::vector<asio::ip::address>>> address_book::addresses(step_limit limit) {
    if (literal_)
        co_return known_;
    const auto now = time_.now();
    const bool fresh = known_since_ && now - *known_since_ < fresh_for;
    const bool usable = known_since_ && now - *known_since_ < stale_for_;
    // Without a usable answer there is always a lookup under way below this line.
    const bool pause = usable && failed_at_ && now - *failed_at_ < retry_after;
    if (!fresh && !pause)
        look_up();
    if (usable)
        co_return in_order();

    if (mailbox_->owner != nullptr && !co_await waiting_.wait(limit)) {
        if (co_await caller_cancelled())
            co_return fail(errc::cancelled, "looking up " + host_ + " was cancelled");
        auto late = fail(errc::timed_out,
                         "looking up " + host_ + " was not done " + limit.text() + "; check the node's DNS");
        if (on_failure_)
            on_failure_(late);
        co_return late;
    }
    if (mailbox_->owner == nullptr)
        co_return fail(errc::cancelled, "looking up " + host_ + " was stopped");
    if (failure_)
        co_return *failure_;
    co_return in_order();
}

void address_book::look_up() {
    if (looking_up_)
        return;
    looking_up_ = true;
    names_->resolve(host_, [box = mailbox_](result<std::vector<asio::ip::address>> answer) {
        const std::lock_guard lock(box->mutex);
        if (box->loop == nullptr)
            return;
        asio::post(*box->loop, [box, answer = std::move(answer)]() mutable {
            if (box->owner != nullptr)
                box->owner->answered(std::move(answer));
        });
    });
}

void address_book::answered(result<std::vector<asio::ip::address>> answer) {
    looking_up_ = false;
    if (answer.has_value() && answer->empty())
        answer = fail(errc::resolve_failed, "the host name " + host_ + " has no address");
    if (answer.has_value()) {
        known_ = by_turns(*answer);
        std::erase_if(failed_, [this](const auto& address) {
            return std::ranges::find(known_, address) == known_.end();
        });
        known_since_ = time_.now();
        failed_at_.reset();
        failure_.reset();
    } else {
        failed_at_ = time_.now();
        failure_ = fail(errc::resolve_failed, answer.error().message);
        if (on_failure_)
            on_failure_(*failure_);
    }
    waiting_.wake_all();
}

void address_book::worked(const asio::ip::address& address) {
    std::erase(failed_, address);
    preferred_ = address;
}

void address_book::failed(const asio::ip::address& address) {
    std::erase(failed_, address);
    failed_.push_back(address);
    if (preferred_ == address)
        preferred_.reset();
}

std::vector<asio::ip::address> address_book::in_order() const {
    auto ordered = known_;
    for (const auto& address : failed_) {
        const auto place = std::ranges::find(ordered, address);
        if (place != ordered.end())
            std::rotate(place, place + 1, ordered.end());
    }
    const auto last_good = preferred_ ? std::ranges::find(ordered, *preferred_) : ordered.end();
    if (last_good != ordered.end())
        std::rotate(ordered.begin(), last_good, last_good + 1);
    return ordered;
}

std::vector<asio::ip::address> by_turns(const std::vector<asio::ip::address>& addresses) {
    std::vector<asio::ip::address> first_family;
    std::vector<asio::ip::address> other_family;
    for (const auto& address : addresses) {
        auto& family = address.is_v6() == addresses.front().is_v6() ? first_family : other_family;
        if (std::ranges::find(family, address) == family.end())
            family.push_back(address);
    }
    std::vector<asio::ip::address> mixed;
    for (std::size_t i = 0; i < std::max(first_family.size(), other_family.size()); ++i) {
        if (i < first_family.size())
            mixed.push_back(first_family[i]);
        if (i < other_family.size())
            mixed.push_back(other_family[i]);
    }
    mixed.resize(std::min(mixed.size(), address_book::max_addresses));
    return mixed;
}

} // namespace credlet
