#pragma once
// The links of this node and their addresses, as far as credlet has to do with them.

#include "runtime/error.hpp"

#include <boost/asio/ip/address.hpp>

#include <memory>
#include <string>

namespace credlet::app {

namespace asio = boost::asio;

// What the kernel answered, by errno, and where it says so, why.
struct kernel_refusal {
    int number = 0;
    std::string why;
};
template <class T>
using kernel_result = boost::system::result<T, kernel_refusal>;

struct link_state {
    int index = 0;
    std::string kind; // "dummy", "bridge"; empty for a device and the loopback
    bool loopback = false;
    bool up = false;
};

class links {
public:
    virtual ~links() = default;
    // ENODEV where there is none.
    virtual kernel_result<link_state> find(const std::string& name) = 0;
    // EEXIST where there is a link of that name, EOPNOTSUPP where the kernel has no dummy links.
    virtual kernel_result<void> make_dummy(const std::string& name) = 0;
    // As one address that this node answers to and never speaks from unless asked there. EEXIST where it is
    // on that link; EACCES, EOPNOTSUPP or EAFNOSUPPORT where its protocol is switched off.
    virtual kernel_result<void> add_address(int link, const asio::ip::address& address) = 0;
    virtual kernel_result<void> set_up(int link) = 0;
};

// Through rtnetlink(7), in the network namespace of this process.
result<std::unique_ptr<links>> open_links();

} // namespace credlet::app
