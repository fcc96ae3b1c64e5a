#include "daemon/netlink_message.hpp"

#include <doctest/doctest.h>

#include <map>
#include <string>

using namespace credlet::app;

namespace {

using bytes_view = std::span<const std::byte>;

std::map<unsigned, bytes_view> attributes_of(bytes_view bytes) {
    std::map<unsigned, bytes_view> all;
    for_each_attribute(bytes, [&all](unsigned type, bytes_view value) { all[type] = value; });
    return all;
}

} // namespace

TEST_CASE("a request is laid out as rtnetlink reads it") {
    netlink_message message(RTM_NEWLINK, NLM_F_ACK, ifinfomsg{});
    message.attribute(IFLA_IFNAME, std::string("credlet0")); // nine bytes: three of padding
    const auto info = message.begin_nested(IFLA_LINKINFO);
    message.attribute(IFLA_INFO_KIND, std::string("dummy"));
    message.end_nested(info);
    message.attribute(IFLA_MTU, std::uint32_t{1500});
    const auto bytes = message.finish(5);

    nlmsghdr header{};
    std::memcpy(&header, bytes.data(), sizeof header);
    CHECK(header.nlmsg_len == bytes.size());
    CHECK(header.nlmsg_type == RTM_NEWLINK);
    CHECK(header.nlmsg_flags == (NLM_F_REQUEST | NLM_F_ACK));
    CHECK(header.nlmsg_seq == 5);

    const auto attributes = attributes_of(bytes.subspan(NLMSG_HDRLEN + sizeof(ifinfomsg)));
    REQUIRE(attributes.size() == 3);
    CHECK(text_of_attribute(attributes.at(IFLA_IFNAME)) == "credlet0");
    CHECK(attributes.at(IFLA_IFNAME).size() == 9);
    CHECK(text_of_attribute(attributes_of(attributes.at(IFLA_LINKINFO)).at(IFLA_INFO_KIND)) == "dummy");
    std::uint32_t mtu = 0;
    REQUIRE(attributes.at(IFLA_MTU).size() == sizeof mtu);
    std::memcpy(&mtu, attributes.at(IFLA_MTU).data(), sizeof mtu);
    CHECK(mtu == 1500);
}

TEST_CASE("attributes that are not whole end the list") {
    netlink_message message(RTM_NEWLINK, 0, ifinfomsg{});
    message.attribute(IFLA_IFNAME, std::string("abc"));
    message.attribute(IFLA_MTU, std::uint32_t{1});
    const auto whole = message.finish(1).subspan(NLMSG_HDRLEN + sizeof(ifinfomsg));
    CHECK(attributes_of(whole).size() == 2);
    CHECK(attributes_of(whole.first(whole.size() - 1)).size() == 1);
    CHECK(attributes_of(whole.first(3)).empty());
    std::vector<std::byte> broken(whole.begin(), whole.end());
    broken[0] = std::byte{3}; // shorter than its own header
    CHECK(attributes_of(broken).empty());
    CHECK(attributes_of({}).empty());
}
