#include "daemon/hardening.hpp"

#include <doctest/doctest.h>

#include <csignal>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

TEST_CASE("T36: a hardened process makes no core dump, cannot be traced, gains no privileges, and "
          "survives a closed pipe and a hang-up") {
    // In a child: nothing of this can be taken back.
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        int wrong = 0;
        if (!credlet::app::harden_process())
            ::_exit(100);
        if (::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
            wrong |= 1;
        rlimit core{1, 1}, files{};
        if (::getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_cur != 0 || core.rlim_max != 0)
            wrong |= 2;
        if (::getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur != files.rlim_max)
            wrong |= 4;
        int ends[2];
        if (::pipe(ends) != 0 || ::close(ends[0]) != 0 || ::write(ends[1], "x", 1) != -1)
            wrong |= 8;
        if (::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
            wrong |= 16;
        if (::raise(SIGHUP) != 0)
            wrong |= 32;
        ::_exit(wrong);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
}
