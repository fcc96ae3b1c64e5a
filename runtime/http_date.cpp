// The three date forms of HTTP (RFC 9110 section 5.6.7), and what is made of them.

#include "runtime/ascii.hpp"
#include "runtime/https_client.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace credlet {
namespace {

constexpr std::array<std::string_view, 12> month_names{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
constexpr std::array<std::string_view, 7> day_names{"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                    "Thursday", "Friday", "Saturday"};

// Takes a date apart from left to right. After the first mismatch everything fails.
struct date_reader {
    std::string_view rest;
    bool good = true;

    void literal(std::string_view text) {
        good = good && rest.starts_with(text);
        if (good)
            rest.remove_prefix(text.size());
    }
    // Exactly `digits` digits.
    int number(std::size_t digits) {
        int value = 0;
        for (; good && digits > 0; --digits) {
            good = !rest.empty() && rest.front() >= '0' && rest.front() <= '9';
            if (!good)
                break;
            value = value * 10 + (rest.front() - '0');
            rest.remove_prefix(1);
        }
        return value;
    }
    unsigned month() {
        const auto found = std::ranges::find(month_names, rest.substr(0, 3));
        good = good && found != month_names.end();
        if (good)
            rest.remove_prefix(3);
        return static_cast<unsigned>(found - month_names.begin()) + 1;
    }
    std::chrono::seconds time_of_day() {
        const int hour = number(2);
        literal(":");
        const int minute = number(2);
        literal(":");
        const int second = number(2);
        good = good && hour < 24 && minute < 60 && second <= 60; // 60: a leap second
        return std::chrono::hours(hour) + std::chrono::minutes(minute) + std::chrono::seconds(second);
    }
};

std::optional<wall_time> make_time(const date_reader& reader, int year, unsigned month, int day,
                                   std::chrono::seconds time) {
    const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(month),
                                           std::chrono::day(static_cast<unsigned>(day))};
    if (!reader.good || !reader.rest.empty() || !date.ok())
        return std::nullopt;
    return std::chrono::sys_days(date) + time;
}

} // namespace

std::optional<wall_time> http_date(std::string_view text) {
    const auto name_end = std::min(text.find_first_of(", "), text.size());
    const std::string_view day_name = text.substr(0, name_end);
    const auto named = std::ranges::find_if(
        day_names, [&](std::string_view full) { return day_name == full || day_name == full.substr(0, 3); });
    if (named == day_names.end())
        return std::nullopt;
    date_reader reader{text.substr(name_end)};

    if (reader.rest.starts_with(", ")) {
        reader.literal(", ");
        const int day = reader.number(2);
        // Sun, 06 Nov 1994 08:49:37 GMT, or the obsolete Sunday, 06-Nov-94 08:49:37 GMT
        const bool obsolete = reader.rest.starts_with('-');
        reader.literal(obsolete ? "-" : " ");
        const unsigned month = reader.month();
        reader.literal(obsolete ? "-" : " ");
        int year = reader.number(obsolete ? 2 : 4);
        if (obsolete)
            year += year < 70 ? 2000 : 1900;
        reader.literal(" ");
        const auto time = reader.time_of_day();
        reader.literal(" GMT");
        return make_time(reader, year, month, day, time);
    }
    // Sun Nov  6 08:49:37 1994
    reader.literal(" ");
    const unsigned month = reader.month();
    reader.literal(" ");
    const bool padded = reader.rest.starts_with(' ');
    if (padded)
        reader.literal(" ");
    const int day = reader.number(padded ? 1 : 2);
    reader.literal(" ");
    const auto time = reader.time_of_day();
    reader.literal(" ");
    const int year = reader.number(4);
    return make_time(reader, year, month, day, time);
}

std::optional<std::string_view> http_response::header(std::string_view name) const {
    for (const auto& [key, value] : headers)
        if (ascii::equal_ignoring_case(key, name))
            return value;
    return std::nullopt;
}

std::optional<std::chrono::milliseconds> retry_after(const http_response& response, wall_time now) {
    const auto text = response.header("Retry-After");
    if (!text)
        return std::nullopt;
    unsigned seconds = 0;
    const auto [end, ec] = std::from_chars(text->data(), text->data() + text->size(), seconds);
    if (ec == std::errc() && end == text->data() + text->size())
        return std::chrono::seconds(seconds);
    const auto date = http_date(*text);
    if (!date)
        return std::nullopt;
    return std::max(*date - now, std::chrono::milliseconds(0));
}

} // namespace credlet
