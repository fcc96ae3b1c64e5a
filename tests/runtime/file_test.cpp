#include "runtime/file.hpp"
#include "tests/support/temporary_directory.hpp"

#include <doctest/doctest.h>

#include <sys/stat.h>

using namespace credlet;

TEST_CASE("a file is read whole up to its bound, and not beyond") {
    const test::temporary_directory dir;
    const auto path = dir.write("f", std::string(40000, 'x'));
    CHECK(read_file(path, 40000)->size() == 40000);
    CHECK(read_file(path, 39999).error().kind == errc::too_large);
    CHECK(read_file(dir.write("empty", ""), 10)->empty());
    CHECK(read_secret_file(dir.write("t", "token"), 10)->reveal() == "token");
}

TEST_CASE("what is no regular file does not hang the reader") {
    const test::temporary_directory dir;
    CHECK(read_file(dir.path + "/missing", 10).error().kind == errc::not_found);
    CHECK(read_file(dir.path, 10).error().kind == errc::io_failed);
    const auto fifo = dir.path + "/fifo";
    REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
    CHECK(read_file(fifo, 10).error().kind == errc::io_failed);
}

TEST_CASE("a file that was written anew has another stamp, one that was not has the same") {
    const test::temporary_directory dir;
    CHECK_FALSE(stamp_of(dir.path + "/f"));
    const auto path = dir.write("f", "a");
    const auto first = stamp_of(path);
    CHECK(first);
    CHECK(stamp_of(path) == first);
    dir.write("f", "b");
    CHECK(stamp_of(path) != first);
}
