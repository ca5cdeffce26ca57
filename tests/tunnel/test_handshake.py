"""The beginning of a tunnel, without I/O."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds.client.tunnel.handshake import PING, Handshake, HandshakeError, Pings

ENVOY = b"""\
GET /reverse_connections/request HTTP/1.1\r
host: HOST\r
x-envoy-reverse-tunnel-node-id: s1.1\r
x-envoy-reverse-tunnel-cluster-id: u.s1.1\r
x-envoy-reverse-tunnel-tenant-id: default\r
x-envoy-reverse-tunnel-upstream-cluster-name: gateway\r
x-envoy-reverse-tunnel-initiation-time: TIME\r
x-envoy-reverse-tunnel-worker-id: worker_0\r
x-envoy-reverse-tunnel-connection-id: 0\r
authorization: Bearer TOKEN\r
content-length: 0\r
\r
"""
"""What Envoy 1.40 sends."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def test_it_is_what_envoy_sends() -> None:
    said = Handshake("s1.1", "TOKEN").request
    said = re.sub(rb"initiation-time: \d{13}\r", b"initiation-time: TIME\r", said)
    assert re.sub(rb"host: .*\r", b"host: HOST\r", said) == ENVOY


@given(cut=st.integers(1, 60))
def test_the_answer_may_come_in_pieces_with_more_behind_it(cut: int) -> None:
    handshake = Handshake("s1.1", "TOKEN")
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nRPINGPRI"
    rest = None
    received = b""
    for at in range(0, len(answer), cut):
        if rest is None:
            rest = handshake.received(answer[at : at + cut])
            received += rest or b""
        else:
            received += answer[at : at + cut]
    assert received == b"RPINGPRI"


@pytest.mark.parametrize("status", [401, 403, 429])
def test_a_refusal_says_its_status(status: int) -> None:
    handshake = Handshake("s1.1", "TOKEN")
    with pytest.raises(HandshakeError, match=str(status)) as caught:
        handshake.received(b"HTTP/1.1 %d No\r\ncontent-length: 0\r\n\r\n" % status)
    assert caught.value.status == status


@pytest.mark.parametrize("answer", [b"SSH-2.0-x\r\n\r\n", b""])
def test_an_answer_that_is_none_is_an_error(answer: bytes) -> None:
    with pytest.raises(HandshakeError):
        Handshake("s1.1", "TOKEN").received(answer)


@given(count=st.integers(0, 5), cuts=st.lists(st.integers(1, 40), max_size=60))
def test_each_ping_is_echoed_once_however_it_comes_and_nothing_else_is_lost(count: int, cuts: list[int]) -> None:
    pings = Pings()
    data = PING * count + PREFACE + PING
    back, rest = b"", b""
    while data:
        size = cuts.pop() if cuts else len(data)
        if pings.over:
            rest += data[:size]
        else:
            echo, after = pings.received(data[:size])
            back, rest = back + echo, rest + after
        data = data[size:]
    assert back == PING * count
    # What looks like a ping later is HTTP/2's.
    assert rest == PREFACE + PING
