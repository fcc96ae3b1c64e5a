#pragma once
// An address that an old and a new process listen on together while the one takes the other's place
// (socket(7), SO_REUSEPORT). The kernel admits only sockets of the same effective user.
//
// The listening sockets of one address stand in a row, in the order in which they came; where one closes, the
// last moves to its place. All that come to the address call at one place of the row, which any of the
// sockets can set. Each newcomer sets the first: whoever is there goes on serving, the others stand by, and
// one of them is called as soon as he has gone, however he went. Who leaves in order names another's place
// first.

#include <boost/asio/ip/tcp.hpp>

#include <cstdint>

namespace credlet {

namespace asio = boost::asio;

// Whether a socket listens there already.
[[nodiscard]] bool is_listened_on(const asio::ip::tcp::endpoint& where);

// Where whoever came first, or has taken his place, stands.
inline constexpr std::uint32_t first_place = 0;
// From now on, new callers of this listener's address call at this place. Where nobody stands there, the
// kernel spreads them over all.
void call_at(int listener, std::uint32_t place);

// From now on no handshake begins with this very listener: who tries hears nothing, and tries again a second
// later. Those under way complete.
void begin_no_handshakes(int listener);

} // namespace credlet
