#pragma once
// Whom the clients of this process trust, and the least they accept of TLS: version 1.2, the chain checked
// against a bundle of certificates and for the purpose of a server, keys and signatures of 112 bits and more
// (OpenSSL's security level 2: no SHA-1, no RSA below 2048), no renegotiation, no compression. There is no
// way to weaken it.
//
// A bundle of one's own is read again when the file changes (also by a swapped symlink, as Kubernetes updates
// mounted volumes). A new file that cannot be used changes nothing but is reported.

#include "runtime/clock.hpp"
#include "runtime/error.hpp"
#include "runtime/file.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace boost::asio::ssl {
class context;
} // namespace boost::asio::ssl

namespace credlet {

class tls_policy {
public:
    static constexpr std::chrono::seconds check_interval{1};
    static constexpr std::size_t max_file = std::size_t{4} * 1024 * 1024; // bytes

    // ca_file: PEM certificates; empty: the system's own trust store. Fails if the file cannot be read, holds
    // no certificate or a broken one. The clock outlives the policy.
    static result<std::unique_ptr<tls_policy>> load(std::string ca_file, const clock& time);

    // What new connections use. Looks at the file at most once per check_interval. A different pointer than
    // before means a different trust.
    std::shared_ptr<boost::asio::ssl::context> current();

    // For error messages: "the certificates in /path".
    [[nodiscard]] std::string trusted() const;

    std::function<void()> on_reload;
    // Once per change of the content; at every look while the file cannot be read.
    std::function<void(const error&)> on_failure;

private:
    tls_policy(std::string ca_file, const clock& time) : ca_file_(std::move(ca_file)), time_(time) {}
    [[nodiscard]] result<std::shared_ptr<boost::asio::ssl::context>> build() const;

    std::string ca_file_;
    const clock& time_;
    std::shared_ptr<boost::asio::ssl::context> context_;
    std::optional<file_stamp> seen_; // of the content examined last, good or bad
    boot_time checked_at_{};
};

} // namespace credlet
