# Compiler, warnings, hardening and sanitizers, in one INTERFACE target that every target links.

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  message(FATAL_ERROR
    "g++ ${CMAKE_CXX_COMPILER_VERSION} destroys some temporaries in co_await expressions twice (a brace-built "
    "aggregate or a capturing lambda is enough), and nothing warns. Build credlet with clang: "
    "cmake --preset release, or -DCMAKE_CXX_COMPILER=clang++-19.")
endif()

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "" FORCE)
endif()
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1")
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g -fno-omit-frame-pointer")
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

set(CREDLET_SANITIZER "" CACHE STRING "address (with undefined, and coverage for the fuzz targets), thread, or empty")

add_library(project_options INTERFACE)
target_compile_features(project_options INTERFACE cxx_std_20)
target_include_directories(project_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_definitions(project_options INTERFACE CREDLET_VERSION="${PROJECT_VERSION}")
target_compile_options(project_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wold-style-cast
  -Wnon-virtual-dtor -Woverloaded-virtual -Wformat=2 -Wimplicit-fallthrough -Werror)

if(CREDLET_SANITIZER STREQUAL "")
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
    set(branch_protection -mbranch-protection=standard)
  else()
    set(branch_protection -fcf-protection=full)
  endif()
  target_compile_options(project_options INTERFACE
    -fstack-protector-strong -fstack-clash-protection ${branch_protection})
  if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
    target_compile_definitions(project_options INTERFACE _FORTIFY_SOURCE=2 _GLIBCXX_ASSERTIONS)
  endif()
  target_link_options(project_options INTERFACE -fuse-ld=lld-19 -pie -Wl,-z,relro,-z,now,-z,noexecstack)
elseif(CREDLET_SANITIZER STREQUAL "address")
  set(sanitizers -fsanitize=address,undefined -fno-sanitize-recover=all -fsanitize=fuzzer-no-link)
elseif(CREDLET_SANITIZER STREQUAL "thread")
  set(sanitizers -fsanitize=thread)
else()
  message(FATAL_ERROR "CREDLET_SANITIZER must be address, thread or empty, not '${CREDLET_SANITIZER}'")
endif()
if(DEFINED sanitizers)
  target_compile_options(project_options INTERFACE ${sanitizers})
  target_link_options(project_options INTERFACE -fuse-ld=lld-19 ${sanitizers})
endif()

# What nearly every source includes, parsed once per target. Sources still include what they use.
function(credlet_precompile target)
  target_precompile_headers(${target} PRIVATE
    <algorithm> <chrono> <functional> <map> <memory> <optional> <string> <string_view> <vector>
    <boost/asio/as_tuple.hpp> <boost/asio/awaitable.hpp> <boost/asio/co_spawn.hpp> <boost/asio/io_context.hpp>
    <boost/asio/ip/tcp.hpp> <boost/asio/steady_timer.hpp> <boost/asio/use_awaitable.hpp>
    <boost/asio/experimental/awaitable_operators.hpp> <boost/system/result.hpp> ${ARGN})
endfunction()

# One floor of the house: a static library of the sources in this folder and the floors below it.
function(credlet_floor name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINK" ${ARGN})
  add_library(credlet_${name} STATIC ${arg_SOURCES})
  target_link_libraries(credlet_${name} PUBLIC project_options ${arg_LINK})
  credlet_precompile(credlet_${name})
endfunction()
