#pragma once
// An event loop, an authority and a client, for tests of the HTTPS client against a scripted server.

#include "runtime/https_client.hpp"
#include "tests/support/coroutine.hpp"
#include "tests/support/manual_clock.hpp"
#include "tests/support/runtime_certificates.hpp"
#include "tests/support/runtime_tls_server.hpp"
#include "tests/support/temporary_directory.hpp"

#include <boost/asio/cancellation_signal.hpp>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

namespace credlet::test {

// Answers at once with what it is told.
class scripted_resolver final : public name_resolver {
public:
    void resolve(const std::string&, callback done) override {
        ++calls;
        if (answer)
            done(*answer);
        else
            pending.push_back(std::move(done)); // a name server that does not answer
    }
    std::optional<result<std::vector<asio::ip::address>>> answer =
        std::vector<asio::ip::address>{asio::ip::make_address("127.0.0.1")};
    std::vector<callback> pending;
    int calls = 0;
};

class https_fixture {
public:
    https_fixture();
    https_fixture(const https_fixture&) = delete;
    https_fixture& operator=(const https_fixture&) = delete;
    ~https_fixture();

    // Settings for https://sts.test:<port>, trusting `trusted`.
    [[nodiscard]] https_client_settings settings_for(const tls_server& server) const;
    void start(https_client_settings settings);
    void start(const tls_server& server) { start(settings_for(server)); }

    // Runs one exchange to its end.
    result<http_response> exchange(http_request request = {},
                                   std::chrono::milliseconds limit = std::chrono::seconds(10));
    // Starts as many at once, and awaits all.
    std::vector<result<http_response>>
    exchange_many(std::size_t count, std::chrono::milliseconds limit = std::chrono::seconds(10));
    // Starts one; what it points to is filled when it ends.
    std::shared_ptr<std::optional<result<http_response>>>
    begin_exchange(std::chrono::milliseconds limit = std::chrono::seconds(10));
    // Starts one, cancels it when `when` holds, and awaits its end.
    result<http_response> exchange_cancelled_when(const std::function<bool()>& when);
    // Runs one to its end and takes the stream.
    result<std::unique_ptr<http_stream>> open(http_request request = {},
                                              std::chrono::milliseconds limit = std::chrono::seconds(10));
    result<std::string> read(http_stream& stream,
                             std::chrono::milliseconds silence = std::chrono::seconds(10));
    // Lets the loop run until it holds; false if it does not within thirty seconds.
    bool run_until(const std::function<bool()>& holds);
    // Whether nothing is ready to run: whatever is under way waits for its peer.
    bool at_rest() { return loop.poll() == 0; }

    void write_ca_file(const std::string& pem) const; // swaps it in
    [[nodiscard]] std::string ca_file() const { return files.path + "/ca.pem"; }

    asio::io_context loop{1};
    manual_clock time;
    certificate_authority trusted;
    temporary_directory files;
    std::shared_ptr<scripted_resolver> names = std::make_shared<scripted_resolver>();
    std::vector<errc> resolve_failures;
    std::vector<std::string> ca_failures;
    int ca_reloads = 0;
    std::unique_ptr<https_client> client;
};

// An answer with Content-Length and keep-alive.
std::string plain_answer(std::string_view body, std::string_view status = "200 OK");

// What a result holds instead of a value; errc::internal and "success" if it holds one.
template <class T>
error failure_of(const result<T>& r) {
    return r.has_error() ? r.error() : error{errc::internal, "success"};
}

} // namespace credlet::test
