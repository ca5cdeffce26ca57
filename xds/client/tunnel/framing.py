"""One HTTP/2 connection from either side, without I/O: h2 does the protocol, this does who may send and how much.

Flow control (RFC 9113, section 5.2) has two windows, and each is given back for another reason:

    of a stream       when its reader has taken the bytes: a slow reader slows its own stream down
    of the connection as soon as bytes arrive, so that a stream which nobody reads can't stall the others; only while
                      more than `HOARD` bytes are unread altogether it waits for the readers too

Sending is fair: whoever has something to send takes turns, a frame each. `outgoing` makes no more DATA than it is asked
for, and what has been made can't be overtaken, so ask for little and often: a small answer then waits for a few frames
of a large one, not for all of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

Headers = list[tuple[bytes, bytes]]

STREAM_WINDOW = 1 << 20
CONNECTION_WINDOW = 64 << 20
HOARD = 128 << 20
"""Bytes that may be unread on all streams together."""
MAX_STREAMS = 10_000
HEADER_LIST = 16 << 20
"""Bytes of a header list at most. Proxies before us have limits of their own; ours must not end the connection."""
FRAME = 1 << 14
"""Bytes of a DATA frame at most: the turn of one stream."""

SWEEP = 256
"""Streams that are kept at least before those that have ended are looked for."""


class _Connection(H2Connection):
    """h2, but for two things that matter to a proxy."""

    _sweep_at = SWEEP

    def _receive_goaway_frame(self, frame: Any) -> tuple[list[Any], list[Event]]:
        """h2 takes GOAWAY for the end of the connection, but what is under way goes on (RFC 9113, section 6.8)."""
        event = ConnectionTerminated()
        event.error_code, event.last_stream_id = frame.error_code, frame.last_stream_id
        event.additional_data = frame.additional_data or None
        return [], [event]

    def _open_streams(self, remainder: int) -> int:
        """h2 walks all streams whenever one is opened, to count them and to forget those that have ended: a second of
        work for two thousand at once. Now and then is enough; who opens streams counts them himself."""
        if len(self.streams) < self._sweep_at:
            return 0
        count = int(super()._open_streams(remainder))
        self._sweep_at = SWEEP + 2 * len(self.streams)
        return count


@dataclass(slots=True)
class _Stream:
    """What waits on a stream: pieces to send; bytes that its reader has not taken, or that are not yet given back."""

    pieces: deque[memoryview] = field(default_factory=deque)
    size: int = 0
    ended: bool = False
    trailers: Headers | None = None
    unread: int = 0
    taken: int = 0


class Framing:
    """The state of one connection. Bytes go in by `receive` and come out of `outgoing`."""

    def __init__(
        self, *, client: bool, stream_window: int = STREAM_WINDOW, connection_window: int = CONNECTION_WINDOW
    ) -> None:
        # What a peer that we trust sends is proxied, not judged: an odd header must not end everybody's connection.
        self.client = client
        config = H2Configuration(client_side=client, header_encoding=None, validate_inbound_headers=False)
        self._h2 = _Connection(config)
        values = {
            SettingCodes.INITIAL_WINDOW_SIZE: stream_window,
            SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
            SettingCodes.MAX_HEADER_LIST_SIZE: HEADER_LIST,
        }
        if client:
            values[SettingCodes.ENABLE_PUSH] = 0
        else:
            values[SettingCodes.ENABLE_CONNECT_PROTOCOL] = 1
        self._h2.local_settings = Settings(client=client, initial_values=values)
        self._h2.decoder.max_header_list_size = HEADER_LIST
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(connection_window - 65_535)
        self._streams: dict[int, _Stream] = {}
        self._ready: dict[int, None] = {}
        self._stream_batch = stream_window // 4
        self._connection_batch = connection_window // 16
        self._unread = 0
        self._owed = 0
        self.relieved: set[int] = set()
        """Streams that have sent something since the owner last looked and emptied it."""

    @property
    def max_outbound_streams(self) -> int:
        """How many streams the other side allows us."""
        return int(self._h2.remote_settings.max_concurrent_streams)

    @property
    def extended_connect(self) -> bool:
        """Whether the other side takes extended CONNECT (RFC 8441)."""
        return bool(self._h2.remote_settings.enable_connect_protocol)

    @property
    def hoarding(self) -> bool:
        """Whether so much is unread that streams may soon have to wait for the readers of others."""
        return self._unread > HOARD // 2

    # ── receiving ──

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes; returns what happened. Raises h2.exceptions.ProtocolError, after which only `outgoing` counts."""
        events = self._h2.receive_data(data)
        for event in events:
            if isinstance(event, DataReceived):
                self._received(event)
            elif isinstance(event, WindowUpdated):
                self._wake([event.stream_id] if event.stream_id else self._streams)
            elif isinstance(event, RemoteSettingsChanged):
                self._wake(self._streams)
            elif isinstance(event, StreamReset):
                self._drop(event.stream_id)
        self._give_back()
        return events

    def _received(self, event: DataReceived) -> None:
        size, number = event.flow_controlled_length, event.stream_id
        assert size is not None
        assert number is not None
        self._owed += size
        self._unread += len(event.data or b"")
        stream = self._streams.setdefault(number, _Stream())
        stream.unread += len(event.data or b"")
        # Padding has no reader.
        stream.taken += size - len(event.data or b"")

    def consumed(self, number: int, size: int) -> None:
        """A reader took `size` bytes of a stream."""
        stream = self._streams.get(number)
        if stream is None:
            return
        stream.unread -= size
        stream.taken += size
        self._unread -= size
        if stream.taken >= self._stream_batch:
            self._increment(stream.taken, number)
            stream.taken = 0
        self._give_back()

    def _give_back(self) -> None:
        if self._owed >= self._connection_batch and self._unread <= HOARD:
            self._increment(self._owed, None)
            self._owed = 0

    def _increment(self, size: int, number: int | None) -> None:
        try:
            self._h2.increment_flow_control_window(size, number)
        except ProtocolError:
            # The stream has ended meanwhile, and needs no window.
            assert number is not None

    # ── sending ──

    def next_stream(self) -> int:
        """The number of a new stream of ours. Raises h2.exceptions.ProtocolError where none are left."""
        return int(self._h2.get_next_available_stream_id())

    def headers(self, number: int, headers: Headers, *, end: bool = False) -> None:
        """Send a header block now: of a request, a response, or an informational response; not trailers.

        Raises h2.exceptions.ProtocolError: they aren't allowed, the stream is gone, or there are too many streams.
        """
        self._h2.send_headers(number, headers, end_stream=end)
        self._streams.setdefault(number, _Stream()).ended = end

    def write(self, number: int, data: bytes) -> None:
        """Queue bytes; dropped where the stream is gone."""
        stream = self._streams.get(number)
        if stream is not None and not stream.ended and data:
            stream.pieces.append(memoryview(data))
            stream.size += len(data)
            self._ready[number] = None

    def end(self, number: int, trailers: Headers | None = None) -> None:
        """Queue the end of our side."""
        stream = self._streams.get(number)
        if stream is not None and not stream.ended:
            stream.ended, stream.trailers = True, trailers
            self._ready[number] = None

    def queued(self, number: int) -> int:
        """Bytes of a stream that wait to be sent."""
        stream = self._streams.get(number)
        return stream.size if stream is not None else 0

    def unsent(self, number: int) -> bool:
        """Whether something of a stream waits to be sent, be it its end."""
        return number in self._ready or self.queued(number) > 0

    def reset(self, number: int, code: int = ErrorCodes.CANCEL) -> None:
        """Cut a stream, if it isn't gone."""
        with suppress(ProtocolError):
            self._h2.reset_stream(number, code)
        self._drop(number)

    def forget(self, number: int) -> None:
        """Nobody reads or writes a stream any more: what came and is unread is dropped."""
        self._drop(number)

    def ping(self) -> None:
        """Ask the other side for a sign of life."""
        self._h2.ping(b"byway\0\0\0")

    def close(self) -> None:
        """Say goodbye. What is queued is lost."""
        self._h2.close_connection()

    def outgoing(self, budget: int) -> bytes:
        """What to send now: all control frames, and DATA up to about `budget` bytes."""
        while budget > 0 and self._ready and self._h2.outbound_flow_control_window > 0:
            number = next(iter(self._ready))
            del self._ready[number]
            budget -= self._turn(number, self._streams[number])
        self._end_what_is_sent()
        return bytes(self._h2.data_to_send())

    def _end_what_is_sent(self) -> None:
        # An end needs no window.
        for number in [each for each in self._ready if not self._streams[each].size]:
            del self._ready[number]
            self._turn(number, self._streams[number])

    def _turn(self, number: int, stream: _Stream) -> int:
        """Send a frame of a stream. Returns its size."""
        try:
            if not stream.size:
                self._send_end(number, stream)
                return 0
            room = min(self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size, FRAME)
            if room <= 0:
                # Its own window is empty: a WINDOW_UPDATE brings it back.
                return 0
            data = _take(stream, room)
            last = stream.ended and not stream.size and not stream.trailers
            self._h2.send_data(number, data, end_stream=last)
        except ProtocolError:
            self._drop(number)
            self.relieved.add(number)
            return 0
        self.relieved.add(number)
        if not last and (stream.size or stream.ended):
            self._ready[number] = None
        return len(data)

    def _send_end(self, number: int, stream: _Stream) -> None:
        if stream.trailers:
            self._h2.send_headers(number, stream.trailers, end_stream=True)
        else:
            self._h2.end_stream(number)

    def _wake(self, numbers: Iterable[int | None]) -> None:
        for number in numbers:
            stream = self._streams.get(number) if number is not None else None
            if stream is not None and stream.size:
                assert number is not None
                self._ready[number] = None

    def _drop(self, number: int | None) -> None:
        stream = self._streams.pop(number, None) if number is not None else None
        if stream is not None and number is not None:
            self._ready.pop(number, None)
            self._unread -= stream.unread
            self._give_back()


def _take(stream: _Stream, room: int) -> bytes | memoryview:
    """The next bytes to send, of one piece or of several small ones."""
    first = stream.pieces.popleft()
    if len(first) > room:
        stream.pieces.appendleft(first[room:])
        stream.size -= room
        return first[:room]
    taken = [first]
    size = len(first)
    while stream.pieces and size + len(stream.pieces[0]) <= room:
        taken.append(stream.pieces.popleft())
        size += len(taken[-1])
    stream.size -= size
    return first if len(taken) == 1 else b"".join(taken)
