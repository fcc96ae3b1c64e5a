#include "runtime/thread_capabilities.hpp"

#include <array>
#include <cerrno>
#include <linux/capability.h>
#include <optional>
#include <sys/syscall.h>
#include <system_error>
#include <unistd.h>

namespace credlet {

namespace {

// capset(2): of version 3, two words of each set. Process id 0: the calling thread. The library's functions
// would do no more, but for a library.
using capability_words = std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3>;
constexpr int bits_per_word = 32;

__user_cap_header_struct this_thread() { return {_LINUX_CAPABILITY_VERSION_3, 0}; }

std::optional<capability_words> held_words() {
    auto header = this_thread();
    capability_words words{};
    if (::syscall(SYS_capget, &header, words.data()) != 0)
        return std::nullopt;
    return words;
}

error failed(const char* what) {
    return fail(errc::internal,
                std::string(what) + " this thread's capabilities: " + std::system_category().message(errno));
}

std::size_t word_of(int capability) { return static_cast<std::size_t>(capability / bits_per_word); }
__u32 bit_of(int capability) { return __u32{1} << static_cast<unsigned>(capability % bits_per_word); }

} // namespace

bool has_capability(int capability) {
    const auto words = held_words();
    return words && ((*words).at(word_of(capability)).effective & bit_of(capability)) != 0;
}

result<void> give_up_capabilities(std::initializer_list<int> capabilities) {
    auto words = held_words();
    if (!words)
        return failed("cannot read");
    for (const int capability : capabilities) {
        auto& word = (*words).at(word_of(capability));
        for (auto* set : {&word.effective, &word.permitted, &word.inheritable})
            *set &= ~bit_of(capability);
    }
    auto header = this_thread();
    if (::syscall(SYS_capset, &header, words->data()) != 0)
        return failed("cannot give up");
    return {};
}

} // namespace credlet
