#include "runtime/secret.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <sstream>
#include <string>
#include <type_traits>

using namespace credlet;

namespace {

// One block of memory that is looked at when it is given back. AddressSanitizer has its own idea of new and
// delete, so its build leaves this out.
const void* watched = nullptr;
std::size_t watched_size = 0;
int released_wiped = 0;
int released_unwiped = 0;

[[maybe_unused]] void look_at(const void* p) noexcept {
    if (p == nullptr || p != watched)
        return;
    const char* bytes = static_cast<const char*>(p);
    const bool wiped = std::all_of(bytes, bytes + watched_size, [](char c) { return c == 0; });
    ++(wiped ? released_wiped : released_unwiped);
}

} // namespace

#if !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)
void* operator new(std::size_t n) {
    if (void* p = std::malloc(n == 0 ? 1 : n))
        return p;
    throw std::bad_alloc();
}
void operator delete(void* p) noexcept {
    look_at(p);
    std::free(p);
}
void operator delete(void* p, std::size_t) noexcept {
    look_at(p);
    std::free(p);
}
#endif

namespace {

template <class T>
concept printable = requires(std::ostringstream& out, const T& value) { out << value; };

static_assert(printable<std::string>);
static_assert(!printable<secret_string>, "a secret has no printer");
static_assert(!std::is_copy_constructible_v<secret_string>, "a secret is copied on purpose only");
static_assert(!std::is_convertible_v<secret_string, std::string_view>);
static_assert(!std::is_convertible_v<secret_string, std::string>);

} // namespace

#if !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)
TEST_CASE("T36: memory is wiped before it is given back") {
    auto secret = std::make_unique<secret_string>(
        std::string_view("AKIDSECRET0123456789012345678901234567890123456789"));
    watched = secret->data();
    watched_size = secret->size();
    released_wiped = released_unwiped = 0;
    SUBCASE("on destruction") { secret.reset(); }
    SUBCASE("on growing") { secret->append(std::string(1000, 'x')); }
    SUBCASE("on assignment") { *secret = secret_string("other"); }
    CHECK(released_wiped == 1);
    CHECK(released_unwiped == 0);
    watched = nullptr;
}
#endif

TEST_CASE("T36: clearing wipes too") {
    secret_string secret("AKIDSECRET");
    const char* where = secret.data();
    secret.clear();
    CHECK(std::all_of(where, where + 10, [](char c) { return c == 0; }));
    CHECK(secret.empty());
}

TEST_CASE("secrets compare by content") {
    CHECK(secret_string("abc") == secret_string("abc"));
    CHECK_FALSE(secret_string("abc") == secret_string("abd"));
    CHECK_FALSE(secret_string("abc") == secret_string("abcd"));
    CHECK(secret_string() == secret_string(""));
}

TEST_CASE("a copy made on purpose is independent, a move leaves nothing") {
    secret_string a("one");
    secret_string b = a.copy();
    b.append(" two");
    CHECK(a.reveal() == "one");
    CHECK(b.reveal() == "one two");
    const secret_string c = std::move(b);
    CHECK(c.reveal() == "one two");
}
