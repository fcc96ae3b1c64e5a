"""What a pod and its node really say to each other in plain HTTP, read off the cable between them."""

import selectors
import socket
import struct
import threading
import time

EVERY_PROTOCOL = 0x0003
TCP = 6
FIRST_WORDS = (b"GET ", b"PUT ", b"POST ", b"HEAD ", b"CONNECT ", b"HTTP/1.")


def tcp_payload(frame):
    """(source, destination, sequence, payload) of a TCP segment over IPv4, else None."""
    packet = frame[14:]
    if frame[12:14] != b"\x08\x00" or packet[9] != TCP:
        return None
    length, = struct.unpack_from("!H", packet, 2)
    segment = packet[(packet[0] & 15) * 4:length]
    sequence, = struct.unpack_from("!I", segment, 4)
    return socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20]), sequence, segment[(segment[12] >> 4) * 4:]


class Wire:
    """The heads of HTTP messages on one cable, in order: (when, source, destination, first line)."""

    def __init__(self, pod):
        self.pod = pod
        self.heads = []
        self.seen = set()
        self.lock = threading.Lock()

    def take(self, frame):
        segment = tcp_payload(frame)
        if segment is None or not segment[3].startswith(FIRST_WORDS):
            return
        source, destination, sequence, payload = segment
        with self.lock:
            if (source, destination, sequence) in self.seen:
                return  # sent again
            self.seen.add((source, destination, sequence))
            self.heads.append((time.monotonic(), source, destination, payload.split(b"\r\n")[0].decode("ascii", "replace")))

    def requests(self, to, since=0.0):
        """The request lines that the pod sent to an address."""
        with self.lock:
            return [line for when, source, destination, line in self.heads
                    if source == self.pod and destination == to and when >= since]

    def first_request(self, since):
        """When the pod sent its first request, to whomever."""
        with self.lock:
            return next(when for when, source, _, _ in self.heads if source == self.pod and when >= since)


class Recorder:
    """Reads all cables, on a thread of its own."""

    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.wake, waker = socket.socketpair()
        self.selector.register(waker, selectors.EVENT_READ, None)
        self.waker = waker
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def record(self, link, pod):
        cable = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERY_PROTOCOL))
        cable.bind((link, EVERY_PROTOCOL))
        wire = Wire(pod)
        self.selector.register(cable, selectors.EVENT_READ, wire)
        return wire

    def _read(self):
        while True:
            for key, _ in self.selector.select():
                if key.data is None:
                    return
                key.data.take(key.fileobj.recv(65536))

    def stop(self):
        self.wake.send(b"x")
        self.thread.join(10)
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.selector.close()
        self.wake.close()
