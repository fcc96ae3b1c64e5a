#pragma once
// Lets CHECK(r) and REQUIRE(r) take a result and say, when it fails, what the error was.

#include <boost/system/result.hpp>
#include <doctest/doctest.h>

namespace doctest {

template <class T, class E>
struct StringMaker<boost::system::result<T, E>> {
    static String convert(const boost::system::result<T, E>& r) {
        return r.has_value() ? String("a value") : String(r.error().message.c_str());
    }
};

} // namespace doctest
