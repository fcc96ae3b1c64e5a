#pragma once
// Bytes that must not be printed and do not outlive their use: tokens, keys, bodies that hold them.
// Memory is wiped before it is given back, also when the string grows. Wiping is best effort: the kernel's
// and OpenSSL's own buffers are beyond reach.

#include <openssl/crypto.h>

#include <cstddef>
#include <iosfwd>
#include <memory>
#include <string_view>
#include <vector>

namespace credlet {

template <class T>
struct wiping_allocator {
    using value_type = T;
    wiping_allocator() = default;
    template <class U>
    explicit(false) wiping_allocator(const wiping_allocator<U>&) noexcept {}
    T* allocate(std::size_t n) { return std::allocator<T>{}.allocate(n); }
    void deallocate(T* p, std::size_t n) noexcept {
        OPENSSL_cleanse(p, n * sizeof(T));
        std::allocator<T>{}.deallocate(p, n);
    }
    friend bool operator==(const wiping_allocator&, const wiping_allocator&) { return true; }
};

class secret_string {
public:
    secret_string() = default;
    explicit secret_string(std::string_view text) : bytes_(text.begin(), text.end()) {}
    secret_string(secret_string&&) noexcept = default;
    secret_string& operator=(secret_string&&) noexcept = default;
    // Copies are made only on purpose.
    secret_string(const secret_string&) = delete;
    secret_string& operator=(const secret_string&) = delete;
    ~secret_string() = default;
    [[nodiscard]] secret_string copy() const { return secret_string(reveal()); }

    // The plain bytes: for the wire, a parser or a digest, never for a log line.
    [[nodiscard]] std::string_view reveal() const noexcept { return {bytes_.data(), bytes_.size()}; }
    [[nodiscard]] char* data() noexcept { return bytes_.data(); }
    [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }
    [[nodiscard]] std::size_t capacity() const noexcept { return bytes_.capacity(); }
    [[nodiscard]] bool empty() const noexcept { return bytes_.empty(); }

    void append(std::string_view text) { bytes_.insert(bytes_.end(), text.begin(), text.end()); }
    void push_back(char c) { bytes_.push_back(c); }
    void reserve(std::size_t n) { bytes_.reserve(n); }
    void resize(std::size_t n) { bytes_.resize(n); }
    void clear() noexcept {
        if (!bytes_.empty())
            OPENSSL_cleanse(bytes_.data(), bytes_.size());
        bytes_.clear();
    }

    // Compares without telling by its duration where two secrets of one length differ.
    friend bool operator==(const secret_string& a, const secret_string& b) noexcept {
        return a.size() == b.size() &&
               (a.empty() || CRYPTO_memcmp(a.bytes_.data(), b.bytes_.data(), a.size()) == 0);
    }
    friend std::ostream& operator<<(std::ostream&, const secret_string&) = delete;

private:
    std::vector<char, wiping_allocator<char>> bytes_;
};

} // namespace credlet
