# credlet_fuzzer(NAME FLOOR): tests/fuzz/NAME.cpp, seeds in tests/fuzz/corpus/NAME/
