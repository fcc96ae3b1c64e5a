#include "tests/support/runtime_certificates.hpp"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <atomic>
#include <stdexcept>

namespace credlet::test {
namespace {

void require(bool good) {
    if (!good)
        throw std::runtime_error("OpenSSL could not make a test certificate");
}

std::shared_ptr<EVP_PKEY> make_key(int rsa_bits) {
    std::shared_ptr<EVP_PKEY> key(
        rsa_bits > 0 ? EVP_RSA_gen(static_cast<unsigned>(rsa_bits)) : EVP_EC_gen("P-256"), &::EVP_PKEY_free);
    require(key != nullptr);
    return key;
}

void add_extension(X509* certificate, X509* issuer, int kind, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    ::X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
    X509_EXTENSION* const extension = ::X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
    require(extension != nullptr);
    require(::X509_add_ext(certificate, extension, -1) == 1);
    ::X509_EXTENSION_free(extension);
}

// issuer nullptr: signs itself.
identity make(const certificate_options& options, const identity* issuer, bool is_authority) {
    static std::atomic<long> serial = 1;
    identity made{{::X509_new(), &::X509_free}, make_key(options.rsa_bits)};
    X509* const x = made.certificate.get();
    ::X509_set_version(x, 2);
    ::ASN1_INTEGER_set(::X509_get_serialNumber(x), serial++);
    ::X509_gmtime_adj(::X509_getm_notBefore(x), options.from.count());
    ::X509_gmtime_adj(::X509_getm_notAfter(x), options.until.count());
    ::X509_set_pubkey(x, made.key.get());
    std::string name = options.common_name;
    ::X509_NAME_add_entry_by_txt(::X509_get_subject_name(x), "CN", MBSTRING_ASC,
                                 // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast)
                                 reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    X509* const parent = issuer != nullptr ? issuer->certificate.get() : x;
    ::X509_set_issuer_name(x, ::X509_get_subject_name(parent));
    add_extension(x, parent, NID_subject_key_identifier, "hash");
    if (is_authority) {
        add_extension(x, parent, NID_basic_constraints, "critical,CA:TRUE");
        add_extension(x, parent, NID_key_usage, "critical,keyCertSign,cRLSign");
    } else {
        add_extension(x, parent, NID_basic_constraints, "critical,CA:FALSE");
        add_extension(x, parent, NID_ext_key_usage, options.purpose);
        if (!options.names.empty())
            add_extension(x, parent, NID_subject_alt_name, options.names);
    }
    EVP_PKEY* const signer = issuer != nullptr ? issuer->key.get() : made.key.get();
    require(::X509_sign(x, signer, options.sha1 ? ::EVP_sha1() : ::EVP_sha256()) > 0);
    return made;
}

} // namespace

std::string identity::pem() const {
    const std::unique_ptr<BIO, decltype(&::BIO_free)> sink(::BIO_new(::BIO_s_mem()), &::BIO_free);
    require(::PEM_write_bio_X509(sink.get(), certificate.get()) == 1);
    char* text = nullptr;
    const long size = BIO_get_mem_data(sink.get(), &text);
    return {text, static_cast<std::size_t>(size)};
}

identity self_signed(const certificate_options& options) { return make(options, nullptr, false); }

certificate_authority::certificate_authority(const std::string& name) {
    certificate_options options;
    options.common_name = name;
    self_ = make(options, nullptr, true);
}

identity certificate_authority::issue(const certificate_options& options) const {
    return make(options, &self_, false);
}

} // namespace credlet::test
