#include "metrics/process.hpp"

#include "runtime/clock.hpp"

#include <charconv>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

namespace credlet::metrics {

namespace {

using prometheus::MetricType;

void add(std::vector<prometheus::MetricFamily>& to, std::string name, std::string help, MetricType type,
         std::optional<double> value) {
    if (!value)
        return;
    prometheus::ClientMetric m;
    (type == MetricType::Counter ? m.counter.value : m.gauge.value) = *value;
    prometheus::MetricFamily f;
    f.name = std::move(name);
    f.help = std::move(help);
    f.type = type;
    f.metric.push_back(std::move(m));
    to.push_back(std::move(f));
}

std::optional<double> cpu_seconds() {
    timespec t{};
    if (::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) != 0)
        return std::nullopt;
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

// Field n of /proc/self/stat as proc(5) counts them, for n > 2: the second is the program's name, which may
// hold anything, in brackets.
std::optional<double> stat_field(int n) {
    std::ifstream in("/proc/self/stat");
    const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    const auto behind_name = text.rfind(')');
    if (behind_name == std::string::npos)
        return std::nullopt;
    std::istringstream fields(text.substr(behind_name + 1));
    std::string field;
    for (int i = 2; i < n; ++i)
        if (!(fields >> field))
            return std::nullopt;
    double value = 0;
    const auto [end, problem] = std::from_chars(field.data(), field.data() + field.size(), value);
    if (problem != std::errc{} || end != field.data() + field.size())
        return std::nullopt;
    return value;
}

std::optional<double> resident_bytes() {
    const auto pages = stat_field(24);
    if (!pages)
        return std::nullopt;
    return *pages * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

// Seconds since the epoch: the boot clock has counted since the start what the wall clock has. Asked once:
// the clocks drift apart, and whoever counts the changes of this value counts restarts.
std::optional<double> start_time() {
    const auto ticks = stat_field(22);
    if (!ticks)
        return std::nullopt;
    using seconds = std::chrono::duration<double>;
    const system_clock now;
    const double age =
        seconds(now.now().time_since_epoch()).count() - *ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
    return seconds(now.wall().time_since_epoch()).count() - age;
}

std::optional<double> open_files() {
    std::error_code problem;
    std::filesystem::directory_iterator files("/proc/self/fd", problem);
    if (problem)
        return std::nullopt;
    const auto count = std::distance(std::filesystem::begin(files), std::filesystem::end(files));
    return static_cast<double>(count - 1); // without the one that reads the directory
}

std::optional<double> max_open_files() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return std::nullopt;
    return static_cast<double>(limit.rlim_cur);
}

} // namespace

process_metrics::process_metrics() : started_(start_time()) {}

std::vector<prometheus::MetricFamily> process_metrics::Collect() const {
    std::vector<prometheus::MetricFamily> all;
    add(all, "process_cpu_seconds_total", "User and system CPU time spent.", MetricType::Counter,
        cpu_seconds());
    add(all, "process_resident_memory_bytes", "Resident memory.", MetricType::Gauge, resident_bytes());
    add(all, "process_start_time_seconds", "Start of the process, since the Unix epoch.", MetricType::Gauge,
        started_);
    add(all, "process_open_fds", "Open file descriptors.", MetricType::Gauge, open_files());
    add(all, "process_max_fds", "Most file descriptors that may be open.", MetricType::Gauge,
        max_open_files());
    return all;
}

} // namespace credlet::metrics
