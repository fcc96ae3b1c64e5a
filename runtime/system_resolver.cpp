// Names through getaddrinfo, which can neither be interrupted nor given a deadline (a dead name server holds
// it for half a minute). So it runs on threads that nothing ever joins: they own what they use and may
// outlive everybody.

#include "runtime/https_client.hpp"

#include <boost/asio/ip/tcp.hpp>

#include <cerrno>
#include <cstring>
#include <deque>
#include <mutex>
#include <netdb.h>
#include <optional>
#include <sys/socket.h>
#include <system_error>
#include <thread>

namespace credlet {
namespace {

constexpr std::size_t max_threads = 2;
constexpr std::size_t max_queued = 64;

result<std::vector<asio::ip::address>> look_up(const std::string& host) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM; // else each address comes once per socket type
    hints.ai_flags = AI_ADDRCONFIG;
    addrinfo* list = nullptr;
    const int failure = ::getaddrinfo(host.c_str(), nullptr, &hints, &list);
    if (failure != 0) {
        const std::string why = failure == EAI_SYSTEM ? std::generic_category().message(errno)
                                                      : std::string(::gai_strerror(failure));
        return fail(errc::resolve_failed, "looking up " + host + ": " + why);
    }
    std::vector<asio::ip::address> addresses;
    for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
        asio::ip::tcp::endpoint endpoint;
        if (entry->ai_addrlen > endpoint.capacity())
            continue;
        std::memcpy(endpoint.data(), entry->ai_addr, entry->ai_addrlen);
        addresses.push_back(endpoint.address());
    }
    ::freeaddrinfo(list);
    return addresses;
}

struct job {
    std::string host;
    name_resolver::callback done;
};

// Shared by the resolver and its threads.
struct job_queue {
    std::mutex mutex;
    std::deque<job> jobs;
    std::size_t threads = 0;
    bool stopped = false;
};

void work(const std::shared_ptr<job_queue>& queue) {
    for (;;) {
        job next;
        {
            const std::lock_guard lock(queue->mutex);
            if (queue->jobs.empty() || queue->stopped) {
                --queue->threads;
                return;
            }
            next = std::move(queue->jobs.front());
            queue->jobs.pop_front();
        }
        auto answer = look_up(next.host);
        {
            const std::lock_guard lock(queue->mutex);
            if (queue->stopped)
                continue;
        }
        next.done(std::move(answer));
    }
}

class system_resolver final : public name_resolver {
public:
    system_resolver() = default;
    system_resolver(const system_resolver&) = delete;
    system_resolver& operator=(const system_resolver&) = delete;
    ~system_resolver() override {
        const std::lock_guard lock(queue_->mutex);
        queue_->stopped = true;
        queue_->jobs.clear();
    }

    void resolve(const std::string& host, callback done) override {
        if (auto refused = enqueue(host, done))
            done(std::move(*refused));
    }

private:
    std::optional<error> enqueue(const std::string& host, callback& done) {
        const std::lock_guard lock(queue_->mutex);
        if (queue_->jobs.size() >= max_queued)
            return fail(errc::overloaded,
                        "looking up " + host + ": too many lookups wait for the node's DNS");
        if (queue_->threads < max_threads) {
            // A thread lives while there are jobs: an idle daemon has none.
            try {
                std::thread(work, queue_).detach();
                ++queue_->threads;
            } catch (const std::system_error& e) {
                if (queue_->threads == 0)
                    return fail(errc::internal, "looking up " + host + ": no thread: " + e.code().message());
            }
        }
        queue_->jobs.push_back({host, std::move(done)});
        return std::nullopt;
    }

    std::shared_ptr<job_queue> queue_ = std::make_shared<job_queue>();
};

} // namespace

std::shared_ptr<name_resolver> make_system_resolver() { return std::make_shared<system_resolver>(); }

} // namespace credlet
