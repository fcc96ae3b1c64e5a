#include "daemon/configuration_file.hpp"

#include "runtime/json.hpp"

#include <algorithm>
#include <optional>

namespace credlet::app {

namespace {

constexpr std::size_t max_values = 1024;

bool bare(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("-_.:/+*@").find(c) != std::string_view::npos;
}

bool key_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

// One line, read from the left.
class line_reader {
public:
    explicit line_reader(std::string_view text) : rest_(text) {}

    void skip_space() {
        const auto start = rest_.find_first_not_of(" \t");
        rest_.remove_prefix(start == std::string_view::npos ? rest_.size() : start);
    }
    // Nothing but white space and a comment is left.
    bool ended() {
        skip_space();
        return rest_.empty() || rest_.front() == '#';
    }
    bool take(char c) {
        skip_space();
        if (rest_.empty() || rest_.front() != c)
            return false;
        rest_.remove_prefix(1);
        return true;
    }
    template <class Predicate>
    std::string_view take_while(Predicate wanted) {
        skip_space();
        const auto end = std::find_if_not(rest_.begin(), rest_.end(), wanted);
        const auto word = rest_.substr(0, static_cast<std::size_t>(end - rest_.begin()));
        rest_.remove_prefix(word.size());
        return word;
    }

    // None: error() says why.
    std::optional<std::string> value() {
        skip_space();
        if (take('\''))
            return literal_string();
        if (take('"'))
            return basic_string();
        const auto word = take_while(bare);
        if (word.empty()) {
            error_ = "a value is expected: a word, a number, true, false, or a text in quotes";
            return std::nullopt;
        }
        return std::string(word);
    }
    [[nodiscard]] const std::string& error() const { return error_; }

private:
    std::optional<std::string> literal_string() {
        const auto end = rest_.find('\'');
        if (end == std::string_view::npos) {
            error_ = "a text in ' has no end on its line";
            return std::nullopt;
        }
        std::string text(rest_.substr(0, end));
        rest_.remove_prefix(end + 1);
        return text;
    }

    std::optional<std::string> basic_string() {
        std::string text;
        for (std::size_t i = 0; i < rest_.size(); ++i) {
            if (rest_[i] == '"') {
                rest_.remove_prefix(i + 1);
                return text;
            }
            if (rest_[i] != '\\') {
                text.push_back(rest_[i]);
                continue;
            }
            const char escaped = ++i < rest_.size() ? rest_[i] : '\0';
            switch (escaped) {
            case '"':
            case '\\':
                text.push_back(escaped);
                break;
            case 'n':
                text.push_back('\n');
                break;
            case 't':
                text.push_back('\t');
                break;
            default:
                error_ = "only \\\" \\\\ \\n and \\t may be escaped in a text";
                return std::nullopt;
            }
        }
        error_ = "a text in \" has no end on its line";
        return std::nullopt;
    }

    std::string_view rest_;
    std::string error_;
};

error at_line(std::size_t line, std::string_view what) {
    return fail(errc::malformed, "line " + std::to_string(line) + ": " + std::string(what));
}

result<configuration_entry> parse_line(line_reader& in, std::size_t line) {
    if (in.take('['))
        return at_line(line, "tables in [ ] are not used; every setting stands at the top");
    configuration_entry entry{std::string(in.take_while(key_character)), {}, line};
    if (entry.key.empty())
        return at_line(line, "a setting is expected: name = value");
    if (!in.take('='))
        return at_line(line, "'=' is expected behind '" + entry.key + "'");
    const bool array = in.take('[');
    while (!array || !in.take(']')) {
        auto value = in.value();
        if (!value)
            return at_line(line, in.error());
        if (entry.values.size() >= max_values)
            return at_line(line, "more than " + std::to_string(max_values) + " values");
        entry.values.push_back(std::move(*value));
        if (!array)
            break;
        if (!in.take(',')) {
            if (in.take(']'))
                break;
            return at_line(line, "',' or ']' is expected; an array ends on its line");
        }
    }
    if (!in.ended())
        return at_line(line, "there is something behind the value of '" + entry.key +
                                 "'; put values with spaces or special characters in quotes");
    return entry;
}

} // namespace

result<std::vector<configuration_entry>> parse_configuration(std::string_view text) {
    if (text.starts_with("\xef\xbb\xbf"))
        text.remove_prefix(3);
    if (!simdjson::validate_utf8(text))
        return fail(errc::malformed, "not UTF-8 text");
    std::vector<configuration_entry> entries;
    for (std::size_t line = 1; !text.empty(); ++line) {
        const auto end = std::min(text.find('\n'), text.size());
        std::string_view content = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (content.ends_with('\r'))
            content.remove_suffix(1);
        if (std::any_of(content.begin(), content.end(), [](char c) {
                return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f;
            }))
            return at_line(line, "there is a control character");
        line_reader in(content);
        if (in.ended())
            continue;
        auto entry = parse_line(in, line);
        if (!entry)
            return entry.error();
        const auto same = std::find_if(entries.begin(), entries.end(),
                                       [&](const configuration_entry& e) { return e.key == entry->key; });
        if (same != entries.end())
            return at_line(line,
                           "'" + entry->key + "' stands on line " + std::to_string(same->line) + " already");
        entries.push_back(std::move(*entry));
        if (entries.size() > max_values)
            return at_line(line, "more than " + std::to_string(max_values) + " settings");
    }
    return entries;
}

} // namespace credlet::app
