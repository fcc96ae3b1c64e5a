"""What a kubelet serves to the API server: logs, and exec over WebSockets (v5.channel.k8s.io)."""

import asyncio
import json

from aiohttp import WSMsgType, web

STDOUT, STDERR, ERROR = b"\1", b"\2", b"\3"


def application(kubelet):
    app = web.Application()

    async def logs(request):
        lines = kubelet.pod_of(request).logs(request.match_info["container"]).splitlines(keepends=True)
        tail = int(request.query.get("tailLines", -1))
        return web.Response(body=b"".join(lines[-tail:] if tail > 0 else lines), content_type="text/plain")

    async def execute(request):
        socket = web.WebSocketResponse(protocols=["v5.channel.k8s.io"])
        await socket.prepare(request)
        await socket.send_bytes(STDOUT)  # it is there
        process = await kubelet.pod_of(request).execute(request.match_info["container"], request.query.getall("command"))
        listening = asyncio.ensure_future(_listen(socket))
        await asyncio.gather(_pass_on(process.stdout, socket, STDOUT), _pass_on(process.stderr, socket, STDERR))
        await socket.send_bytes(ERROR + json.dumps(_status(await process.wait())).encode())
        await socket.close()
        listening.cancel()
        return socket

    app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", logs)
    app.router.add_get("/exec/{namespace}/{pod}/{container}", execute)
    return app


async def _listen(socket):
    async for message in socket:
        if message.type != WSMsgType.BINARY:
            break


async def _pass_on(stream, socket, channel):
    while data := await stream.read(32768):
        await socket.send_bytes(channel + data)


def _status(code):
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": f"command terminated with exit code {code}",
            "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]}}
