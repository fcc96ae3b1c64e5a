#pragma once
// Errors as values. A fallible function returns result<T>; a coroutine awaitable<result<T>>.
// Exceptions are for bad configuration at startup and for bugs.

#include <boost/system/result.hpp>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace credlet {

enum class errc {
    cancelled,       // the owner stopped the operation; nothing is wrong
    timed_out,       // a deadline passed: resolving, connecting, handshaking, writing, reading or the whole
    resolve_failed,  // the host name has no address, now or in the last good answer
    connect_failed,  // no address of the host accepted a connection
    tls_failed,      // the handshake failed or the peer's certificate is not acceptable; nothing was sent
    connection_lost, // reset or closed by the peer before the answer was whole
    too_large,       // an answer or a file exceeds its bound
    malformed,       // bytes that do not follow their grammar: HTTP, JSON, XML, JWT, PEM, an option
    overloaded,      // a bounded queue or pool is full
    not_found,       // a file, object or key that does not exist
    denied,          // the other side understood and refused: a status of 401 or 403
    rejected,        // the other side understood and called the request wrong: other 4xx
    throttled,       // the other side asks for fewer requests: 429 and its kind
    unavailable,     // the other side failed: 5xx
    untrusted,       // a signature, claim or binding does not hold
    in_use,          // an address that another socket listens on
    io_failed,       // a file or socket operation of this machine failed
    internal,        // a bug or a resource this process lacks
};

std::string_view to_string(errc kind);

// kind decides what happens next; message tells the operator what happened and what to do, on one line and
// without secrets.
struct error {
    errc kind = errc::internal;
    std::string message;
};

template <class T>
using result = boost::system::result<T, error>;

// Makes a failed result: return fail(errc::malformed, "...").
inline error fail(errc kind, std::string message) { return error{kind, std::move(message)}; }

// Prefixes the message with what was being done.
inline error in_context(std::string_view doing, error inner) {
    inner.message = std::string(doing) + ": " + inner.message;
    return inner;
}

[[noreturn]] inline void throw_exception_from_error(const error& e, const boost::source_location&) {
    throw std::runtime_error(e.message);
}

} // namespace credlet
