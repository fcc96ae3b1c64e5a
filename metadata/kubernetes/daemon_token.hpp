#pragma once
// The daemon's own token, as a file that the kubelet replaces (a symlink swap) long before the token expires.

#include "runtime/clock.hpp"
#include "runtime/error.hpp"
#include "runtime/file.hpp"
#include "runtime/secret.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace credlet::metadata::kubernetes {

// Read again when the file's identity or time changes, every minute in any case (some file systems tell no
// change), and on demand after a 401. A file that is missing, empty or holds no token leaves the last good
// one in place.
class daemon_token {
public:
    // reloaded(true): another token is in use; reloaded(false): the file could not be used.
    daemon_token(std::string path, const clock& time, std::function<void(bool ok)> reloaded);

    // The first read. Its failure is worth a stop at startup.
    result<void> load();
    // The token for a request that is about to be sent; empty only if none was ever read.
    const secret_string& current();
    // Another one for each other token that current() has returned.
    [[nodiscard]] std::uint64_t generation() const { return generation_; }
    // The API server did not know the token of that generation: whether there is another one by now. The file
    // is read for it unless that has happened meanwhile, for another request.
    bool replaced(std::uint64_t generation);

    static constexpr std::chrono::seconds max_age{60};
    static constexpr std::chrono::seconds retry_after_failure{1};

private:
    result<void> read();
    void refresh();

    std::string path_;
    const clock& time_;
    std::function<void(bool)> reloaded_;
    secret_string token_;
    std::optional<file_stamp> seen_;
    boot_time read_at_{};
    boot_time failed_at_{};
    bool failing_ = false;
    std::uint64_t generation_ = 0;
};

} // namespace credlet::metadata::kubernetes
