"""SOCKS5, without I/O."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds.client.egress.socks import Reply, Socks, SocksError, reply

GREETING = b"\x05\x02\x00\x01"
BY_NAME = b"\x05\x01\x00\x03\x0aorders.dev\x00\x50"


def feed(socks: Socks, data: bytes, cut: int) -> bytes:
    return b"".join(socks.received(data[at : at + cut]) for at in range(0, len(data), cut))


@pytest.mark.parametrize(
    ("request_", "destination"),
    [
        (BY_NAME, ("orders.dev", 80)),
        (b"\x05\x01\x00\x01\x0a\x01\x02\x03\x1f\x90", ("10.1.2.3", 8080)),
        (b"\x05\x01\x00\x04" + b"\x00" * 15 + b"\x01\x01\xbb", ("::1", 443)),
    ],
)
@given(cut=st.integers(1, 40))
def test_a_client_says_where_it_wants_to_go(request_: bytes, destination: tuple[str, int], cut: int) -> None:
    socks = Socks()
    # Clients that are sure of themselves send it all at once.
    assert feed(socks, GREETING + request_ + b"more", cut) == b"\x05\x00"
    assert socks.destination == destination
    assert socks.rest == b"more"


@given(cut=st.integers(1, 40))
def test_a_password_is_asked_for_where_there_is_one(cut: int) -> None:
    socks = Socks("secret")
    said = feed(socks, b"\x05\x02\x00\x02" + b"\x01\x05byway\x06secret" + BY_NAME, cut)
    assert said == b"\x05\x02\x01\x00"
    assert socks.destination == ("orders.dev", 80)


@pytest.mark.parametrize("password", [b"", b"secre", b"secret2"])
def test_a_wrong_password_is_refused(password: bytes) -> None:
    socks = Socks("secret")
    socks.received(b"\x05\x01\x02")
    with pytest.raises(SocksError) as caught:
        socks.received(b"\x01\x05byway" + bytes([len(password)]) + password + BY_NAME)
    assert caught.value.answer == b"\x01\x01"
    assert socks.destination is None


def test_a_client_that_gives_no_password_is_refused() -> None:
    with pytest.raises(SocksError) as caught:
        Socks("secret").received(b"\x05\x01\x00")
    assert caught.value.answer == b"\x05\xff"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"\x05\x02\x00\x03\x0aorders.dev\x00\x50", Reply.COMMAND_NOT_SUPPORTED),
        (b"\x05\x03\x00\x03\x0aorders.dev\x00\x50", Reply.COMMAND_NOT_SUPPORTED),
        (b"\x05\x01\x00\x09\x0aorders.dev\x00\x50", Reply.ADDRESS_NOT_SUPPORTED),
        (b"\x05\x01\x00\x03\x05a\r\nb:\x00\x50", Reply.ADDRESS_NOT_SUPPORTED),
        (b"\x05\x01\x00\x03\x00\x00\x50", Reply.ADDRESS_NOT_SUPPORTED),
    ],
)
def test_what_is_not_served_is_answered_so(request_: bytes, code: Reply) -> None:
    socks = Socks()
    socks.received(GREETING)
    with pytest.raises(SocksError) as caught:
        socks.received(request_)
    assert caught.value.answer == reply(code)


@given(st.binary(max_size=300))
def test_whatever_comes_either_waits_or_is_an_error_or_a_destination(data: bytes) -> None:
    socks = Socks()
    try:
        socks.received(b"\x05" + data)
    except SocksError:
        assert socks.destination is None
