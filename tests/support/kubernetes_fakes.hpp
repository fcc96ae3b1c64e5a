#pragma once
// What the Kubernetes side needs around it, for tests: a log and metrics that remember, sinks, a pod chooser,
// and JSON as the API server writes it.

#include "metadata/cluster.hpp"
#include "metrics/metrics.hpp"
#include "runtime/log.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <unistd.h>
#include <variant>
#include <vector>

namespace credlet::test {

class remembering_log final : public logger {
public:
    bool enabled(log_level) const override { return true; }
    void write(log_level level, std::string_view message, std::initializer_list<log_field> fields) override {
        std::string line(message);
        for (const auto& field : fields) {
            line += " " + std::string(field.key) + "=";
            if (const auto* text = std::get_if<std::string_view>(&field.value))
                line += *text;
            else if (const auto* number = std::get_if<std::int64_t>(&field.value))
                line += std::to_string(*number);
        }
        lines.emplace_back(level, line);
    }
    [[nodiscard]] std::size_t count(log_level level, std::string_view part) const {
        return static_cast<std::size_t>(std::count_if(lines.begin(), lines.end(), [&](const auto& l) {
            return l.first == level && l.second.find(part) != std::string::npos;
        }));
    }
    std::vector<std::pair<log_level, std::string>> lines;
};

class remembering_kubernetes_metrics final : public metrics::kubernetes_metrics {
public:
    void token_request(std::string_view source, std::string_view result, std::chrono::nanoseconds) override {
        token_requests.push_back(std::string(source) + ":" + std::string(result));
    }
    void watch_restarted(metrics::watched w, std::string_view reason) override {
        if (w == metrics::watched::pods)
            pod_restarts.emplace_back(reason);
        else
            account_restarts.emplace_back(reason);
    }
    void watch_alive(metrics::watched, boot_time when) override { last_alive = when; }
    void pods(std::string_view, std::size_t) override {}
    void token_reloaded(std::string_view what, bool ok) override {
        reloads.push_back(std::string(what) + (ok ? ":ok" : ":failed"));
    }
    void jwks_fetched(std::string_view result) override { jwks.emplace_back(result); }

    std::vector<std::string> token_requests, pod_restarts, account_restarts, reloads, jwks;
    boot_time last_alive{};
};

template <class Object>
class remembering_sink final : public metadata::object_sink<Object> {
public:
    void replaced(std::vector<Object> all) override {
        ++replacements;
        objects.clear();
        for (auto& o : all)
            objects.insert_or_assign(o.uid, std::move(o));
    }
    void changed(Object o) override {
        ++changes;
        auto uid = o.uid;
        objects.insert_or_assign(std::move(uid), std::move(o));
    }
    void removed(const Object& o) override {
        ++removals;
        objects.erase(o.uid);
    }
    std::map<std::string, Object> objects;
    int replacements = 0, changes = 0, removals = 0;
};

class pods_at_hand final : public metadata::pod_chooser {
public:
    [[nodiscard]] std::vector<metadata::pod> live_pods(const std::string& account_uid,
                                                       const std::string& pod_uid) const override {
        std::vector<metadata::pod> found;
        for (const auto& [uid, p] : pods) {
            if (uid == account_uid && (pod_uid.empty() || p.uid == pod_uid))
                found.push_back(p);
        }
        return found;
    }
    std::vector<std::pair<std::string, metadata::pod>> pods; // by the service account's uid
};

// A directory that goes with the test.
class scratch_directory {
public:
    scratch_directory() {
        auto name = (std::filesystem::temp_directory_path() / "credlet-test-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr)
            throw std::runtime_error("no scratch directory");
        path_ = name;
    }
    scratch_directory(const scratch_directory&) = delete;
    scratch_directory& operator=(const scratch_directory&) = delete;
    ~scratch_directory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    [[nodiscard]] const std::filesystem::path& path() const { return path_; }
    std::string write(const std::string& name, std::string_view text) const {
        const auto where = path_ / name;
        std::filesystem::create_directories(where.parent_path());
        std::ofstream(where, std::ios::binary) << text;
        return where.string();
    }

private:
    std::filesystem::path path_;
};

inline std::string pod_json(const std::string& uid, const std::string& version,
                            const std::string& ip = "10.1.2.3") {
    return R"({"kind":"Pod","apiVersion":"v1","metadata":{"name":"app-)" + uid +
           R"(","namespace":"prod","uid":")" + uid + R"(","resourceVersion":")" + version +
           R"(","annotations":{"unrelated":"x"},"managedFields":[{"manager":"kubelet"}]},"spec":{"nodeName":"n1",)"
           R"("serviceAccountName":"app","containers":[{"name":"a"}]},"status":{"phase":"Running","podIP":")" +
           ip + R"(","podIPs":[{"ip":")" + ip + R"("}]}})";
}

inline std::string account_json(const std::string& uid, const std::string& version,
                                const std::string& annotations) {
    return R"({"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"sa-)" + uid +
           R"(","namespace":"prod","uid":")" + uid + R"(","resourceVersion":")" + version +
           R"(","annotations":{)" + annotations + "}}}";
}

inline std::string list_json(const std::vector<std::string>& items, const std::string& version,
                             const std::string& next = "") {
    std::string out = R"({"kind":"List","apiVersion":"v1","metadata":{"resourceVersion":")" + version + "\"";
    if (!next.empty())
        out += R"(,"continue":")" + next + "\"";
    out += R"(},"items":[)";
    for (std::size_t i = 0; i < items.size(); ++i)
        out += (i > 0 ? "," : "") + items[i];
    return out + "]}";
}

inline std::string event_json(const std::string& type, const std::string& object) {
    return R"({"type":")" + type + R"(","object":)" + object + "}\n";
}

inline std::string bookmark_json(const std::string& version) {
    return event_json("BOOKMARK", R"({"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":")" +
                                      version + R"(","creationTimestamp":null}})");
}

inline std::string status_json(int code, const std::string& reason, const std::string& message,
                               const std::string& details = "{}") {
    return R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":")" + message +
           R"(","reason":")" + reason + R"(","details":)" + details + R"(,"code":)" + std::to_string(code) +
           "}";
}

} // namespace credlet::test
