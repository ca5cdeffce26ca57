"""Framing: two ends of a connection, without I/O."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import pytest
from h2.events import ConnectionTerminated, DataReceived, RequestReceived, StreamEnded, StreamReset, TrailersReceived
from h2.exceptions import ProtocolError
from hypothesis import given
from hypothesis import strategies as st

from xds.client.tunnel import framing
from xds.client.tunnel.framing import CONNECTION_WINDOW, FRAME, STREAM_WINDOW, Framing

REQUEST = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"shop"), (b":path", b"/")]
EVERYTHING = 1 << 40
SMALL = {"stream_window": 1 << 16, "connection": 1 << 20}


@dataclass
class Received:
    """What has come on one stream."""

    body: bytearray = field(default_factory=bytearray)
    unread: int = 0
    ended: bool = False
    reset: bool = False
    trailers: object = None


class End:
    """One end; what it sends waits until it is moved."""

    def __init__(
        self, *, client: bool, stream_window: int = STREAM_WINDOW, connection: int = CONNECTION_WINDOW
    ) -> None:
        self.framing = Framing(client=client, stream_window=stream_window, connection_window=connection)
        self.received: dict[int, Received] = {}
        self.events: list[object] = []

    def take(self, data: bytes) -> None:
        for event in self.framing.receive(data):
            self.events.append(event)
            if isinstance(event, DataReceived | RequestReceived | StreamEnded | StreamReset | TrailersReceived):
                assert event.stream_id is not None
                one = self.received.setdefault(event.stream_id, Received())
                if isinstance(event, DataReceived):
                    one.body += event.data or b""
                    one.unread += len(event.data or b"")
                one.ended = one.ended or isinstance(event, StreamEnded)
                one.reset = one.reset or isinstance(event, StreamReset)
                if isinstance(event, TrailersReceived):
                    one.trailers = event.headers

    def read(self, number: int) -> int:
        """The reader of a stream takes all that has come."""
        one = self.received[number]
        size, one.unread = one.unread, 0
        self.framing.consumed(number, size)
        return size


def move(one: End, other: End, *, rounds: int = 1_000, budget: int = EVERYTHING, read: bool = False) -> None:
    """Carry bytes both ways until there are none."""
    for _ in range(rounds):
        moved = False
        for source, sink in ((one, other), (other, one)):
            if data := source.framing.outgoing(budget):
                moved = True
                sink.take(data)
            if read:
                for number in sink.received:
                    moved |= bool(sink.read(number))
        if not moved:
            return
    raise AssertionError("it never comes to rest")


def pair(**windows: int) -> tuple[End, End]:
    client, server = End(client=True, **windows), End(client=False, **windows)
    move(client, server)
    return client, server


def begin(client: End) -> int:
    number = client.framing.next_stream()
    client.framing.headers(number, REQUEST)
    return number


@given(
    bodies=st.lists(st.lists(st.integers(0, 70_000), max_size=6), min_size=1, max_size=5),
    stream_window=st.integers(1 << 16, 1 << 17),
    budget=st.integers(1, 1 << 18),
    cut=st.integers(1, 5_000),
    trailers=st.booleans(),
)
def test_what_is_written_arrives_whole_and_in_order(
    bodies: list[list[int]], stream_window: int, budget: int, cut: int, trailers: bool
) -> None:
    client, server = pair(stream_window=stream_window, connection=1 << 18)
    sent: dict[int, bytes] = {}
    for sizes in bodies:
        number = begin(client)
        pieces = [os.urandom(size) for size in sizes]
        sent[number] = b"".join(pieces)
        for piece in pieces:
            client.framing.write(number, piece)
        client.framing.end(number, [(b"x-last", b"1")] if trailers else None)
    while not all(server.received.get(each, Received()).ended for each in sent):
        data = client.framing.outgoing(budget)
        for at in range(0, len(data), cut * 100):
            server.take(data[at : at + cut * 100])
        for number in server.received:
            server.read(number)
        back = server.framing.outgoing(budget)
        assert data or back, "nobody sends, and not all has come"
        client.take(back)
    for number, body in sent.items():
        assert server.received[number].body == body
        assert server.received[number].trailers == ([(b"x-last", b"1")] if trailers else None)
        assert not client.framing.unsent(number)


def test_streams_take_turns_so_that_a_small_one_need_not_wait_for_a_large_one() -> None:
    client, server = pair()
    large, small = begin(client), begin(client)
    client.framing.write(large, bytes(1 << 20))
    client.framing.write(small, b"now")
    client.framing.end(small)
    server.take(client.framing.outgoing(4 * FRAME))
    assert server.received[small].ended
    assert len(server.received[large].body) <= 4 * FRAME


def test_no_more_is_made_than_was_asked_for() -> None:
    client, _ = pair()
    number = begin(client)
    client.framing.write(number, bytes(1 << 20))
    assert len(client.framing.outgoing(1 << 16)) < (1 << 16) + 2 * FRAME
    assert client.framing.queued(number) >= (1 << 20) - (1 << 16) - FRAME


def test_a_stream_that_nobody_reads_stops_at_its_window_and_others_go_on() -> None:
    client, server = pair(**SMALL)
    unread = [begin(client) for _ in range(2 * SMALL["connection"] // SMALL["stream_window"])]
    for number in unread:
        client.framing.write(number, bytes(SMALL["stream_window"] + 1))
    move(client, server)
    # More than the connection's window is unread by now.
    assert {len(server.received[number].body) for number in unread} == {SMALL["stream_window"]}
    other = begin(client)
    client.framing.write(other, b"hello")
    client.framing.end(other)
    move(client, server)
    assert server.received[other].body == b"hello"
    assert server.received[other].ended


def test_what_is_unread_altogether_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "HOARD", 2 << 20)
    client, server = pair(**SMALL)
    size = SMALL["stream_window"]
    streams = [begin(client) for _ in range(2 * (framing.HOARD + SMALL["connection"]) // size)]
    for number in streams:
        client.framing.write(number, bytes(size))
    move(client, server)
    unread = sum(one.unread for one in server.received.values())
    assert framing.HOARD <= unread <= framing.HOARD + SMALL["connection"] + size
    # Once it is read, the rest comes.
    move(client, server, read=True)
    assert sum(len(one.body) for one in server.received.values()) == size * len(streams)


def test_what_a_reset_stream_left_unread_is_given_back() -> None:
    client, server = pair(stream_window=1 << 16, connection=1 << 17)
    for _ in range(50):
        number = begin(client)
        client.framing.write(number, bytes(1 << 16))
        move(client, server)
        server.framing.reset(number)
        move(client, server)
        assert client.received[number].reset
    number = begin(client)
    client.framing.write(number, bytes(1 << 16))
    move(client, server)
    assert len(server.received[number].body) == 1 << 16


def test_bytes_written_after_a_reset_are_dropped() -> None:
    client, server = pair()
    number = begin(client)
    move(client, server)
    server.framing.reset(number, 8)
    move(client, server)
    client.framing.write(number, b"late")
    client.framing.end(number)
    assert client.framing.outgoing(EVERYTHING) == b""


def test_streams_under_way_go_on_after_goaway() -> None:
    client, server = pair()
    number = begin(client)
    move(client, server)
    goaway = bytes.fromhex("000008 07 00 00000000 7fffffff 00000000".replace(" ", ""))
    client.take(goaway)
    assert isinstance(client.events[-1], ConnectionTerminated)
    client.framing.write(number, b"still here")
    client.framing.end(number)
    move(client, server)
    assert server.received[number].body == b"still here"
    server.framing.headers(number, [(b":status", b"200")])
    server.framing.write(number, b"so am I")
    server.framing.end(number)
    move(client, server)
    assert client.received[number].body == b"so am I"


def test_what_is_not_http2_is_an_error() -> None:
    with pytest.raises(ProtocolError):
        End(client=False).take(b"GET / HTTP/1.1\r\nhost: example\r\n\r\n")


def test_an_odd_header_does_not_end_the_connection() -> None:
    client, server = pair()
    number = client.framing.next_stream()
    client.framing._h2.config.validate_outbound_headers = False
    client.framing._h2.config.normalize_outbound_headers = False
    client.framing.headers(number, [*REQUEST, (b"X-Case", b" blanks "), (b"connection", b"close")])
    move(client, server)
    assert number in server.received


def test_a_list_of_headers_may_be_large() -> None:
    client, server = pair()
    number = client.framing.next_stream()
    client.framing.headers(
        number, [*REQUEST, *((b"x-%d" % each, os.urandom(500).hex().encode()) for each in range(800))]
    )
    move(client, server)
    assert number in server.received
