#include "runtime/trial_call.hpp"

#include <cerrno>
#include <sys/socket.h>

namespace credlet {

namespace {

using namespace std::chrono_literals;
using asio::ip::tcp;

// On this machine a handshake takes microseconds, and is over before connect(2) returns.
constexpr auto moment = 50ms;

// Without a zone: the two ends need not see the same.
asio::ip::address bare(const asio::ip::address& address) {
    return address.is_v6() ? asio::ip::address_v6(address.to_v6().to_bytes()) : address;
}

// Asio's own connect() would wait, which is for ever where nobody may connect any more.
bool begin_to_connect(int socket, const tcp::endpoint& where) {
    return ::connect(socket, where.data(), static_cast<socklen_t>(where.size())) == 0 || errno == EINPROGRESS;
}

} // namespace

awaitable<bool> trial_call::arrives(tcp::endpoint where, std::function<void()> take_waiting) {
    if (where.address().is_unspecified())
        where.address(where.address().is_v4() ? asio::ip::address(asio::ip::address_v4::loopback())
                                              : asio::ip::address_v6::loopback());
    tcp::socket call(executor_);
    boost::system::error_code ec;
    call.open(where.protocol(), ec);
    if (!ec)
        call.bind({where.address(), 0}, ec);
    if (!ec)
        caller_ = call.local_endpoint(ec);
    if (!ec)
        call.native_non_blocking(true, ec);
    if (!ec && !begin_to_connect(call.native_handle(), where))
        ec.assign(errno, boost::system::system_category());
    if (ec)
        co_return true;

    arrived_ = false;
    take_waiting();
    if (!arrived_) {
        waiting_.expires_after(moment);
        co_await waiting_.async_wait(as_result);
        take_waiting(); // the time may be over because this loop was late, not the call
    }
    caller_.reset();
    co_return arrived_;
}

bool trial_call::recognizes(const tcp::endpoint& caller) {
    if (!caller_ || caller.port() != caller_->port() || bare(caller.address()) != bare(caller_->address()))
        return false;
    arrived_ = true;
    waiting_.cancel();
    return true;
}

} // namespace credlet
