#pragma once
// What happens in directories (inotify(7)), told on an event loop. One thread. A directory that nobody may
// watch any more, because there are too many watches or none at all, is no error: nothing is told of it.

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace credlet::metadata {

namespace asio = boost::asio;

class directory_events {
public:
    // what: bits as of inotify(7), IN_CREATE and so on. name: of what is in the directory.
    using handler = std::function<void(std::uint32_t what, std::string_view name)>;

    explicit directory_events(asio::io_context& loop);
    directory_events(const directory_events&) = delete;
    directory_events& operator=(const directory_events&) = delete;

    // The watch, or none: negative. The same file again: the same watch, with what is new. Its handler is
    // told IN_IGNORED when the kernel has ended it.
    int add(const std::string& path, std::uint32_t what, handler h);
    // Of a control group that is removed the kernel does not end it.
    void remove(int watch);

    // More has happened than the kernel keeps: anything may have.
    std::function<void()> lost;

    // What keeps directories from being watched; empty: nothing so far.
    [[nodiscard]] const std::string& trouble() const { return trouble_; }
    [[nodiscard]] std::size_t size() const { return handlers_.size(); }

private:
    void await_more();
    void read_some();

    asio::posix::stream_descriptor file_;
    std::map<int, std::shared_ptr<handler>> handlers_;
    std::string trouble_;
    std::shared_ptr<const int> alive_ = std::make_shared<int>();
};

} // namespace credlet::metadata
