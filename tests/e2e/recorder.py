"""A service that remembers what reached it, as an app or as a developer's process on a laptop.

python tests/e2e/recorder.py --name shop-1 --port 18080

/_seen              what was asked so far, as a list of paths; what begins with /_ isn't remembered
/hang               never answers, as a process at a breakpoint
/_sleep?seconds=8   answers late
/stall              never reads its body, nor answers
/stream             server-sent events, twenty a second, until the client goes
anything else       answers with the size and the digest of the body
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import json

from aiohttp import web


class Recorder:
    def __init__(self, name: str) -> None:
        self._name = name
        self._seen: list[str] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/_seen":
            return web.json_response(self._seen)
        if not request.path.startswith("/_"):
            self._seen.append(request.path)
        if request.path in {"/hang", "/stall"}:
            await asyncio.Event().wait()
        if request.path == "/stream":
            return await self._stream(request)
        if request.path == "/_sleep":
            await asyncio.sleep(float(request.query["seconds"]))
        digest, size = hashlib.sha256(), 0
        async for chunk in request.content.iter_any():
            digest.update(chunk)
            size += len(chunk)
        return web.json_response({"who": self._name, "size": size, "digest": digest.hexdigest()}, dumps=json.dumps)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for number in itertools.count():
            await response.write(f"data: {self._name} {number}\n\n".encode())
            await asyncio.sleep(0.05)
        return response


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{anything:.*}", Recorder(arguments.name).handle)
    web.run_app(app, host="127.0.0.1", port=arguments.port, print=None, access_log=None, reuse_address=True)


if __name__ == "__main__":
    main()
