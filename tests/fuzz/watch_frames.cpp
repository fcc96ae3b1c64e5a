// The stream of a watch, cut into chunks by its first byte; every frame goes the way of a pod, a service
// account and a Status. However it is cut, the frames are the same.

#include "metadata/kubernetes/watch_frames.hpp"

#include "metadata/kubernetes/api_client.hpp"
#include "metadata/kubernetes/object_parsing.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

using namespace credlet::metadata::kubernetes;

namespace {

std::vector<std::string> frames_of(std::string_view stream, std::size_t chunk) {
    watch_frames frames;
    std::vector<std::string> all;
    for (std::size_t at = 0; at < stream.size(); at += chunk) {
        if (frames.feed(stream.substr(at, chunk)).has_error())
            std::abort(); // the fuzzer's inputs are far smaller than a frame may be
        while (const auto frame = frames.next())
            all.emplace_back(*frame);
    }
    return all;
}

void consume(simdjson::dom::element object) {
    const auto pod = parse_pod(object);
    if (pod.has_value()) {
        for (const auto& address : pod->addresses) {
            if (address.is_v6() && address.to_v6().is_v4_mapped())
                std::abort();
        }
    }
    const auto account = parse_service_account(object, {"credlet.io/", "eks.amazonaws.com/"});
    if (account.has_value() && !std::is_sorted(account->annotations.begin(), account->annotations.end()))
        std::abort();
    const auto problem = error_of_object(object);
    if (problem.message.find('\n') != std::string::npos)
        std::abort();
    (void)version_of(object);
    (void)parse_list_metadata(object);
    (void)list_items(object);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0 || size > std::size_t{1} << 20)
        return 0;
    const std::string_view stream(reinterpret_cast<const char*>(data) + 1, size - 1);
    const auto frames = frames_of(stream, std::size_t{data[0]} + 1);
    if (frames != frames_of(stream, std::max<std::size_t>(stream.size(), 1)))
        std::abort();
    for (const auto& frame : frames) {
        const auto event = decode_watch_event(frame);
        if (event.has_value())
            consume(event->object);
    }
    return 0;
}
