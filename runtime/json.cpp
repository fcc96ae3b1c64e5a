#include "runtime/json.hpp"

#include <openssl/crypto.h>

#include <cstring>

namespace credlet {

namespace {

constexpr std::size_t max_depth = 64;

template <class Out>
void append_string(Out& out, std::string_view text) {
    static constexpr char hex[] = "0123456789abcdef";
    out.push_back('"');
    for (std::size_t i = 0; i < text.size();) {
        const auto c = static_cast<unsigned char>(text[i]);
        if (c < 0x80) {
            switch (c) {
            case '"':
                out.append("\\\"");
                break;
            case '\\':
                out.append("\\\\");
                break;
            case '\n':
                out.append("\\n");
                break;
            case '\r':
                out.append("\\r");
                break;
            case '\t':
                out.append("\\t");
                break;
            default:
                if (c < 0x20 || c == 0x7f) {
                    out.append("\\u00");
                    out.push_back(hex[c >> 4]);
                    out.push_back(hex[c & 0xf]);
                } else {
                    out.push_back(static_cast<char>(c));
                }
            }
            ++i;
            continue;
        }
        const std::size_t length = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 1;
        const auto sequence = text.substr(i, length);
        if (length > 1 && sequence.size() == length && simdjson::validate_utf8(sequence)) {
            out.append(sequence);
            i += length;
        } else {
            out.append("\xef\xbf\xbd");
            ++i;
        }
    }
    out.push_back('"');
}

// How much of the buffer the strings of a parsed document take: they stand in it in the order of the tape,
// each with its length before and a zero behind.
std::size_t strings_size(const simdjson::dom::document& document) {
    const auto payload = [&](std::size_t i) {
        return static_cast<std::size_t>(document.tape[i] & simdjson::internal::JSON_VALUE_MASK);
    };
    std::size_t size = 0;
    const std::size_t tape_size = payload(0);
    for (std::size_t i = 1; i < tape_size; ++i) {
        switch (document.tape[i] >> 56) {
        case '"': {
            std::uint32_t length = 0;
            std::memcpy(&length, &document.string_buf[payload(i)], sizeof(length));
            size = payload(i) + sizeof(length) + length + 1;
            break;
        }
        case 'l': // numbers have their value in a word of its own
        case 'u':
        case 'd':
            ++i;
            break;
        default:
            break;
        }
    }
    return size;
}

} // namespace

json_document::json_document(json_document&& other) noexcept
    : parser_(std::move(other.parser_)),
      root_(other.root_),
      parsed_(other.parsed_) {}

json_document& json_document::operator=(json_document&& other) noexcept {
    if (this != &other) {
        wipe();
        parser_ = std::move(other.parser_);
        root_ = other.root_;
        parsed_ = other.parsed_;
    }
    return *this;
}

json_document::~json_document() { wipe(); }

void json_document::wipe() noexcept {
    if (!parser_ || !parser_->doc.string_buf)
        return;
    // What was never written is not touched: until then the buffer of a large document takes no memory. A
    // document that could not be parsed may have written anything, up to what document::allocate takes.
    const auto& document = parser_->doc;
    OPENSSL_cleanse(document.string_buf.get(),
                    parsed_
                        ? strings_size(document)
                        : SIMDJSON_ROUNDUP_N(5 * document.capacity() / 3 + simdjson::SIMDJSON_PADDING, 64));
}

result<json_document> json_document::parse(std::string_view text, std::size_t max_bytes) {
    if (text.size() > max_bytes)
        return fail(errc::too_large, "JSON of " + std::to_string(text.size()) + " bytes, at most " +
                                         std::to_string(max_bytes) + " are taken");
    // Our own padded copy: simdjson would make one that nobody wipes.
    secret_string padded;
    padded.reserve(text.size() + simdjson::SIMDJSON_PADDING);
    padded.append(text);

    json_document document;
    document.parser_ = std::make_unique<simdjson::dom::parser>();
    if (document.parser_->allocate(text.size(), max_depth) != simdjson::SUCCESS)
        return fail(errc::internal, "out of memory for a JSON document");
    const auto code = document.parser_->parse(padded.data(), padded.size(), false).get(document.root_);
    if (code != simdjson::SUCCESS)
        return fail(errc::malformed, std::string("not JSON: ") + simdjson::error_message(code));
    document.parsed_ = true;
    return document;
}

std::optional<simdjson::dom::element> json_member(simdjson::dom::element object, std::string_view member) {
    simdjson::dom::element value;
    if (object[member].get(value) != simdjson::SUCCESS || value.is_null())
        return std::nullopt;
    return value;
}

std::optional<std::string_view> json_string(simdjson::dom::element object, std::string_view member) {
    std::string_view value;
    if (object[member].get(value) != simdjson::SUCCESS)
        return std::nullopt;
    return value;
}

std::optional<std::int64_t> json_integer(simdjson::dom::element object, std::string_view member) {
    std::int64_t value = 0;
    if (object[member].get(value) != simdjson::SUCCESS)
        return std::nullopt;
    return value;
}

std::optional<bool> json_bool(simdjson::dom::element object, std::string_view member) {
    bool value = false;
    if (object[member].get(value) != simdjson::SUCCESS)
        return std::nullopt;
    return value;
}

void append_json_string(std::string& out, std::string_view text) { append_string(out, text); }
void append_json_string(secret_string& out, std::string_view text) { append_string(out, text); }

} // namespace credlet
