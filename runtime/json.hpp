#pragma once
// JSON in and out. Reading is simdjson's DOM parser, which checks the whole document before any of it is
// used; what it copied out of the document is wiped when the document goes, because answers hold tokens and
// credentials. Writing is a small appender that escapes what RFC 8259 says must be escaped.

#include "runtime/error.hpp"
#include "runtime/secret.hpp"

#include <simdjson.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace credlet {

// A parsed document. Elements and the strings they hold live as long as it does.
class json_document {
public:
    // Refuses text over max_bytes, nesting over 64 levels, and anything that is not one whole JSON value.
    static result<json_document> parse(std::string_view text, std::size_t max_bytes);

    json_document(json_document&&) noexcept;
    json_document& operator=(json_document&&) noexcept;
    ~json_document();

    [[nodiscard]] simdjson::dom::element root() const { return root_; }

private:
    json_document() = default;
    void wipe() noexcept;
    std::unique_ptr<simdjson::dom::parser> parser_;
    simdjson::dom::element root_;
    bool parsed_ = false;
};

// Members that must, or may, be there. A missing member and one of another type are both "none"; a null is
// none. Views point into the document.
std::optional<std::string_view> json_string(simdjson::dom::element object, std::string_view member);
std::optional<std::int64_t> json_integer(simdjson::dom::element object, std::string_view member);
std::optional<bool> json_bool(simdjson::dom::element object, std::string_view member);
std::optional<simdjson::dom::element> json_member(simdjson::dom::element object, std::string_view member);

// Appends text as a JSON string, quotes included. Bytes that are not UTF-8 become U+FFFD.
void append_json_string(std::string& out, std::string_view text);
void append_json_string(secret_string& out, std::string_view text);

} // namespace credlet
