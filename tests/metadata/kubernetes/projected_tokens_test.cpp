#include "metadata/kubernetes/projected_tokens.hpp"
#include "tests/support/kubernetes_fakes.hpp"
#include "tests/support/token_forge.hpp"

#include <doctest/doctest.h>

using namespace credlet;
using namespace credlet::metadata::kubernetes;
using namespace std::chrono_literals;

namespace {

const wall_time now{1'760'000'000s};

std::string token(const std::string& audience, const std::string& pod_uid, std::chrono::seconds life,
                  const std::string& mark = "x") {
    const auto expires =
        std::to_string((now.time_since_epoch() + std::chrono::milliseconds(life)).count() / 1000);
    return test::unsigned_part(
               R"({"alg":"RS256","kid":"k"})",
               R"({"iss":"i","aud":[")" + audience + R"("],"exp":)" + expires + R"(,"jti":")" + mark +
                   R"(","sub":"system:serviceaccount:ns:sa","kubernetes.io":{"namespace":"ns",)"
                   R"("serviceaccount":{"name":"sa","uid":"s"},"pod":{"name":"p","uid":")" +
                   pod_uid + R"("}}})") +
           ".c2ln";
}

struct kubelet_directory {
    test::scratch_directory dir;
    void put(const std::string& pod, const std::string& volume, const std::string& path,
             const std::string& text) const {
        const auto base = pod + "/volumes/kubernetes.io~projected/" + volume;
        dir.write(base + "/..2026_01/" + path, text);
        const auto root = dir.path() / base;
        std::error_code ignored;
        std::filesystem::create_symlink("..2026_01", root / "..data", ignored);
        const auto first = path.substr(0, path.find('/'));
        std::filesystem::create_symlink("..data/" + first, root / first, ignored);
    }
    [[nodiscard]] result<projected_token> read(const std::string& pod) const {
        return read_projected_token(dir.path().string(), pod, "sts.amazonaws.com", now);
    }
};

} // namespace

TEST_CASE("a projected token is chosen by what it says: audience, pod and time") {
    const kubelet_directory k;
    k.put("pod-1", "kube-api-access", "token", token("https://kubernetes.default.svc", "pod-1", 3600s));
    k.put("pod-1", "kube-api-access", "ca.crt", "-----BEGIN CERTIFICATE-----");
    k.put("pod-1", "short", "token", token("sts.amazonaws.com", "pod-1", 600s));
    k.put("pod-1", "aws", "deep/er/token", token("sts.amazonaws.com", "pod-1", 3000s));
    k.put("pod-1", "foreign", "token", token("sts.amazonaws.com", "pod-2", 7200s));
    k.put("pod-1", "garbage", "token", "not a token");
    k.put("pod-1", "big", "token", std::string(100000, 'x'));
    k.put("pod-1", "empty", "token", "");
    const auto t = k.read("pod-1");
    REQUIRE(t.has_value());
    CHECK(t->jwt.reveal() == token("sts.amazonaws.com", "pod-1", 3000s));
    CHECK(t->expires == now + 3000s);
}

TEST_CASE("a renewed token is read anew, an expired one not at all") {
    const kubelet_directory k;
    k.put("pod-1", "aws", "token", token("sts.amazonaws.com", "pod-1", 20s));
    CHECK(k.read("pod-1").error().kind == errc::not_found);
    k.put("pod-1", "aws", "token", token("sts.amazonaws.com", "pod-1", 3600s, "renewed") + "\n");
    const auto t = k.read("pod-1");
    REQUIRE(t.has_value());
    CHECK(t->jwt.reveal() == token("sts.amazonaws.com", "pod-1", 3600s, "renewed"));
}

TEST_CASE("a pod without tokens, an odd uid and a directory that is not there are told apart") {
    const kubelet_directory k;
    k.put("pod-1", "aws", "token", token("sts.amazonaws.com", "pod-1", 3600s));
    CHECK(k.read("pod-2").error().kind == errc::not_found);
    for (const auto* uid : {"", "..", "../pod-1", "pod-1/", "/", "a b"}) {
        CAPTURE(uid);
        CHECK(k.read(uid).error().kind == errc::not_found);
    }
    const auto missing = read_projected_token("/nonexistent", "pod-1", "sts.amazonaws.com", now);
    REQUIRE(missing.has_error());
    CHECK(missing.error().kind == errc::io_failed);
    CHECK(missing.error().message.find("--kubelet-pods-dir") != std::string::npos);
}
