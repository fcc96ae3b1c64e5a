#pragma once
// Certificates made on the spot, good and bad, for TLS servers in tests.

#include <openssl/types.h>

#include <chrono>
#include <memory>
#include <string>

namespace credlet::test {

struct certificate_options {
    std::string names = "DNS:sts.test,IP:127.0.0.1"; // subjectAltName as openssl.cnf writes it; empty: none
    std::string common_name = "test";
    std::chrono::seconds from{-3600}; // relative to now
    std::chrono::seconds until{3600};
    std::string purpose = "serverAuth"; // extendedKeyUsage
    int rsa_bits = 0;                   // 0: P-256
    bool sha1 = false;                  // signed over SHA-1
};

// A certificate and its key.
struct identity {
    std::shared_ptr<X509> certificate;
    std::shared_ptr<EVP_PKEY> key;
    [[nodiscard]] std::string pem() const; // of the certificate
};

identity self_signed(const certificate_options& options = {});

class certificate_authority {
public:
    explicit certificate_authority(const std::string& name = "test authority");
    [[nodiscard]] identity issue(const certificate_options& options = {}) const;
    [[nodiscard]] std::string pem() const { return self_.pem(); }

private:
    identity self_;
};

} // namespace credlet::test
