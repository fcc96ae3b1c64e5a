# Benchmark programs: built with the release preset, run by tests/bench/*.sh
