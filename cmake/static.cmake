# The program once more, from the same object files, without shared libraries: for an image that holds nothing else.
# .ci/static_libraries.sh makes the two archives that Debian does not have, and says where for
# CREDLET_STATIC_LIBRARIES; the others come with the -dev packages.
#
# glibc warns that getaddrinfo wants glibc's own plugins (NSS) at run time. It does for what /etc/nsswitch.conf may name
# beyond "files" and "dns"; those two have been part of libc itself since 2.34, and are its default where there is no
# such file, as in the image.
set(CREDLET_STATIC_LIBRARIES "" CACHE PATH "prefix of libsimdjson.a and libprometheus-cpp-core.a; empty: no credlet-static")
if(CREDLET_STATIC_LIBRARIES)
  foreach(archive ssl crypto pugixml)
    find_library(static_${archive} NAMES lib${archive}.a REQUIRED)
  endforeach()
  set(floors daemon metadata sts metrics runtime)
  list(TRANSFORM floors REPLACE "(.+)" "$<TARGET_FILE:credlet_\\1>" OUTPUT_VARIABLE archives)
  list(TRANSFORM floors PREPEND credlet_)
  add_executable(credlet-static EXCLUDE_FROM_ALL $<TARGET_OBJECTS:credlet_main>)
  add_dependencies(credlet-static ${floors} boost_io)
  target_link_libraries(credlet-static PRIVATE
    ${archives} $<TARGET_FILE:boost_io>
    ${CREDLET_STATIC_LIBRARIES}/lib/libprometheus-cpp-core.a ${CREDLET_STATIC_LIBRARIES}/lib/libsimdjson.a
    ${static_pugixml} ${static_ssl} ${static_crypto})
  target_link_options(credlet-static PRIVATE
    -fuse-ld=lld-19 -static-pie -s -Wl,--gc-sections,-z,relro,-z,now,-z,noexecstack)
  set_target_properties(credlet-static PROPERTIES
    LINKER_LANGUAGE CXX RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR} LINK_DEPENDS "${CREDLET_STATIC_LIBRARIES}/lib/libsimdjson.a")
endif()
