#include "runtime/tls_policy.hpp"

#include <boost/asio/ssl/context.hpp>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <array>
#include <unistd.h>

namespace credlet {

namespace ssl = boost::asio::ssl;

namespace {

// What OpenSSL has to say about its last failure; forgets it.
std::string openssl_reason() {
    const auto code = ::ERR_get_error();
    ::ERR_clear_error();
    const char* reason = ::ERR_reason_error_string(code);
    return reason != nullptr ? reason : "unknown reason";
}

// Adds every certificate of the PEM text to the store.
result<void> add_certificates(const std::string& path, const std::string& pem, X509_STORE* store) {
    const std::unique_ptr<BIO, decltype(&::BIO_free)> source(
        ::BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), &::BIO_free);
    ::ERR_clear_error();
    for (int count = 0;; ++count) {
        const std::unique_ptr<X509, decltype(&::X509_free)> certificate(
            ::PEM_read_bio_X509(source.get(), nullptr, nullptr, nullptr), &::X509_free);
        if (!certificate) {
            const bool at_end = ERR_GET_REASON(::ERR_peek_last_error()) == PEM_R_NO_START_LINE;
            const std::string why = openssl_reason();
            if (!at_end)
                return fail(errc::malformed, "certificate " + std::to_string(count + 1) + " in the CA file " +
                                                 path + " is broken: " + why);
            if (count == 0)
                return fail(errc::malformed, "the CA file " + path + " holds no PEM certificate");
            return {};
        }
        if (::X509_STORE_add_cert(store, certificate.get()) != 1)
            return fail(errc::malformed, "certificate " + std::to_string(count + 1) + " in the CA file " +
                                             path + " cannot be used: " + openssl_reason());
    }
}

// Where systems have all certificates in one file: Debian and those like it, and Red Hat's.
constexpr std::array system_bundles{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"};

// What OpenSSL finds by itself: in the places that it was built for, or where its variables say. A static
// program may run where those places do not exist; then the first of the bundles.
result<void> trust_the_system(SSL_CTX* context, std::size_t max_file) {
    if (::SSL_CTX_set_default_verify_paths(context) != 1)
        return fail(errc::io_failed, "cannot use the system's CA certificates: " + openssl_reason());
    X509_STORE* const store = ::SSL_CTX_get_cert_store(context);
    if (sk_X509_OBJECT_num(::X509_STORE_get0_objects(store)) > 0 ||
        ::access(::X509_get_default_cert_dir(), X_OK) == 0)
        return {};
    for (const std::string path : system_bundles) {
        const auto pem = read_file(path, max_file);
        if (pem)
            return add_certificates(path, *pem, store);
        if (pem.error().kind != errc::not_found)
            return in_context("the system's CA certificates", pem.error());
    }
    return fail(errc::not_found,
                "this system has no CA certificates, neither where OpenSSL looks for them nor in " +
                    std::string(system_bundles.front()));
}

} // namespace

result<std::unique_ptr<tls_policy>> tls_policy::load(std::string ca_file, const clock& time) {
    std::unique_ptr<tls_policy> policy(new tls_policy(std::move(ca_file), time));
    policy->seen_ = stamp_of(policy->ca_file_);
    policy->checked_at_ = time.now();
    auto context = policy->build();
    if (context.has_error())
        return context.error();
    policy->context_ = std::move(*context);
    return policy;
}

std::shared_ptr<ssl::context> tls_policy::current() {
    if (ca_file_.empty() || time_.now() - checked_at_ < check_interval)
        return context_;
    checked_at_ = time_.now();
    const auto now = stamp_of(ca_file_);
    if (now == seen_)
        return context_;
    auto context = build();
    if (context.has_error()) {
        // Bad content stays bad until it changes; what could not be read may be readable next time.
        const auto kind = context.error().kind;
        if (kind == errc::malformed || kind == errc::too_large)
            seen_ = now;
        if (on_failure)
            on_failure(in_context("keeping the CA certificates read before", context.error()));
        return context_;
    }
    seen_ = now;
    context_ = std::move(*context);
    if (on_reload)
        on_reload();
    return context_;
}

std::string tls_policy::trusted() const {
    return ca_file_.empty() ? "the system's certificates" : "the certificates in " + ca_file_;
}

result<std::shared_ptr<ssl::context>> tls_policy::build() const {
    auto context = std::make_shared<ssl::context>(ssl::context::tls_client);
    SSL_CTX* const raw = context->native_handle();
    ::SSL_CTX_set_verify(raw, SSL_VERIFY_PEER, nullptr);
    SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
    SSL_CTX_set_max_proto_version(raw, 0);
    ::SSL_CTX_set_security_level(raw, 2);
    // Received plaintext holds credentials: OpenSSL wipes its copy.
    ::SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CLEANSE_PLAINTEXT);
    // 32 KiB less per idle connection.
    SSL_CTX_set_mode(raw, SSL_MODE_RELEASE_BUFFERS);

    if (ca_file_.empty()) {
        if (const auto trusted = trust_the_system(raw, max_file); !trusted)
            return trusted.error();
        return context;
    }
    const auto pem = read_file(ca_file_, max_file);
    if (pem.has_error())
        return in_context("the CA file", pem.error());
    X509_STORE* const store = ::SSL_CTX_get_cert_store(raw);
    // What the operator lists is trusted also if it is an intermediate.
    ::X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
    if (const auto added = add_certificates(ca_file_, *pem, store); added.has_error())
        return added.error();
    return context;
}

} // namespace credlet
