# credlet_fuzzer(NAME FLOOR): tests/fuzz/NAME.cpp, seeds in tests/fuzz/corpus/NAME/
credlet_fuzzer(sts_reply sts)
credlet_fuzzer(configuration daemon)
credlet_fuzzer(jwt metadata)
credlet_fuzzer(jwks metadata)
credlet_fuzzer(watch_frames metadata)
credlet_fuzzer(request metadata)
credlet_fuzzer(annotations metadata)
credlet_fuzzer(cgroup_path metadata)
