# Everything comes from Debian 12; .ci/setup.sh installs it.
find_package(Threads REQUIRED)
find_package(Boost 1.81 REQUIRED)
find_package(OpenSSL 3.0 REQUIRED)
find_package(simdjson REQUIRED)
find_package(pugixml REQUIRED)
find_package(CLI11 REQUIRED)
find_package(doctest REQUIRED)

# prometheus-cpp's own CMake package pulls in civetweb, curl and zlib; only its core is wanted.
find_package(PkgConfig REQUIRED)
pkg_check_modules(prometheus_core REQUIRED IMPORTED_TARGET prometheus-cpp-core)

# Asio and Beast compiled once instead of in every translation unit.
add_library(boost_io STATIC cmake/boost_io.cpp)
target_include_directories(boost_io SYSTEM PUBLIC ${Boost_INCLUDE_DIRS})
target_compile_features(boost_io PUBLIC cxx_std_20)
target_compile_definitions(boost_io PUBLIC
  BOOST_ASIO_SEPARATE_COMPILATION BOOST_BEAST_SEPARATE_COMPILATION BOOST_ASIO_NO_DEPRECATED
  BOOST_ASIO_DISABLE_BOOST_COROUTINE)
target_compile_options(boost_io PRIVATE ${sanitizers})
target_link_libraries(boost_io PUBLIC OpenSSL::SSL OpenSSL::Crypto Threads::Threads)
