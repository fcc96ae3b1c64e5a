#pragma once
// Randomness for jitter and identifiers, passed in so that a test's seed reproduces a run.

#include <array>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>

namespace credlet {

class random_source {
public:
    virtual ~random_source() = default;
    // Uniform over all 64 bits.
    virtual std::uint64_t next() = 0;
    // Uniform in [0, 1).
    double unit() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

protected:
    random_source() = default;
    random_source(const random_source&) = default;
    random_source& operator=(const random_source&) = default;
};

// Seeded once from the operating system; for jitter, not for keys.
class system_random final : public random_source {
public:
    system_random();
    std::uint64_t next() override { return engine_(); }

private:
    std::mt19937_64 engine_;
};

// The same sequence for the same seed, on every machine.
class seeded_random final : public random_source {
public:
    explicit seeded_random(std::uint64_t seed) : engine_(seed) {}
    std::uint64_t next() override { return engine_(); }

private:
    std::mt19937_64 engine_;
};

// Bytes fit for keys, from OpenSSL's generator. Throws std::runtime_error if it cannot deliver.
void fill_random_bytes(std::span<std::uint8_t> bytes);

} // namespace credlet
