#include "metadata/kubernetes/key_cache.hpp"
#include "tests/support/manual_clock.hpp"
#include "tests/support/token_forge.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::metadata::kubernetes;
using namespace std::chrono_literals;
using answer = key_cache::answer;

namespace {

struct fixture {
    test::manual_clock time;
    seeded_random random{1};
    key_cache cache{{30s, 1h, 24h}, random};

    answer ask(const std::string& kid) { return cache.lookup(kid, time.now()).what; }
    static key_set keys(const std::string& kid) {
        auto set = key_set::parse("{\"keys\":[" + test::key_ring::get().p256.jwk(kid) + "]}");
        REQUIRE(set.has_value());
        return std::move(*set);
    }
    void fetch(const std::string& kid) {
        cache.begin_fetch(time.now());
        cache.fetched(keys(kid), time.now());
    }
};

} // namespace

TEST_CASE(
    "T25: ten thousand unknown kids within ten seconds cause one fetch, and known keys go on being known") {
    fixture f;
    f.fetch("good");
    f.time.advance(1h);
    int fetches = 0;
    for (int i = 0; i < 10000; ++i) {
        const auto kid = "random-" + std::to_string(i);
        const auto what = f.ask(kid);
        if (what == answer::fetch) {
            ++fetches;
            f.cache.begin_fetch(f.time.now());
            f.cache.fetched(fixture::keys("good"), f.time.now());
            f.cache.missed(kid, f.time.now());
        } else {
            CHECK((what == answer::wait || what == answer::unknown));
        }
        CHECK(f.ask("good") == answer::known);
        f.time.advance(1ms);
    }
    CHECK(fetches == 1);
}

TEST_CASE("T25: the slot of a forced fetch is taken before it and also by one that fails") {
    fixture f;
    f.fetch("good");
    f.time.advance(30s);
    CHECK(f.ask("x") == answer::fetch);
    f.cache.begin_fetch(f.time.now());
    CHECK(f.ask("y") == answer::wait);
    f.cache.failed(f.time.now());
    CHECK(f.ask("x") == answer::wait);
    CHECK(f.ask("good") == answer::known);
    f.time.advance(30s - 1ns);
    CHECK(f.ask("x") == answer::wait);
    f.time.advance(1ns);
    CHECK(f.ask("x") == answer::fetch);
}

TEST_CASE("T25: a kid that a fresh key set does not have is not asked for again for five minutes; 128 are "
          "remembered") {
    fixture f;
    f.fetch("good");
    f.cache.missed("bad", f.time.now());
    f.time.advance(5min - 1ns);
    CHECK(f.ask("bad") == answer::unknown);
    CHECK(f.ask("other") == answer::fetch);
    f.time.advance(1ns);
    CHECK(f.ask("bad") == answer::fetch);

    for (int i = 0; i < 129; ++i)
        f.cache.missed("n" + std::to_string(i), f.time.now());
    CHECK(f.ask("n0") != answer::unknown);
    CHECK(f.ask("n1") == answer::unknown);
    CHECK(f.ask("n128") == answer::unknown);
}

TEST_CASE("F53: a key that is rotated in is known after the next fetch, 30 s later at most, even if it was "
          "denied before") {
    fixture f;
    f.fetch("old");
    f.cache.missed("new", f.time.now());
    CHECK(f.ask("new") == answer::unknown);
    f.fetch("new");
    CHECK(f.ask("new") == answer::known);
    CHECK(f.ask("old") == answer::wait); // rotated out: gone at once
}

TEST_CASE("F53: keys outlive failed fetches for a day and no longer") {
    fixture f;
    f.fetch("good");
    for (int hour = 0; hour < 24; ++hour) {
        f.time.advance(1h);
        f.cache.begin_fetch(f.time.now());
        f.cache.failed(f.time.now());
        CHECK(f.ask("good") == answer::known);
    }
    f.time.advance(1ns);
    CHECK(f.ask("good") == answer::no_keys);
    f.time.advance(30s);
    CHECK(f.ask("good") == answer::fetch);
}

TEST_CASE("F53: the regular fetch comes every hour or so; after a failure after 1 s, doubled up to 30 s") {
    fixture f;
    CHECK(f.cache.next_regular() <= f.time.now());
    f.cache.begin_fetch(f.time.now());
    std::vector<std::int64_t> seconds;
    for (int i = 0; i < 7; ++i) {
        f.cache.failed(f.time.now());
        seconds.push_back(
            std::chrono::duration_cast<std::chrono::seconds>(f.cache.next_regular() - f.time.now()).count());
    }
    CHECK(seconds == std::vector<std::int64_t>{1, 2, 4, 8, 16, 30, 30});
    for (int i = 0; i < 100; ++i) {
        f.fetch("good");
        CHECK(f.cache.next_regular() - f.time.now() >= 54min);
        CHECK(f.cache.next_regular() - f.time.now() <= 66min);
    }
}

TEST_CASE("with nothing fetched yet, the first who asks fetches, the others have no keys till then") {
    fixture f;
    CHECK(f.cache.may_fetch(f.time.now()));
    CHECK(f.ask("x") == answer::fetch);
    f.cache.begin_fetch(f.time.now());
    CHECK_FALSE(f.cache.may_fetch(f.time.now()));
    CHECK(f.ask("x") == answer::no_keys);
    f.cache.failed(f.time.now());
    CHECK(f.ask("x") == answer::no_keys);
}
