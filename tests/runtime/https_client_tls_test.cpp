// Whom the client believes.

#include "tests/support/runtime_https_fixture.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <filesystem>

using namespace credlet;
using namespace credlet::test;
using namespace std::chrono_literals;

namespace {

http_request with_token() {
    http_request request;
    request.method = "POST";
    request.headers.push_back({"Authorization", secret_string("Bearer secret")});
    request.body = secret_string("WebIdentityToken=secret");
    return request;
}

struct bad_server {
    const char* what;
    identity who;
    bool only_tls_1_1;
    const char* reason; // part of the error's message
};

std::vector<bad_server> bad_servers(const certificate_authority& trusted) {
    const certificate_authority stranger("somebody else");
    certificate_options wrong_name, expired, not_yet, for_clients, weak_key, weak_hash, in_subject;
    wrong_name.names = "DNS:other.test";
    expired.from = -48h;
    expired.until = -24h;
    not_yet.from = 24h;
    not_yet.until = 48h;
    for_clients.purpose = "clientAuth";
    weak_key.rsa_bits = 1024;
    weak_hash.sha1 = true;
    in_subject.names = "";
    in_subject.common_name = "sts.test";
    return {
        {"an unknown authority", stranger.issue(), false, "unable to get local issuer certificate"},
        {"self-signed", self_signed(), false, "self-signed certificate"},
        {"another name", trusted.issue(wrong_name), false, "hostname mismatch"},
        {"the name in the subject only", trusted.issue(in_subject), false, "hostname mismatch"},
        {"expired", trusted.issue(expired), false, "certificate has expired"},
        {"not yet valid", trusted.issue(not_yet), false, "certificate is not yet valid"},
        {"for clients only", trusted.issue(for_clients), false, "unsuitable certificate purpose"},
        {"RSA of 1024 bits", trusted.issue(weak_key), false, "key too weak"},
        {"signed over SHA-1", trusted.issue(weak_hash), false, "too weak"},
        {"TLS 1.1 only", trusted.issue(), true, "protocol"},
    };
}

} // namespace

TEST_CASE_FIXTURE(https_fixture,
                  "T32: a server that cannot prove itself receives not a byte of the request") {
    for (const auto& bad : bad_servers(trusted)) {
        CAPTURE(bad.what);
        std::atomic<bool> believed = false;
        tls_server::options how;
        how.only_tls_1_1 = bad.only_tls_1_1;
        tls_server server(
            bad.who,
            [&](tls_peer& peer) {
                // In TLS 1.3 the server is done before it learns what the client thinks of it.
                peer.shake_hands();
                if (!peer.read_request().empty())
                    believed = true;
            },
            how);
        start(server);
        const auto response = exchange(with_token());
        const auto failure = failure_of(response);
        CHECK(failure.kind == errc::tls_failed);
        CHECK_MESSAGE(failure.message.find(bad.reason) != std::string::npos, failure.message);
        CHECK_MESSAGE(failure.message.find("sts.test:" + std::to_string(server.port()) + " (127.0.0.1)") !=
                          std::string::npos,
                      failure.message);
        CHECK(failure.message.find("secret") == std::string::npos);
        CHECK(run_until([&] { return server.accepted() == 1 && server.open() == 0; }));
        CHECK(server.bytes_received() == 0);
        CHECK_FALSE(believed);
    }
}

TEST_CASE_FIXTURE(https_fixture, "T32: the error says against what the certificate was checked") {
    tls_server server(certificate_authority("somebody else").issue(),
                      [](tls_peer& peer) { peer.answer_all(plain_answer("ok")); });
    start(server);
    CHECK(failure_of(exchange()).message.find(ca_file()) != std::string::npos);
    auto settings = settings_for(server);
    settings.ca_file = "";
    start(settings);
    CHECK(failure_of(exchange()).message.find("the system's certificates") != std::string::npos);
    CHECK(server.bytes_received() == 0);
}

TEST_CASE_FIXTURE(https_fixture, "T32: a server without TLS receives no request") {
    tls_server server(trusted.issue(), [](tls_peer& peer) {
        peer.write_plain("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        peer.wait_for_close();
    });
    start(server);
    CHECK(failure_of(exchange(with_token())).kind == errc::tls_failed);
    CHECK(run_until([&] { return server.open() == 0; }));
}

TEST_CASE_FIXTURE(https_fixture, "a wildcard stands for one whole label and nothing less") {
    const auto accepted = [&](const char* names) {
        certificate_options options;
        options.names = names;
        tls_server server(trusted.issue(options),
                          [](tls_peer& peer) { peer.answer_all(plain_answer("ok")); });
        auto settings = settings_for(server);
        settings.server.host = "a.sts.test";
        start(settings);
        return exchange().has_value();
    };
    CHECK(accepted("DNS:*.sts.test"));
    CHECK_FALSE(accepted("DNS:a*.sts.test"));
    CHECK_FALSE(accepted("DNS:*.test"));
}

TEST_CASE_FIXTURE(https_fixture,
                  "an address as the host needs no resolver and must stand in the certificate") {
    certificate_options other;
    other.names = "DNS:127.0.0.1,IP:127.0.0.9";
    tls_server good(trusted.issue(), [](tls_peer& peer) { peer.answer_all(plain_answer("ok")); });
    tls_server bad(trusted.issue(other), [](tls_peer& peer) { peer.answer_all(plain_answer("ok")); });
    auto settings = settings_for(good);
    settings.server.host = "127.0.0.1";
    start(settings);
    CHECK(exchange().has_value());
    settings.server.port = bad.port();
    start(settings);
    CHECK(failure_of(exchange()).message.find("IP address mismatch") != std::string::npos);
    CHECK(names->calls == 0);
}

TEST_CASE_FIXTURE(https_fixture, "a trailing dot makes a name absolute and is no part of what is checked") {
    tls_server server(trusted.issue(), [](tls_peer& peer) { peer.answer_all(plain_answer("ok")); });
    auto settings = settings_for(server);
    settings.server.host = "sts.test.";
    start(settings);
    CHECK(exchange().has_value());
    CHECK(server.requests().at(0).find("Host: sts.test:") != std::string::npos);
}

TEST_CASE_FIXTURE(https_fixture,
                  "a new CA file is in force a second later, also for connections open before") {
    const certificate_authority successor("the new authority");
    tls_server old_server(trusted.issue(), [](tls_peer& peer) { peer.answer_all(plain_answer("old")); });
    start(old_server);
    REQUIRE(exchange().has_value());
    write_ca_file(successor.pem());
    time.advance(999ms);
    CHECK(exchange().has_value());
    CHECK(ca_reloads == 0);
    time.advance(1ms);
    CHECK(failure_of(exchange()).kind == errc::tls_failed);
    CHECK(ca_reloads == 1);

    write_ca_file(trusted.pem() + "# both, while they change over\n" + successor.pem());
    time.advance(1s);
    CHECK(exchange().has_value());
    CHECK(ca_reloads == 2);
}

TEST_CASE_FIXTURE(
    https_fixture,
    "a CA file that went bad is reported once, a missing one again and again, and the last good one "
    "stays in force") {
    tls_server server(trusted.issue(), [](tls_peer& peer) { peer.answer_all(plain_answer("ok")); });
    start(server);
    const std::string half = trusted.pem().substr(0, 200);
    for (const std::string& content : {std::string(), std::string("garbage"), half, trusted.pem() + half}) {
        CAPTURE(content);
        ca_failures.clear();
        write_ca_file(content);
        for (int i = 0; i < 3; ++i) {
            time.advance(1s);
            CHECK(exchange().has_value());
        }
        REQUIRE(ca_failures.size() == 1);
        CHECK(ca_failures[0].find(ca_file()) != std::string::npos);
    }
    ca_failures.clear();
    std::filesystem::remove(ca_file());
    for (int i = 0; i < 2; ++i) {
        time.advance(1s);
        CHECK(exchange().has_value());
    }
    CHECK(ca_failures.size() == 2);
    CHECK(ca_reloads == 0);
    write_ca_file(trusted.pem());
    time.advance(1s);
    CHECK(exchange().has_value());
    CHECK(ca_reloads == 1);
}

TEST_CASE_FIXTURE(https_fixture, "a client is not made from a CA file without a usable certificate") {
    const auto kind_for = [&](const std::string& path) {
        https_client_settings settings;
        settings.ca_file = path;
        auto made = make_https_client(loop, time, names, settings);
        REQUIRE(made.has_error());
        CHECK(made.error().message.find(path) != std::string::npos);
        return made.error().kind;
    };
    CHECK(kind_for(files.path + "/missing") == errc::not_found);
    CHECK(kind_for(files.path) == errc::io_failed);
    write_ca_file("no certificate here\n");
    CHECK(kind_for(ca_file()) == errc::malformed);
    write_ca_file(trusted.pem().substr(0, 300));
    CHECK(kind_for(ca_file()) == errc::malformed);
}
