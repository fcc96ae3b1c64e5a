#include "runtime/random.hpp"

#include <openssl/rand.h>

#include <stdexcept>

namespace credlet {

void fill_random_bytes(std::span<std::uint8_t> bytes) {
    if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1)
        throw std::runtime_error("the system's random generator failed");
}

system_random::system_random() {
    std::array<std::uint32_t, 8> words{};
    fill_random_bytes({reinterpret_cast<std::uint8_t*>(words.data()), sizeof words});
    std::seed_seq seed(words.begin(), words.end());
    engine_.seed(seed);
}

} // namespace credlet
