"""A wire between a client and a server on loopback that a test can cut."""

import contextlib
import socket
import struct
import threading

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Relay:
    """Listens on a port of its own, which stays its own while it is down; passes on bytes, TLS and all."""

    def __init__(self, port, address="127.0.0.1"):
        self.target = (address, port)
        self.reserved = self._bind((address, 0))
        self.address = self.reserved.getsockname()
        self.lock = threading.Lock()
        self.open = set()
        self.accepted = 0
        self.listener = None
        self.up()

    @staticmethod
    def _bind(address):
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
        return bound

    @property
    def url(self):
        return f"https://{self.address[0]}:{self.address[1]}"

    def up(self):
        self.listener = self._bind(self.address)
        self.listener.listen(64)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def down(self):
        """Refuses connections, and resets those that are open."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept()
        self.listener.close()
        self.cut()

    def cut(self):
        """Resets all connections. The next ones are let through."""
        with self.lock:
            for one in self.open:
                with contextlib.suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                    one.shutdown(socket.SHUT_RD)  # wakes who reads it, and then closes it
            return len(self.open) // 2

    def stop(self):
        self.down()
        self.reserved.close()

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.target, 10)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            with self.lock:
                self.accepted += 1
                self.open |= {client, server}
            threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client, server):
        back = threading.Thread(target=self._pass, args=(server, client), daemon=True)
        back.start()
        self._pass(client, server)
        back.join()
        with self.lock:
            self.open -= {client, server}
        client.close()
        server.close()

    @staticmethod
    def _pass(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
