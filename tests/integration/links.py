"""Network links by rtnetlink(7), as far as tests need them: pods come and go too fast to start ip(8) for each."""

import errno
import fcntl
import ipaddress
import os
import socket
import struct

NLM_F_REQUEST, NLM_F_ACK, NLM_F_CREATE = 1, 4, 0x400
NLMSG_ERROR = 2
RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR, RTM_NEWROUTE = 16, 17, 20, 21, 24
IFLA_IFNAME, IFLA_LINKINFO, IFLA_NET_NS_FD, IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 3, 18, 28, 1, 2, 1
IFA_ADDRESS, IFA_LOCAL, IFA_F_NODAD = 1, 2, 2
RTA_DST, RTA_OIF, RTA_GATEWAY, RT_TABLE_MAIN, RTPROT_STATIC, RTN_UNICAST, RT_SCOPE_LINK = 1, 4, 5, 254, 4, 1, 253
IFF_UP = 1
SIOCGIFINDEX = 0x8933
NO_LINK = struct.pack("=BxHiII", 0, 0, 0, 0, 0)


def attribute(kind, content):
    length = 4 + len(content)
    return struct.pack("=HH", length, kind) + content + bytes(-length % 4)


def text(kind, content):
    return attribute(kind, content.encode() + b"\0")


def number(kind, content):
    return attribute(kind, struct.pack("=I", content))


class Links:
    """Those of the namespace in which this is made, whoever uses it later: a socket stays where it was made."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self.names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # for indices by names

    def close(self):
        self.socket.close()
        self.names.close()

    def up(self, name):
        self._ask(RTM_NEWLINK, struct.pack("=BxHiII", 0, 0, self.index(name), IFF_UP, IFF_UP))

    def pair(self, name, peer, namespace):
        """A veth whose other end is in the namespace of an open file."""
        other = NO_LINK + text(IFLA_IFNAME, peer) + number(IFLA_NET_NS_FD, namespace)
        info = text(IFLA_INFO_KIND, "veth") + attribute(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, other))
        self._ask(RTM_NEWLINK, NO_LINK + text(IFLA_IFNAME, name) + attribute(IFLA_LINKINFO, info), NLM_F_CREATE)

    def delete(self, name):
        self._ask(RTM_DELLINK, struct.pack("=BxHiII", 0, 0, self.index(name), 0, 0))

    def has(self, name):
        try:
            return bool(self.index(name))
        except OSError:
            return False

    def add_address(self, name, address):
        self._address(RTM_NEWADDR, name, address, NLM_F_CREATE)

    def remove_address(self, name, address):
        self._address(RTM_DELADDR, name, address)

    def route(self, destination, name, gateway=None):
        """destination: an address, or None for all that has no other route."""
        to = ipaddress.ip_address(destination or gateway)
        family, width = (socket.AF_INET6, 128) if to.version == 6 else (socket.AF_INET, 32)
        head = struct.pack("=BBBBBBBBI", family, width if destination else 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC,
                           0 if gateway else RT_SCOPE_LINK, RTN_UNICAST, 0)
        parts = attribute(RTA_DST, to.packed) if destination else b""
        parts += attribute(RTA_GATEWAY, ipaddress.ip_address(gateway).packed) if gateway else b""
        self._ask(RTM_NEWROUTE, head + parts + number(RTA_OIF, self.index(name)), NLM_F_CREATE)

    def index(self, name):
        return struct.unpack("16xi20x", fcntl.ioctl(self.names, SIOCGIFINDEX, struct.pack("16s24x", name.encode())))[0]

    def _address(self, kind, name, address, flags=0):
        packed = ipaddress.ip_address(address).packed
        family = socket.AF_INET6 if len(packed) == 16 else socket.AF_INET
        head = struct.pack("=BBBBI", family, 8 * len(packed), IFA_F_NODAD if len(packed) == 16 else 0, 0, self.index(name))
        self._ask(kind, head + attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed), flags)

    def _ask(self, kind, content, flags=0):
        self.socket.send(struct.pack("=IHHII", 16 + len(content), kind, NLM_F_REQUEST | NLM_F_ACK | flags, 1, 0) + content)
        answer = self.socket.recv(65536)
        assert struct.unpack_from("=IH", answer)[1] == NLMSG_ERROR
        error = -struct.unpack_from("=i", answer, 16)[0]
        if error:
            raise OSError(error, os.strerror(error), errno.errorcode[error])
