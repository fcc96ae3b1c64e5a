#include "metadata/kubernetes/object_parsing.hpp"
#include "metadata/kubernetes/watch_frames.hpp"
#include "tests/support/kubernetes_fakes.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::metadata::kubernetes;

TEST_CASE("F24: frames come out whole wherever the stream is cut") {
    const std::string stream = test::event_json("ADDED", test::pod_json("u1", "1")) +
                               test::event_json("DELETED", test::pod_json("u2", "2")) +
                               test::bookmark_json("3");
    for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
        watch_frames frames;
        std::vector<std::string> types;
        for (const auto& part : {stream.substr(0, cut), stream.substr(cut)}) {
            REQUIRE(frames.feed(part).has_value());
            while (const auto frame = frames.next()) {
                const auto event = decode_watch_event(*frame);
                REQUIRE(event.has_value());
                types.push_back(version_of(event->object).resource_version);
            }
        }
        CHECK(types == std::vector<std::string>{"1", "2", "3"});
        CHECK_FALSE(frames.partial());
    }
}

TEST_CASE("F24: a stream that ends inside a frame is told from one that ends between two") {
    const auto frame = test::bookmark_json("3");
    for (std::size_t cut = 1; cut < frame.size(); ++cut) {
        watch_frames frames;
        REQUIRE(frames.feed(frame.substr(0, cut)).has_value());
        CHECK_FALSE(frames.next().has_value());
        CHECK(frames.partial());
    }
}

TEST_CASE("F24: a frame may have 4 MiB and not a byte more") {
    const std::string head = R"({"type":"ADDED","object":{"x":")";
    const std::string tail = R"("}})";
    const std::string fits = head + std::string(max_watch_frame - head.size() - tail.size(), 'x') + tail;
    watch_frames frames;
    for (std::size_t at = 0; at < fits.size(); at += 65536) {
        REQUIRE(frames.feed(std::string_view(fits).substr(at, 65536)).has_value());
        CHECK_FALSE(frames.next().has_value());
    }
    REQUIRE(frames.feed("\n").has_value());
    const auto frame = frames.next();
    REQUIRE(frame.has_value());
    CHECK(frame->size() == max_watch_frame);
    CHECK(decode_watch_event(*frame).has_value());

    watch_frames small(10);
    CHECK(small.feed("0123456789").has_value());
    CHECK_FALSE(small.next().has_value());
    const auto over = small.feed("0");
    REQUIRE(over.has_error());
    CHECK(over.error().kind == errc::too_large);
    watch_frames at_once(10);
    CHECK(at_once.feed("0123456789A\n").has_error());
    watch_frames several(10);
    CHECK(several.feed("0123456789\n0123456789\n").has_value());
}

TEST_CASE("blank lines and carriage returns between frames mean nothing") {
    watch_frames frames;
    REQUIRE(frames.feed("\n\r\na\r\n\nb\n").has_value());
    CHECK(frames.next() == "a");
    CHECK(frames.next() == "b");
    CHECK_FALSE(frames.next().has_value());
    CHECK_FALSE(frames.partial());
}

TEST_CASE("every type of event is known, an unknown one and anything that is no event is an error") {
    const std::pair<const char*, watch_event_type> known[] = {{"ADDED", watch_event_type::added},
                                                              {"MODIFIED", watch_event_type::modified},
                                                              {"DELETED", watch_event_type::deleted},
                                                              {"BOOKMARK", watch_event_type::bookmark},
                                                              {"ERROR", watch_event_type::error}};
    for (const auto& [name, type] : known)
        CHECK(decode_watch_event(std::string(R"({"type":")") + name + R"(","object":{}})")->type == type);
    for (const auto* text :
         {R"({"type":"RENAMED","object":{}})", R"({"type":"ADDED"})", R"({"object":{}})",
          R"({"type":"ADDED","object":7})", R"({"type":7,"object":{}})", "{", "", "[]", "null",
          R"({"type":"ADDED","object":{}}{"type":"ADDED","object":{}})", "\xff\xfe", "{\"a\":\"\xff\"}"}) {
        CAPTURE(text);
        const auto event = decode_watch_event(text);
        REQUIRE(event.has_error());
        CHECK(event.error().kind == errc::malformed);
    }
}
