#include "daemon/hardening.hpp"

#include <cerrno>
#include <csignal>
#include <malloc.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <system_error>

namespace credlet::app {

namespace {

error failed(const char* what) {
    return fail(errc::internal, std::string("cannot protect the process's memory: ") + what + ": " +
                                    std::error_code(errno, std::generic_category()).message());
}

} // namespace

result<void> harden_process() {
    if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return failed("PR_SET_DUMPABLE");
    const rlimit no_core{0, 0};
    if (::setrlimit(RLIMIT_CORE, &no_core) != 0)
        return failed("RLIMIT_CORE");
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return failed("PR_SET_NO_NEW_PRIVS");
    ::umask(077);
    struct sigaction ignore{};
    ignore.sa_handler = SIG_IGN; // NOLINT(cppcoreguidelines-pro-type-union-access): that is how it is set
    ::sigaction(SIGPIPE, &ignore, nullptr);
    ::sigaction(SIGHUP, &ignore, nullptr);
    if (rlimit files{}; ::getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        ::setrlimit(RLIMIT_NOFILE, &files); // the soft limit serves if it cannot be raised
    }
    // glibc's default of 8 arenas per core costs memory that two threads do not need.
    ::mallopt(M_ARENA_MAX, 2); // NOLINT(concurrency-mt-unsafe): no other thread runs yet
    return {};
}

} // namespace credlet::app
