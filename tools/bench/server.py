"""The app, and the process on the laptop: answers every request with the same few bytes, as quickly as Python can."""

from __future__ import annotations

import argparse
import asyncio

BODY = b"x" * 64
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)
END = b"\r\n\r\n"


class Server(asyncio.Protocol):
    """One connection. Requests have no body."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._seen = b""

    def data_received(self, data: bytes) -> None:
        self._seen += data
        *whole, self._seen = self._seen.split(END)
        if whole:
            self._transport.write(ANSWER * len(whole))


async def serve(port: int) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.server", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="where to listen, on loopback")
    asyncio.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
