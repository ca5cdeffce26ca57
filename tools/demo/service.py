"""A small service for the demonstration: says who it is, asks the next service, and tells who answered at every hop.

    python tools/demo/service.py --service orders --instance orders-1 --listen 127.0.0.1:21181 --next
    http://127.0.0.1:21091

It passes on the two headers by which a request finds its intercept further down: `x-telepresence-id` and `baggage`.
That is what makes a chain of services carry a personal intercept, and all that an application has to do for it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
from collections.abc import Iterator

import aiohttp
from aiohttp import web

PASSED_ON = ("x-telepresence-id", "baggage")


class Service:
    """One instance of a service; `upstreams` are the addresses of the next service's instances, asked in turn."""

    def __init__(self, service: str, instance: str, upstreams: list[str]) -> None:
        self._hop = {"service": service, "instance": instance}
        self._upstreams: Iterator[str] | None = itertools.cycle(upstreams) if upstreams else None
        self._client: aiohttp.ClientSession | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        if request.path == "/slow":
            await asyncio.sleep(float(request.query.get("seconds", "5")))
        if request.path == "/stream":
            return await self._stream(request)
        size = 0
        async for chunk in request.content.iter_any():
            size += len(chunk)
        hops = [dict(self._hop, path=request.path, received=size)]
        if self._upstreams is not None:
            hops += await self._ask(request, next(self._upstreams))
        return web.json_response({"hops": hops}, dumps=lambda value: json.dumps(value) + "\n")

    async def _ask(self, request: web.Request, upstream: str) -> list[dict[str, object]]:
        if self._client is None:
            self._client = aiohttp.ClientSession()
        headers = [(name, value) for name, value in request.headers.items() if name.lower() in PASSED_ON]
        async with self._client.get(f"{upstream}{request.path}", headers=headers) as response:
            answer = await response.json(content_type=None)
            hops: list[dict[str, object]] = answer.get("hops") or [{"error": answer}]
            hops[0] |= {"status": response.status, "intercept": response.headers.get("x-byway-intercept", "")}
            return hops

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events, ten a second, until the client goes."""
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for number in itertools.count():
            await response.write(f"data: {self._hop['instance']} {number}\n\n".encode())
            await asyncio.sleep(0.1)
        return response


def main() -> None:
    """Run one instance until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--service", required=True)
    parser.add_argument("--instance", required=True)
    parser.add_argument("--listen", required=True, metavar="HOST:PORT")
    parser.add_argument("--next", default="", metavar="URL,URL", help="the instances of the next service")
    arguments = parser.parse_args()
    host, _, port = arguments.listen.rpartition(":")
    app = web.Application(client_max_size=1 << 30)
    service = Service(arguments.service, arguments.instance, [one for one in arguments.next.split(",") if one])
    app.router.add_route("*", "/{anything:.*}", service.handle)
    web.run_app(app, host=host, port=int(port), print=None, handle_signals=True)


if __name__ == "__main__":
    main()
