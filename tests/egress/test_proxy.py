"""The proxy, through a real gateway to services that the tests play."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import ClientSession

from demo.world import free_port
from tests.egress.conftest import Egress
from tests.tunnel.process import Play, answering, cut, head_of
from tests.tunnel.static_gateway import StaticGateway
from xds.client.egress.gateways import Gateways
from xds.client.egress.owner import owner
from xds.client.egress.proxy import Proxy
from xds.client.egress.socks import Reply, reply
from xds.client.tunnel import framing
from xds.client.tunnel.contract import Gateway, Offer

PATIENCE = 30
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Case: 1\r\n\r\nok"
GREETING = b"\x05\x01\x00"
SHOP = b"\x05\x01\x00\x03\x08shop.dev\x00\x50"
BODY = os.urandom(12 << 20)


async def opened(egress: Egress, first: bytes, answer: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await egress.connect()
    writer.write(first)
    async with asyncio.timeout(PATIENCE):
        assert (await reader.readexactly(len(answer))) == answer
    return reader, writer


CONNECT = (b"CONNECT shop.dev:80 HTTP/1.1\r\nHost: shop.dev:80\r\n\r\n", b"HTTP/1.1 200 Connection established\r\n\r\n")
SOCKS = (GREETING + SHOP, b"\x05\x00" + reply(Reply.SUCCEEDED))
EACH = pytest.mark.parametrize(("first", "answer"), [CONNECT, SOCKS], ids=["connect", "socks"])


@EACH
async def test_bytes_go_both_ways_and_each_side_ends_by_itself(egress: Egress, first: bytes, answer: bytes) -> None:
    reader, writer = await opened(egress, first + b"ahead", answer)
    assert await reader.readexactly(5) == b"ahead"

    async def send() -> None:
        writer.write(BODY)
        await writer.drain()
        writer.write_eof()

    async with asyncio.timeout(PATIENCE):
        _, found = await asyncio.gather(send(), reader.read(-1))
    assert hashlib.sha256(found).digest() == hashlib.sha256(BODY + b"goodbye").digest()
    assert egress.touched == [1]
    writer.close()


@EACH
async def test_a_service_that_ends_first_has_all_of_its_words_heard(
    egress: Egress, first: bytes, answer: bytes
) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(BODY)
        writer.write_eof()
        await reader.read()

    await egress.play(speak)
    reader, writer = await opened(egress, first, answer)
    async with asyncio.timeout(PATIENCE):
        found = b""
        while data := await reader.read(1 << 16):
            found += data
            writer.write(b"what you don't want to hear")
    assert hashlib.sha256(found).digest() == hashlib.sha256(BODY).digest()
    writer.close()


@EACH
async def test_a_connection_that_the_service_cuts_is_cut(egress: Egress, first: bytes, answer: bytes) -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        cut(writer)

    await egress.play(rude)
    reader, writer = await opened(egress, first + b"x", answer)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ConnectionResetError):
            await reader.read()
    writer.close()


@EACH
async def test_a_client_that_goes_is_gone_for_the_service(egress: Egress, first: bytes, answer: bytes) -> None:
    gone = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read()
        gone.set()

    await egress.play(wait)
    _, writer = await opened(egress, first, answer)
    cut(writer)
    async with asyncio.timeout(PATIENCE):
        await gone.wait()


@pytest.mark.parametrize(
    ("where", "status", "code", "words"),
    [
        ("other.dev:80", 404, Reply.HOST_UNREACHABLE, "no such service"),
        ("gone.dev:80", 502, Reply.REFUSED, "does not accept connections"),
    ],
)
async def test_a_refusal_is_an_answer_of_the_protocol(
    egress: Egress, where: str, status: int, code: Reply, words: str
) -> None:
    host, _, port = where.partition(":")
    said = await egress.ask(f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n\r\n".encode())
    assert said.startswith(f"HTTP/1.1 {status} ".encode())
    assert words in said.decode()
    said = await egress.ask(f"GET http://{where}/ HTTP/1.1\r\nHost: {where}\r\n\r\n".encode())
    assert said.startswith(f"HTTP/1.1 {status} ".encode())
    request = b"\x05\x01\x00\x03" + bytes([len(host)]) + host.encode() + int(port).to_bytes(2, "big")
    assert await egress.ask(GREETING + request) == b"\x05\x00" + reply(code)


async def test_a_namespace_that_the_user_may_not_use_is_refused(egress: Egress) -> None:
    egress.gateways.offer(egress.gateway.offer("s1.1", namespaces="prod"))
    said = await egress.ask(CONNECT[0])
    assert said.startswith(b"HTTP/1.1 403 ")
    assert b"may not use the namespace dev" in said
    assert await egress.ask(GREETING + SHOP) == b"\x05\x00" + reply(Reply.NOT_ALLOWED)
    assert egress.service.connections == 0


async def test_without_a_gateway_it_says_so(egress: Egress) -> None:
    egress.gateways.offer(None)
    said = await egress.ask(CONNECT[0])
    assert said.startswith(b"HTTP/1.1 504 ")
    assert b"offers no gateway" in said


async def test_another_gateway_is_asked_where_one_does_not_answer(egress: Egress) -> None:
    offer = egress.gateway.offer("s1.1")
    dead = Gateway("gw-0", "127.0.0.1", free_port(), "gateway.byway")
    egress.gateways.offer(Offer(offer.node, offer.token, offer.ca, (dead, *offer.gateways)))
    for _ in range(3):
        _, writer = await opened(egress, *CONNECT)
        writer.close()
    egress.gateways.offer(Offer(offer.node, offer.token, offer.ca, (dead,)))
    said = await egress.ask(CONNECT[0])
    assert said.startswith(b"HTTP/1.1 504 ")
    assert b"connection refused" in said


async def test_connections_that_nobody_reads_do_not_stall_others(
    egress: Egress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(framing, "HOARD", 24 << 20)

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(1) == b"f":
            while True:
                writer.write(bytes(1 << 20))
                await writer.drain()
        writer.write(b"pong")

    await egress.play(flood)
    unread = [await opened(egress, CONNECT[0] + b"f", CONNECT[1]) for _ in range(3)]
    async with asyncio.timeout(PATIENCE):
        for _ in range(20):
            reader, writer = await opened(egress, CONNECT[0] + b"p", CONNECT[1])
            assert await reader.read() == b"pong"
            writer.close()
            await asyncio.sleep(0.05)
    for _, writer in unread:
        writer.transport.abort()


async def test_a_gateway_that_was_restarted_is_found_again(egress: Egress) -> None:
    _, writer = await opened(egress, *CONNECT)
    writer.close()
    egress.gateway.kill()
    egress.gateway.start()
    _, writer = await opened(egress, *CONNECT)
    writer.close()


async def test_connections_go_on_when_a_token_is_renewed_or_the_gateways_change(egress: Egress) -> None:
    reader, writer = await opened(egress, *CONNECT)
    egress.gateways.offer(egress.gateway.offer("s1.2"))
    egress.gateways.offer(None)
    writer.write(b"still here")
    assert await reader.readexactly(10) == b"still here"
    writer.close()


async def test_connections_end_with_the_session(egress: Egress) -> None:
    """Those of an earlier offer, too."""
    earlier, one = await opened(egress, *CONNECT)
    egress.gateways.offer(None)
    egress.gateways.offer(egress.gateway.offer("s1.2"))
    later, other = await opened(egress, *CONNECT)
    egress.gateways.cut()
    for reader in (earlier, later):
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
    one.close()
    other.close()


# HTTP for absolute URLs


async def test_a_request_for_a_url_is_passed_on(egress: Egress) -> None:
    seen: list[bytes] = []
    await egress.play(answering(OK, seen))
    async with ClientSession(headers={"X-Mine": "1"}) as session:
        for _ in range(3):
            url = "http://shop.dev/path?x=1"
            async with session.get(url, proxy=f"http://127.0.0.1:{egress.proxy.port}") as response:
                assert (response.status, await response.text(), response.headers["X-Case"]) == (200, "ok", "1")
    line, *fields = seen[0].decode().split("\r\n")
    assert line == "GET /path?x=1 HTTP/1.1"
    assert fields[0] == "Host: shop.dev"
    assert "X-Mine: 1" in fields
    assert "proxy" not in seen[0].decode().lower()
    assert egress.touched == [1, 1, 1]


@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_of_any_size_pass(egress: Egress, chunked: bool) -> None:
    async def digest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await head_of(reader)).lower()
        assert (b"transfer-encoding: chunked" in head) == chunked
        found = b""
        if chunked:
            while size := int(await reader.readline(), 16):
                found += await reader.readexactly(size)
                await reader.readline()
        else:
            found = await reader.readexactly(len(BODY))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + hashlib.sha256(found).hexdigest().encode())

    await egress.play(digest)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(BODY), 1 << 20):
            yield BODY[at : at + (1 << 20)]

    async with ClientSession() as session:
        proxy = f"http://127.0.0.1:{egress.proxy.port}"
        async with session.post("http://shop.dev/", data=pieces() if chunked else BODY, proxy=proxy) as response:
            assert await response.text() == hashlib.sha256(BODY).hexdigest()


async def test_an_answer_that_breaks_off_does_not_look_complete(egress: Egress) -> None:
    await egress.play(_once(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"))
    reader, writer = await egress.connect()
    writer.write(b"GET http://shop.dev/ HTTP/1.1\r\nHost: shop.dev\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ConnectionResetError):
            await reader.read()
    writer.close()


async def test_no_answer_is_a_bad_gateway(egress: Egress) -> None:
    for answer in (b"", b"SSH-2.0-x\r\n\r\n"):
        await egress.play(_once(answer))
        said = await egress.ask(b"GET http://shop.dev/ HTTP/1.1\r\nHost: shop.dev\r\n\r\n")
        assert said.startswith(b"HTTP/1.1 502 ")


def _once(answer: bytes) -> Play:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(answer)

    return play


# Who may use it


@pytest.mark.parametrize(
    "page",
    [
        b"GET / HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\n\r\n",
        b"GET /http://shop.dev/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nGET http://shop.dev/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x05\x01\x00" + SHOP,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["rebinding", "path", "smuggled", "websocket", "tls"],
)
async def test_what_a_web_page_can_send_reaches_no_service(egress: Egress, page: bytes) -> None:
    said = await egress.ask(page)
    assert said == b"" or said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1") <= 1
    assert egress.service.connections == 0
    assert egress.touched == []


async def test_it_listens_on_loopback_alone(egress: Egress) -> None:
    assert egress.proxy._server is not None
    assert [one.getsockname()[0] for one in egress.proxy._server.sockets] == ["127.0.0.1"]


async def test_with_a_password_nobody_passes_without_it(gateway: StaticGateway) -> None:
    gateways = Gateways()
    proxy = Proxy(gateways, touch=lambda: None, password="secret", check_owner=False)
    await proxy.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(CONNECT[0])
    said = await reader.read()
    assert said.startswith(b"HTTP/1.1 407 ")
    assert b'Proxy-Authenticate: Basic realm="byway"' in said
    writer.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(GREETING)
    assert await reader.read() == b"\x05\xff"
    writer.close()
    await proxy.close()
    await gateways.close()


HEADING = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


@pytest.mark.parametrize(
    ("table", "line", "found"),
    [
        ("tcp", "0100007F:9C40 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 77", 1000),
        ("tcp", "0100007F:9C40 0100007F:1F91 01 00000000:00000000 00:00000000 00000000  1000        0 77", None),
        # An orphan: the process has closed it, and the kernel shows no user.
        ("tcp", "0100007F:9C40 0100007F:1F90 04 00000000:00000000 00:00000000 00000000     0        0 0", None),
        # Java connects to IPv4 from a socket of IPv6.
        (
            "tcp6",
            "0000000000000000FFFF00000100007F:9C40 0000000000000000FFFF00000100007F:1F90 "
            "01 00000000:00000000 00:00000000 00000000  1001        0 78",
            1001,
        ),
    ],
)
def test_whose_a_connection_is(tmp_path: Path, table: str, line: str, found: int | None) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / table).write_text(f"{HEADING}   0: {line}\n")
    assert owner(("127.0.0.1", 40000), ("127.0.0.1", 8080), tmp_path) == found


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says whose a socket is")
def test_this_machine_says_whose_a_connection_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert owner(client.getsockname(), server.getsockname()) == os.getuid()


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="being another user takes root")
async def test_another_user_of_the_machine_is_refused(egress: Egress) -> None:
    script = (
        "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1])));"
        "s.sendall(sys.argv[2].encode());\n"
        "try: print(s.recv(99))\nexcept ConnectionResetError: print('reset')"
    )
    command = ["python3", "-c", script, str(egress.proxy.port), CONNECT[0].decode()]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=PATIENCE, user=65534, group=65534, check=True
    )
    assert done.stdout.strip() in {"reset", "b''"}
    assert egress.service.connections == 0
