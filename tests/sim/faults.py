"""Faults on demand. A fault names what it applies to (`match`) and what then happens (`kind`); it is spent after
`count` requests or `duration` seconds. The table of kinds is in README.md."""

import asyncio
import base64
import itertools
import re
import socket
import struct
import time

from aiohttp import web

REQUEST_KINDS = {"delay", "hang", "reset", "truncate", "garbage", "huge", "drip", "status", "throttle", "error", "raw"}
CONTEXT_KINDS = {"expiry", "silent_watch", "slow_watch", "gone", "incomplete"}

# STS's error codes with the HTTP status each comes with.
STS_STATUS = {
    "ExpiredTokenException": 400, "InvalidIdentityToken": 400, "IDPCommunicationError": 400, "IDPRejectedClaim": 403,
    "AccessDenied": 403, "AccessDeniedException": 403, "RegionDisabledException": 403,
    "MalformedPolicyDocument": 400, "PackedPolicyTooLarge": 400, "ValidationError": 400, "InvalidAction": 400,
    "MissingAction": 400, "Throttling": 400, "ThrottlingException": 400, "TooManyRequestsException": 429,
    "RequestLimitExceeded": 503, "ServiceUnavailable": 503, "InternalFailure": 500, "InvalidClientTokenId": 403,
    "SignatureDoesNotMatch": 403, "MissingAuthenticationToken": 403, "IncompleteSignature": 403, "ExpiredToken": 403,
    "RequestExpired": 400, "OptInRequired": 403, "NotAuthorized": 400,
}


class Fault:
    numbers = itertools.count(1)

    def __init__(self, target, kind, match=None, count=None, duration=None, skip=0, **arguments):
        if target not in ("sts", "kube"):
            raise ValueError("target is sts or kube")
        if kind not in REQUEST_KINDS | CONTEXT_KINDS:
            raise ValueError(f"no such kind of fault: {kind}")
        self.id = next(self.numbers)
        self.target, self.kind, self.arguments = target, kind, arguments
        self.match = {name: re.compile(pattern) for name, pattern in (match or {}).items()}
        self.left, self.skip = count, skip
        self.expires = None if duration is None else time.monotonic() + duration
        self.hits = 0
        self.over = asyncio.Event()
        self.bucket = (float(arguments.get("burst", arguments.get("rate", 1))), time.monotonic())

    def alive(self):
        if self.left == 0 or (self.expires is not None and time.monotonic() >= self.expires):
            self.over.set()
        return not self.over.is_set()

    def applies(self, facts):
        return all(pattern.search(str(facts.get(name, ""))) for name, pattern in self.match.items())

    def take(self):
        """Whether the matching request now at hand is hit."""
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.kind == "throttle" and self._within_rate():
            return False
        self.hits += 1
        if self.left is not None:
            self.left -= 1
        return True

    def _within_rate(self):
        rate = float(self.arguments["rate"])
        tokens, then = self.bucket
        now = time.monotonic()
        tokens = min(float(self.arguments.get("burst", rate)), tokens + (now - then) * rate)
        self.bucket = (tokens - 1 if tokens >= 1 else tokens, now)
        return tokens >= 1

    def describe(self):
        return {"id": self.id, "target": self.target, "kind": self.kind, "hits": self.hits, "left": self.left,
                "match": {name: pattern.pattern for name, pattern in self.match.items()}, **self.arguments}


class Faults:
    def __init__(self):
        self.all = []

    def add(self, body):
        fault = Fault(**body)
        self.all.append(fault)
        return fault

    def clear(self, number=None):
        for fault in self.all:
            if number is None or fault.id == number:
                fault.over.set()
        self.all = [fault for fault in self.all if not fault.over.is_set()]

    def hitting(self, target, facts, kinds):
        """The faults of these kinds that hit this request; each counts it."""
        found = [f for f in self.all if f.kind in kinds and f.target == target and f.alive() and f.applies(facts)]
        return [fault for fault in found if fault.take()]


class Dropped(Exception):
    """The connection was ended by a fault: nothing more is to be written."""


def abort(transport):
    """Ends the connection with RST."""
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def render(response):
    """A whole response as it goes over the wire."""
    body = response.body or b""
    lines = [f"HTTP/1.1 {response.status} {response.reason}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items() if name.lower() != "content-length"]
    lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def gone(request):
    """Whether the client has closed the connection. A TLS transport does not say so; the protocol forgets it."""
    return request.transport is None or request.transport.is_closing()


async def inject(faults, target, request, facts, handler, error_response):
    """Answers a request by `handler`, as bent by the faults that hit it. error_response(code, message, status,
    headers) makes an error in the target's own form."""
    transport = request.transport
    for fault in faults.hitting(target, facts, REQUEST_KINDS):
        arguments = fault.arguments
        if fault.kind == "delay":
            await asyncio.sleep(arguments.get("ms", 1000) / 1000)
        elif fault.kind == "hang":
            await _until(fault.over, request)
        elif fault.kind == "status":
            return _status(arguments)
        elif fault.kind == "error":
            code = arguments["code"]
            status = arguments.get("status", STS_STATUS.get(code, 400))
            return error_response(code, arguments.get("message", code), status, arguments.get("headers", {}))
        elif fault.kind == "throttle":
            return error_response("Throttling", "Rate exceeded", arguments.get("status"), {})
        elif fault.kind == "garbage":
            body = arguments.get("body", "<html><body>Please log in to the guest network</body></html>")
            return web.Response(status=arguments.get("status", 200), body=body.encode(),
                                headers={"Content-Type": arguments.get("content_type", "text/html")})
        elif fault.kind == "huge":
            return await _huge(request, arguments)
        elif fault.kind == "raw":
            data = base64.b64decode(arguments["base64"]) if "base64" in arguments else arguments["text"].encode()
            transport.write(data)
            transport.close()
            raise Dropped
        elif fault.kind == "reset" and "bytes" not in arguments:
            abort(transport)
            raise Dropped
        else:  # reset after, truncate at, or drip of the genuine answer
            await _partial(fault, request, render(await handler()))
    return await handler()


def _status(arguments):
    body = arguments.get("body", "")
    headers = {"Content-Type": arguments.get("content_type", "text/plain"), **arguments.get("headers", {})}
    if "retry_after" in arguments:
        headers["Retry-After"] = str(arguments["retry_after"])
    return web.Response(status=arguments["status"], body=body.encode(), headers=headers)


async def _until(event, request):
    while not event.is_set() and not gone(request):
        try:
            await asyncio.wait_for(event.wait(), 0.2)
        except asyncio.TimeoutError:
            pass
    if gone(request):
        raise Dropped


async def _huge(request, arguments):
    response = web.StreamResponse(headers={"Content-Type": arguments.get("content_type", "text/xml")})
    if arguments.get("content_length", False):
        response.content_length = arguments.get("bytes", 1 << 30)
    await response.prepare(request)
    left = arguments.get("bytes", 1 << 30)
    try:
        while left > 0:
            await response.write(b" " * min(left, 65536))
            left -= 65536
            await asyncio.sleep(0.001)  # others have their turn, and a closed connection is noticed
            if gone(request):
                raise Dropped
        await response.write_eof()
    except (ConnectionError, asyncio.CancelledError):
        raise Dropped from None
    return response


async def _partial(fault, request, whole):
    arguments, transport = fault.arguments, request.transport
    if gone(request):
        raise Dropped
    if fault.kind == "drip":
        rate = arguments.get("bytes_per_second", 1)
        step = max(1, int(rate / 20))
        for start in range(0, len(whole), step):
            if gone(request) or not fault.alive() and fault.left is None:
                break
            transport.write(whole[start:start + step])
            await asyncio.sleep(step / rate)
        transport.close()
        raise Dropped
    at = arguments["bytes"]
    transport.write(whole[:at if at >= 0 else len(whole) + at])
    if fault.kind == "truncate":
        transport.close()
    else:
        await asyncio.sleep(0.02)  # the bytes arrive before the RST
        abort(transport)
    raise Dropped
