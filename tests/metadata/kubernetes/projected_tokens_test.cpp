#include "metadata/kubernetes/projected_tokens.hpp"
#include "tests/support/kubernetes_fakes.hpp"
#include "tests/support/token_forge.hpp"

#include <doctest/doctest.h>

#include <unistd.h>

using namespace credlet;
using namespace credlet::metadata::kubernetes;
using namespace std::chrono_literals;

namespace {

const wall_time now{1'760'000'000s};

struct claims {
    std::string audience = "sts.amazonaws.com", pod_uid = "pod-1", mark = "x";
    std::chrono::seconds life = 3600s;
    std::string issuer = "i", namespace_name = "ns", account = "sa", account_uid = "s";
};

std::string token(const claims& c) {
    const auto expires =
        std::to_string((now.time_since_epoch() + std::chrono::milliseconds(c.life)).count() / 1000);
    return test::unsigned_part(
               R"({"alg":"RS256","kid":"k"})",
               R"({"iss":")" + c.issuer + R"(","aud":[")" + c.audience + R"("],"exp":)" + expires +
                   R"(,"jti":")" + c.mark + R"(","sub":"system:serviceaccount:)" + c.namespace_name + ":" +
                   c.account + R"(","kubernetes.io":{"namespace":")" + c.namespace_name +
                   R"(","serviceaccount":{"name":")" + c.account + R"(","uid":")" + c.account_uid +
                   R"("},"pod":{"name":"p","uid":")" + c.pod_uid + R"("}}})") +
           ".c2ln";
}
std::string token(const std::string& audience, const std::string& pod_uid, std::chrono::seconds life,
                  const std::string& mark = "x") {
    claims c;
    c.audience = audience;
    c.pod_uid = pod_uid;
    c.life = life;
    c.mark = mark;
    return token(c);
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
    [[nodiscard]] result<std::vector<projected_token>> all(const std::string& pod) const {
        return read_projected_tokens(dir.path().string(), expected(pod), now);
    }
    [[nodiscard]] result<projected_token> read(const std::string& pod) const {
        auto tokens = all(pod);
        if (tokens.has_error())
            return tokens.error();
        return std::move(tokens->front());
    }
    static expected_claims expected(const std::string& pod) {
        return {pod, "ns", "sa", "s", "sts.amazonaws.com", [](std::string_view iss) { return iss == "i"; }};
    }
};

// Root may read everything; a test of what others may not read must not be root.
class as_nobody {
public:
    as_nobody() {
        if (was_ == 0)
            REQUIRE(::seteuid(65534) == 0);
    }
    as_nobody(const as_nobody&) = delete;
    as_nobody& operator=(const as_nobody&) = delete;
    ~as_nobody() {
        if (was_ == 0)
            static_cast<void>(::seteuid(0) == 0);
    }

private:
    const uid_t was_ = ::geteuid();
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
    const auto missing = read_projected_tokens("/nonexistent", kubelet_directory::expected("pod-1"), now);
    REQUIRE(missing.has_error());
    CHECK(missing.error().kind == errc::io_failed);
    CHECK(missing.error().message.find("--kubelet-pods-dir") != std::string::npos);
}

TEST_CASE("what somebody put beside the genuine token does not hide it") {
    const kubelet_directory k;
    const auto put = [&](const std::string& volume, auto change) {
        claims c;
        c.life = 24h;
        change(c);
        k.put("pod-1", volume, "token", token(c));
    };
    put("issuer", [](auto& c) { c.issuer = "https://evil.example"; });
    put("namespace", [](auto& c) { c.namespace_name = "other"; });
    put("account", [](auto& c) { c.account = "other"; });
    put("uid", [](auto& c) { c.account_uid = "other"; });
    put("pod", [](auto& c) { c.pod_uid = "pod-2"; });
    put("audience", [](auto& c) { c.audience = "other"; });
    put("life", [](auto& c) { c.life = 25h + 1s; });
    CHECK(k.all("pod-1").error().kind == errc::not_found);
    put("forged", [](auto& c) { c.mark = "forged"; });
    put("genuine", [](auto& c) { c.life = 1h; });
    const auto tokens = k.all("pod-1");
    REQUIRE(tokens.has_value());
    REQUIRE(tokens->size() == 2); // the best first; which one is genuine STS will tell
    CHECK((*tokens)[0].expires == now + 24h);
    CHECK((*tokens)[1].expires == now + 1h);
}

TEST_CASE("a token that may not be read is no missing volume: what is lacking is named") {
    const kubelet_directory k;
    k.put("pod-1", "aws", "token", token("sts.amazonaws.com", "pod-1", 3600s));
    const auto volume = k.dir.path() / "pod-1/volumes/kubernetes.io~projected/aws";
    using std::filesystem::perms;
    std::filesystem::permissions(k.dir.path(), perms::all);
    for (const auto& [what, lacking] :
         {std::pair(volume / "..2026_01/token", perms::owner_write), std::pair(volume, perms::none),
          std::pair(k.dir.path() / "pod-1", perms::none)}) {
        std::filesystem::permissions(what, lacking);
        const as_nobody unprivileged;
        const auto t = k.read("pod-1");
        REQUIRE(t.has_error());
        CHECK(t.error().kind == errc::io_failed);
        CHECK(t.error().message.find("CAP_DAC_READ_SEARCH") != std::string::npos);
        CHECK(t.error().message.find("spc_t") != std::string::npos);
    }
    std::filesystem::permissions(k.dir.path() / "pod-1", perms::owner_all);
    std::filesystem::permissions(volume, perms::owner_all);
}
