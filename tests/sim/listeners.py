"""A TLS listener whose manners can be changed while it runs: its certificate, whether it speaks TLS at all, and
whether it listens."""

import asyncio
import socket

from aiohttp import web

import faults as fault_kinds
from pki import BAD_CERTIFICATES, NOT_TLS
from world import Problem


class Mute(asyncio.Protocol):
    """Accepts and says nothing, or says something that is not TLS; keeps what it was told."""

    def __init__(self, listener, greeting=b""):
        self.listener, self.greeting = listener, greeting
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport
        self.listener.bare.add(transport)
        if self.greeting:
            transport.write(self.greeting)

    def data_received(self, data):
        self.listener.heard += data[:65536 - len(self.listener.heard)]
        if self.greeting:
            self.transport.close()

    def connection_lost(self, _):
        self.listener.bare.discard(self.transport)


LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


class Listener:
    def __init__(self, handler, certificates, port, address=None):
        self.addresses = ((socket.AF_INET, address),) if address else LOOPBACK
        self.server = web.Server(self._answer, access_log=None, keepalive_timeout=75, tcp_keepalive=False)
        self.handler, self.certificates, self.port = handler, certificates, port
        self.certificate = "good"
        self.sockets = []
        self.reserved = {}  # bound sockets that never listen: they keep the port ours while the listener is down
        self.accepted = 0
        self.bare = set()  # transports that no HTTP server sits on
        self.heard = b""  # what clients sent to a listener that does not speak TLS

    async def _answer(self, request):
        try:
            return await self.handler(request)
        except fault_kinds.Dropped:
            return web.Response()  # goes nowhere: the connection is closed

    @property
    def up(self):
        return bool(self.sockets)

    async def start(self):
        loop = asyncio.get_running_loop()
        context = None if self.certificate in NOT_TLS else self.certificates.context(self.certificate)

        def factory():
            self.accepted += 1
            if self.certificate == "mute":
                return Mute(self)
            if self.certificate == "garbage":
                return Mute(self, b"220 mail.example ESMTP\r\n")
            return self.server()

        for family, address in self.addresses:
            try:
                if family not in self.reserved:
                    self.reserved[family] = self._bind(family, address)
                raw = self._bind(family, address)
            except OSError:
                if family == socket.AF_INET:
                    raise
                continue  # no IPv6 here, or the port is taken there: IPv4 is enough
            options = {"ssl": context, "ssl_handshake_timeout": 10} if context else {}
            self.sockets.append(await loop.create_server(factory, sock=raw, backlog=4096, **options))

    def _bind(self, family, address):
        raw = socket.socket(family, socket.SOCK_STREAM)
        try:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            raw.bind((address, self.port))
        except OSError:
            raw.close()
            raise
        self.port = raw.getsockname()[1]
        return raw

    async def stop(self):
        for server in self.sockets:
            server.close()
        self.sockets = []
        self.drop_connections()

    def drop_connections(self):
        transports = [c.transport for c in self.server.connections if c.transport is not None] + list(self.bare)
        for transport in transports:
            fault_kinds.abort(transport)
        return len(transports)

    async def switch(self, certificate):
        """Presents another certificate from now on; whoever is connected is cut off."""
        if certificate not in ("good",) + BAD_CERTIFICATES + NOT_TLS:
            raise Problem(f"no such certificate: {certificate}")
        was_up = self.up
        await self.stop()
        self.certificate, self.heard = certificate, b""
        if was_up:
            await self.start()

    def stats(self):
        return {"accepted": self.accepted, "open": len(self.server.connections) + len(self.bare), "up": self.up,
                "certificate": self.certificate, "heard": self.heard.decode("latin-1")}
