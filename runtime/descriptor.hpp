#pragma once
// A file descriptor that is closed with its owner.

#include <unistd.h>
#include <utility>

namespace credlet {

class descriptor {
public:
    descriptor() = default;
    // Takes it over; negative: none.
    explicit descriptor(int number) : number_(number) {}
    descriptor(descriptor&& other) noexcept : number_(other.release()) {}
    descriptor& operator=(descriptor&& other) noexcept {
        if (this != &other) {
            close();
            number_ = other.release();
        }
        return *this;
    }
    descriptor(const descriptor&) = delete;
    descriptor& operator=(const descriptor&) = delete;
    ~descriptor() { close(); }

    [[nodiscard]] int get() const { return number_; }
    explicit operator bool() const { return number_ >= 0; }
    // The caller closes it from now on.
    [[nodiscard]] int release() { return std::exchange(number_, -1); }
    void close() {
        if (const int number = release(); number >= 0)
            ::close(number);
    }

private:
    int number_ = -1;
};

} // namespace credlet
