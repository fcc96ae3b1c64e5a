// Annotations as whoever may edit a service account can write them: one per line, "key=value". Whatever they
// say, the outcome is a request within its grammar or an error on one line.

#include "metadata/role_annotations.hpp"
#include "metadata/role_policy.hpp"
#include "sts/credentials.hpp"

#include <cstdint>
#include <cstdlib>

using namespace credlet;
using namespace credlet::metadata;

namespace {

void must(bool holds) {
    if (!holds)
        std::abort();
}

void check_arn(const std::string& arn) { must(sts::role_arn::parse(arn).has_value()); }

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::string_view text(reinterpret_cast<const char*>(data), size);
    std::vector<std::pair<std::string, std::string>> annotations;
    while (!text.empty()) {
        const auto line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(line.size() + 1, text.size()));
        const auto equals = line.find('=');
        annotations.emplace_back(line.substr(0, equals), equals == std::string_view::npos
                                                             ? std::string_view()
                                                             : line.substr(equals + 1));
    }
    const std::vector<std::string> prefixes{"credlet.io/", "eks.amazonaws.com/"};
    for (const std::string_view base : {"", "arn:aws:iam::123456789012:role/"}) {
        const auto request = read_role_annotations(annotations, {prefixes, "sts.amazonaws.com", base});
        if (!request) {
            must(!request.error().message.empty() && request.error().message.size() < 2000);
            for (const char c : request.error().message)
                must(c != '\n' && c != '\r' && c != '\0');
            continue;
        }
        if (!*request)
            continue;
        const role_request& r = **request;
        check_arn(r.role_arn);
        if (!r.target_role_arn.empty())
            check_arn(r.target_role_arn);
        must(r.additional_role_arns.size() <= max_additional_roles);
        for (const auto& arn : r.additional_role_arns)
            check_arn(arn);
        must(r.duration >= sts::min_duration && r.duration <= sts::max_duration);
        must(!r.audience.empty() && r.audience.size() <= 256);
        must(r.external_id.empty() || !r.target_role_arn.empty());
        must(glob_matches("*", r.role_arn) && glob_matches(r.role_arn, r.role_arn));
    }
    return 0;
}
