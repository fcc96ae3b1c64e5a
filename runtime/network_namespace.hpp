#pragma once
// Network namespaces (network_namespaces(7)): kept open, told apart, entered.

#include "runtime/descriptor.hpp"
#include "runtime/error.hpp"

#include <boost/asio/ip/address.hpp>

#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace credlet {

namespace asio = boost::asio;

// Two open namespaces are the same if these are (namespaces(7)). The number of one that is gone may be given
// to another: compare with what is kept open.
struct namespace_id {
    std::uint64_t device = 0, inode = 0;
    friend auto operator<=>(const namespace_id&, const namespace_id&) = default;
};

// Lives on, with its links and sockets, as long as it is kept open.
class network_namespace {
public:
    // What an open file of /proc/PID/ns/net or of a bind mount of one stands for. errc::malformed: it is no
    // network namespace.
    static result<network_namespace> from(descriptor file);
    static result<network_namespace> open(const std::string& path);

    [[nodiscard]] const namespace_id& id() const { return id_; }
    [[nodiscard]] const descriptor& file() const { return file_; }

private:
    network_namespace(descriptor file, const namespace_id& id) : file_(std::move(file)), id_(id) {}
    descriptor file_;
    namespace_id id_;
};

// A thread that works inside of other namespaces than its own. Make one on that thread. setns(2) takes
// CAP_SYS_ADMIN.
class namespace_visitor {
public:
    static result<namespace_visitor> make();

    // Calls f, which returns a result, on this thread with the namespace as its own, then returns home. f
    // must make no thread. The error is f's, or that of going there: errc::denied without CAP_SYS_ADMIN. Who
    // cannot return ends the process: a thread in a stranger's network must do nothing more.
    template <class F>
    auto inside(const network_namespace& there, F f) const -> decltype(f()) {
        if (auto gone = go(there); !gone)
            return gone.error();
        const home_coming back{*this};
        return f();
    }

    [[nodiscard]] const network_namespace& home() const { return home_; }

private:
    struct home_coming {
        const namespace_visitor& visitor;
        explicit home_coming(const namespace_visitor& v) : visitor(v) {}
        home_coming(const home_coming&) = delete;
        home_coming& operator=(const home_coming&) = delete;
        ~home_coming() { visitor.return_home(); }
    };
    explicit namespace_visitor(network_namespace home) : home_(std::move(home)) {}
    [[nodiscard]] result<void> go(const network_namespace& there) const;
    void return_home() const noexcept;
    network_namespace home_;
};

// The addresses of all links of the calling thread's namespace, loopback's left out; no zones, no
// IPv4-mapped forms.
result<std::vector<asio::ip::address>> addresses_here();

} // namespace credlet
