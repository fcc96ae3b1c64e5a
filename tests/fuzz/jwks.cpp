// A key set as the API server (or whatever answered in its place) sent it; each key that is accepted must be
// able to look at a signature and refuse it.

#include "metadata/kubernetes/jwks.hpp"

#include <cstdint>
#include <cstdlib>
#include <string>

using namespace credlet::metadata::kubernetes;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto set = key_set::parse(text);
    if (set.has_error())
        return 0;
    if (set->size() == 0 || set->size() > max_keys || text.size() > max_jwks)
        std::abort();
    const std::vector<std::uint8_t> signature(256, 0x5a);
    for (const auto* kid : {"rsa", "p256", "p384", "p521", "k"}) {
        const auto* key = set->find(kid);
        if (key == nullptr)
            continue;
        for (const auto algorithm : {signature_algorithm::rs256, signature_algorithm::es256,
                                     signature_algorithm::es384, signature_algorithm::es512}) {
            for (const std::size_t length :
                 {std::size_t{256}, std::size_t{64}, std::size_t{96}, std::size_t{132}}) {
                if (length <= signature.size() &&
                    key->verify(algorithm, "text", std::span(signature).first(length)))
                    std::abort();
            }
        }
    }
    return 0;
}
