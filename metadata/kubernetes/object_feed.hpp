#pragma once
// Between a reflector, which moves JSON, and a sink, which takes objects: parses, leaves out what nobody
// wants, and remembers which version of which object was handed on.

#include "metadata/kubernetes/object_parsing.hpp"
#include "runtime/log.hpp"

#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

namespace credlet::metadata::kubernetes {

class object_feed {
public:
    virtual ~object_feed() = default;
    // A list, page by page. Nothing reaches the sink before end_list, and then everything at once; a list
    // begun anew forgets what it had so far. An object that cannot be parsed is left out with a warning: one
    // bad object must not keep all others from being known.
    virtual void begin_list() = 0;
    virtual void list_item(simdjson::dom::element object) = 0;
    virtual void end_list(std::string_view resource_version) = 0;
    // One event. errc::malformed: the object cannot be parsed; list anew.
    virtual result<void> changed(simdjson::dom::element object) = 0;
    virtual result<void> removed(simdjson::dom::element object) = 0;
    // Whether this version of the object is what was last seen of it, and how many objects there are.
    [[nodiscard]] virtual bool knows(const object_version& version) const = 0;
    [[nodiscard]] virtual std::size_t known() const = 0;
};

template <class Object>
class typed_feed final : public object_feed {
public:
    using parser = std::function<result<Object>(simdjson::dom::element)>;
    using filter = std::function<bool(const Object&)>;

    // Only objects that `wanted` accepts reach the sink; one that ceases to be wanted arrives as removed.
    typed_feed(object_sink<Object>& sink, parser parse, filter wanted, logger& log)
        : sink_(sink),
          parse_(std::move(parse)),
          wanted_(std::move(wanted)),
          log_(log) {}

    void begin_list() override {
        listed_.clear();
        listed_versions_.clear();
    }

    void list_item(simdjson::dom::element object) override {
        auto version = version_of(object);
        auto parsed = parse_(object);
        if (parsed.has_error()) {
            log_.warn("left out of a list", {{"why", parsed.error().message}});
            listed_versions_.insert_or_assign(std::move(version.uid), std::move(version.resource_version));
        } else if (wanted_(*parsed)) {
            listed_versions_.insert_or_assign(std::move(version.uid), std::move(version.resource_version));
            listed_.push_back(std::move(*parsed));
        }
    }

    void end_list(std::string_view resource_version) override {
        versions_ = std::move(listed_versions_);
        listed_versions_ = {};
        for (auto& object : listed_) // as of this list
            object.version = version_number(resource_version);
        sink_.replaced(std::exchange(listed_, {}));
    }

    result<void> changed(simdjson::dom::element object) override {
        auto parsed = parse_(object);
        if (parsed.has_error())
            return parsed.error();
        auto version = version_of(object);
        if (wanted_(*parsed)) {
            versions_.insert_or_assign(std::move(version.uid), std::move(version.resource_version));
            sink_.changed(std::move(*parsed));
        } else if (versions_.erase(version.uid) > 0) {
            sink_.removed(*parsed);
        }
        return {};
    }

    result<void> removed(simdjson::dom::element object) override {
        const auto parsed = parse_(object);
        if (parsed.has_error())
            return parsed.error();
        if (versions_.erase(version_of(object).uid) > 0)
            sink_.removed(*parsed);
        return {};
    }

    [[nodiscard]] bool knows(const object_version& version) const override {
        const auto found = versions_.find(version.uid);
        return found != versions_.end() && found->second == version.resource_version;
    }
    [[nodiscard]] std::size_t known() const override { return versions_.size(); }

private:
    object_sink<Object>& sink_;
    parser parse_;
    filter wanted_;
    logger& log_;
    std::vector<Object> listed_;
    std::unordered_map<std::string, std::string> versions_, listed_versions_; // resourceVersion by uid
};

} // namespace credlet::metadata::kubernetes
