#pragma once
// A directory of its own for a test, removed at its end.

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace credlet::test {

class temporary_directory {
public:
    temporary_directory() : path((std::filesystem::temp_directory_path() / "credlet-test-XXXXXX").string()) {
        if (::mkdtemp(path.data()) == nullptr)
            throw std::runtime_error("cannot make a temporary directory");
    }
    temporary_directory(const temporary_directory&) = delete;
    temporary_directory& operator=(const temporary_directory&) = delete;
    ~temporary_directory() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
    // Replaces the file as atomic writers do, and returns its path.
    std::string write(const std::string& name,
                      std::string_view content) const { // NOLINT(modernize-use-nodiscard)
        const auto file = path + "/" + name;
        {
            std::ofstream out(file + ".new", std::ios::binary);
            out << content;
        }
        std::filesystem::rename(file + ".new", file);
        return file;
    }
    std::string path;
};

} // namespace credlet::test
