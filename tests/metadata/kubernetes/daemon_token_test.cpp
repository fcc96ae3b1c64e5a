#include "metadata/kubernetes/daemon_token.hpp"
#include "tests/support/kubernetes_fakes.hpp"
#include "tests/support/manual_clock.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::metadata::kubernetes;
using namespace std::chrono_literals;

namespace fs = std::filesystem;

namespace {

// As the kubelet's atomic writer does it: token -> ..data/token, ..data -> a directory that is replaced as a
// whole.
struct projected_volume {
    test::scratch_directory dir;
    int generation = 0;

    explicit projected_volume(std::string_view token) {
        put(token);
        fs::create_symlink("..data/token", dir.path() / "token");
    }
    void put(std::string_view token) {
        const auto name = "..gen" + std::to_string(++generation);
        dir.write(name + "/token", token);
        fs::create_symlink(name, dir.path() / "..data_tmp");
        fs::rename(dir.path() / "..data_tmp", dir.path() / "..data");
    }
    [[nodiscard]] std::string path() const { return (dir.path() / "token").string(); }
};

struct fixture {
    test::manual_clock time;
    std::vector<bool> reloads;
    projected_volume volume{"first"};
    daemon_token token{volume.path(), time, [this](bool ok) { reloads.push_back(ok); }};
};

} // namespace

TEST_CASE("F29: a token replaced by a symlink swap is used at the next request") {
    fixture f;
    REQUIRE(f.token.load().has_value());
    CHECK(f.token.current().reveal() == "first");
    CHECK(f.reloads.empty());
    f.volume.put("second\n");
    CHECK(f.token.current().reveal() == "second");
    CHECK(f.reloads == std::vector<bool>{true});
}

TEST_CASE("F29: a token file that is empty, missing, no token or huge leaves the last good token in use, and "
          "counts") {
    fixture f;
    REQUIRE(f.token.load().has_value());
    for (const auto& bad : {std::string(), std::string(" \n"), std::string("two words"),
                            std::string("line\nbreak"), std::string("t\xc3\xa4"), std::string(70000, 'x')}) {
        f.reloads.clear();
        f.volume.put(bad);
        f.time.advance(2s);
        CHECK(f.token.current().reveal() == "first");
        CHECK(f.reloads == std::vector<bool>{false});
    }
    f.reloads.clear();
    fs::remove(f.volume.dir.path() / "..data");
    f.time.advance(2s);
    CHECK(f.token.current().reveal() == "first");
    CHECK(f.token.current().reveal() == "first"); // not tried again within a second
    CHECK(f.reloads == std::vector<bool>{false});
    f.volume.put("back");
    f.time.advance(1s);
    CHECK(f.token.current().reveal() == "back");
    CHECK(f.reloads == std::vector<bool>{false, true});
}

TEST_CASE("F29: the file is read again after a minute even if its time and size tell no change") {
    fixture f;
    const auto path = f.volume.dir.write("plain", "aaaa");
    daemon_token token(path, f.time, {});
    REQUIRE(token.load().has_value());
    const auto stamp = fs::last_write_time(path);
    f.volume.dir.write("plain", "bbbb"); // in place: same inode, same size
    fs::last_write_time(path, stamp);
    CHECK(token.current().reveal() == "aaaa");
    f.time.advance(59s);
    CHECK(token.current().reveal() == "aaaa");
    f.time.advance(1s);
    CHECK(token.current().reveal() == "bbbb");
}

TEST_CASE("F23: after a 401 the file is read at once and tells whether there is another token") {
    fixture f;
    const auto path = f.volume.dir.write("plain", "aaaa");
    daemon_token token(path, f.time, {});
    REQUIRE(token.load().has_value());
    const auto stamp = fs::last_write_time(path);
    const auto first = token.generation();
    CHECK_FALSE(token.replaced(first));
    f.volume.dir.write("plain", "bbbb");
    fs::last_write_time(path, stamp);
    CHECK(token.replaced(first));
    CHECK(token.current().reveal() == "bbbb");
    CHECK(token.replaced(first)); // also to the second request that was sent with the first token
    CHECK_FALSE(token.replaced(token.generation()));
}

TEST_CASE("a token file that cannot be read at startup is an error that names it") {
    test::manual_clock time;
    daemon_token missing("/nonexistent/token", time, {});
    const auto loaded = missing.load();
    REQUIRE(loaded.has_error());
    CHECK(loaded.error().message.find("/nonexistent/token") != std::string::npos);
    daemon_token directory("/", time, {});
    CHECK(directory.load().has_error());
}
