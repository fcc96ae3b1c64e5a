#pragma once
// Small files are read whole by read_file and read_secret_file of the lowest floor.

#include "runtime/file.hpp"
