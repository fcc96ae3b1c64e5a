// Any bytes, in any pieces, either make a head whose parts are what the rules allow or are refused; and the
// pieces they come in make no difference. What is a head goes on to a node that holds a pod's credentials:
// only the listed paths get an answer there, and only as the pod's own, by its address and by its listener.

#include "runtime/http_request_parser.hpp"
#include "tests/support/metadata_node.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>

namespace {

namespace metadata = credlet::metadata;

constexpr std::size_t max_head = 4096;

void require(bool holds) {
    if (!holds)
        std::abort();
}

bool within(std::string_view part, std::string_view whole) {
    return part.empty() ||
           (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

void check_head(const credlet::request_head& head, std::string_view bytes) {
    require(head.size <= std::min(bytes.size(), max_head));
    const auto own = bytes.substr(0, head.size);
    require(own.ends_with("\r\n\r\n") && own.find("\r\n\r\n") == own.size() - 4);
    require(!head.method.empty() && head.target.starts_with('/') && head.path.starts_with('/'));
    for (const auto part : {head.method, head.target, head.path, head.query, head.host})
        require(within(part, own));
    require(std::all_of(head.target.begin(), head.target.end(), [](char c) { return c > ' ' && c < 0x7f; }));
    require(head.count("host") <= 1 && head.count("content-length") <= 1);
    require(head.count("transfer-encoding") == 0 && head.count("expect") == 0);
    for (const auto& header : head.headers()) {
        require(!header.name.empty() && within(header.name, own) && within(header.value, own));
        require(header.value.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos);
    }
}

// The node as it is before each input: what one input does must not depend on those before it.
class warm_node {
public:
    static warm_node& instance() {
        static warm_node node;
        return node;
    }

    // A session token of the pod at `peer`, as good as any: fuzzers do not guess the key.
    [[nodiscard]] const std::string& session() const { return session_; }

    void check(const credlet::request_head& head) const {
        const auto facts = metadata::read_facts(head);
        const metadata::address_key own(credlet::asio::ip::make_address(peer)),
            others(credlet::asio::ip::make_address(others_peer));
        const auto on_node = credlet::asio::ip::make_address("169.254.170.2"),
                   in_pod = credlet::asio::ip::make_address("127.0.0.1");
        static const std::string uid = "a", gone = "gone";
        metadata::serving_core serving(node_.settings, session_key);
        (void)serving.apply(view_);
        if (const auto reply = answer(serving, facts, {own, on_node}))
            check_success(head, facts, reply->body());
        if (const auto reply = answer(serving, facts, {others, in_pod, &uid}))
            check_success(head, facts, reply->body());
        require(!answer(serving, facts, {own, in_pod, &gone}));
    }

private:
    static constexpr auto peer = "10.0.0.1", others_peer = "10.0.0.2";
    static constexpr metadata::imds_sessions::key session_key{7}; // the one that metadata_node has

    warm_node() : node_(settings()) {
        node_.upstream.pods().accounts_replaced(
            {credlet::test::make_account("web", "web-role"), credlet::test::make_account("api", "api-role")});
        node_.upstream.pods().pods_replaced(
            {credlet::test::make_pod("a", "web", peer), credlet::test::make_pod("b", "api", others_peer)});
        node_.upstream.set_synced(true);
        node_.pass(std::chrono::seconds(15)); // beyond the spread of the first prefetches
        require(node_.send(credlet::test::get("/v1/credentials"), peer)->status() == 200);
        const auto session = node_.send("PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\n"
                                        "X-aws-ec2-metadata-token-ttl-seconds: 21600\r\n\r\n",
                                        peer);
        require(session->status() == 200);
        session_ = session->body();
        view_ = std::make_shared<const metadata::view>(node_.serving.current());
    }

    static metadata::service_settings settings() {
        auto s = credlet::test::node_settings();
        s.region = "eu-west-1";
        s.availability_zone = "eu-west-1a";
        return s;
    }

    // nullptr: not a success.
    [[nodiscard]] credlet::reply_ptr answer(metadata::serving_core& serving,
                                            const metadata::request_facts& facts,
                                            const metadata::caller& from) const {
        auto step = serving.begin(facts, from, node_.time.now(), node_.time.wall());
        if (!step.reply) {
            require(from.listener_pod == nullptr || step.lacking->what != metadata::need::address);
            metadata::progress so_far;
            step = serving.resume(facts, from, node_.time.now(), node_.time.wall(), so_far);
        }
        return step.reply && step.reply->status() == 200 ? std::move(step.reply) : nullptr;
    }

    void check_success(const credlet::request_head& head, const metadata::request_facts& facts,
                       std::string_view body) const {
        static constexpr std::string_view list = "/latest/meta-data/iam/security-credentials";
        static const std::array<std::string, 12> paths{"/v1/credentials",
                                                       "/v1/credentials/web-role",
                                                       "/latest/api/token",
                                                       std::string(list),
                                                       std::string(list) + "/",
                                                       std::string(list) + "/web-role",
                                                       std::string(list) + "//web-role",
                                                       "/latest/meta-data/iam/info",
                                                       "/latest/meta-data/placement/region",
                                                       "/latest/meta-data/placement/availability-zone",
                                                       "/latest/meta-data/placement/availability-zone/",
                                                       "/latest/dynamic/instance-identity/document"};
        require(std::find(paths.begin(), paths.end(), head.target) != paths.end());
        const bool is_session_request = facts.what.where == metadata::route::imds_token;
        require(head.method == (is_session_request ? "PUT" : "GET"));
        require(!facts.forwarded && !facts.browser);
        if (metadata::is_imds(facts.what.where) && !is_session_request)
            require(facts.session == session_);
        else
            require(!facts.has_authorization); // no token of a fuzzer's verifies
        require(body.find("api-role") == std::string_view::npos);
    }

    credlet::test::metadata_node node_;
    metadata::view_ptr view_;
    std::string session_;
};

// The input with each mark replaced by a session token that holds.
std::string with_session(std::string_view bytes) {
    constexpr std::string_view mark = "@session@";
    std::string text(bytes);
    for (auto at = text.find(mark); at != std::string::npos; at = text.find(mark, at))
        text.replace(at, mark.size(), warm_node::instance().session());
    return text;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0)
        return 0;
    // The first byte says how large the pieces are.
    const std::size_t step = 1 + data[0] % 64U;
    const auto text = with_session({reinterpret_cast<const char*>(data) + 1, size - 1});
    const std::string_view bytes = text;

    credlet::request_head at_once;
    std::size_t scanned = 0;
    const auto whole = parse_request_head(bytes, max_head, scanned, at_once);
    if (whole.state == credlet::parse_state::complete) {
        check_head(at_once, bytes);
        warm_node::instance().check(at_once);
    }

    credlet::request_head in_pieces;
    credlet::parse_outcome outcome{credlet::parse_state::need_more};
    scanned = 0;
    for (std::size_t n = std::min(step, bytes.size()); outcome.state == credlet::parse_state::need_more;
         n = std::min(n + step, bytes.size())) {
        outcome = parse_request_head(bytes.substr(0, n), max_head, scanned, in_pieces);
        if (n == bytes.size())
            break;
    }
    require(outcome.state == whole.state);
    if (outcome.state == credlet::parse_state::refused)
        require(outcome.fault == whole.fault);
    if (outcome.state == credlet::parse_state::complete)
        require(in_pieces.size == at_once.size && in_pieces.header_count == at_once.header_count);
    return 0;
}
