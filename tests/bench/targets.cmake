# Benchmark programs: built with the release preset, driven by the scripts beside them.
add_executable(bench_askers bench/askers.cpp)
target_link_libraries(bench_askers PRIVATE credlet_runtime)
