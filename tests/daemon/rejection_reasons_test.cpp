#include "metadata/rejection_reasons.hpp"
#include "metrics/label_sets.hpp"

#include <doctest/doctest.h>

TEST_CASE("T37: every reason of the service has a series of its own in credlet_rejections_total") {
    using credlet::metrics::rejection_reasons;
    for (const auto reason : credlet::metadata::reason::all) {
        CAPTURE(reason);
        CHECK(credlet::metrics::position_in(rejection_reasons, reason) < rejection_reasons.size() - 1);
    }
}
