"""What a pod and its node really say to each other in plain HTTP, read off the cable between them."""

import socket
import struct
import threading
import time

EVERY_PROTOCOL = 0x0003
SO_TIMESTAMPNS = 35
IPV4, TCP = b"\x08\x00", 6
METHODS = (b"GET ", b"PUT ", b"POST ", b"HEAD ", b"CONNECT ")


def segment(frame):
    """(source, destination, sequence, payload) of a TCP segment over IPv4, else None."""
    packet = frame[14:]
    if frame[12:14] != IPV4 or packet[9] != TCP:
        return None
    length, = struct.unpack_from("!H", packet, 2)
    tcp = packet[(packet[0] & 15) * 4:length]
    sequence, = struct.unpack_from("!I", tcp, 4)
    return socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20]), sequence, tcp[(tcp[12] >> 4) * 4:]


class Wire:
    """The requests that a pod sends. The kernel keeps what was on the cable, with its time, until somebody asks."""

    def __init__(self, link, pod):
        self.pod = pod
        self.cable = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERY_PROTOCOL))
        self.cable.bind((link, EVERY_PROTOCOL))
        self.cable.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.cable.setblocking(False)
        self.sent = {}  # by destination and sequence: what is sent again does not count
        self.lock = threading.Lock()

    def _read(self):
        while True:
            try:
                frame, ancillary, _, _ = self.cable.recvmsg(65536, 64)
            except BlockingIOError:
                return
            source, destination, sequence, payload = segment(frame) or (None, None, None, b"")
            if source == self.pod and payload.startswith(METHODS):
                stamps = [struct.unpack("qq", data) for _, kind, data in ancillary if kind == SO_TIMESTAMPNS]
                when = stamps[0][0] + stamps[0][1] / 1e9 if stamps else time.time()
                self.sent.setdefault((destination, sequence), (when, payload.split(b"\r\n")[0].decode("ascii", "replace")))

    def requests(self, to, since=0.0):
        """[(when, request line)] of those that the pod has sent to an address, by the clock on the wall."""
        with self.lock:
            self._read()
            return [request for (destination, _), request in self.sent.items() if destination == to and request[0] >= since]

    def close(self):
        self.cable.close()
