"""What a request to the proxy is for, without I/O."""

from __future__ import annotations

import h11
import pytest

from xds.client.egress.web import RefusalError, check_password, destination, request_for


def request(method: str, target: str, **headers: str) -> h11.Request:
    fields = {"Host": "x", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return h11.Request(method=method, target=target, headers=list(fields.items()))


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("CONNECT", "orders.dev:443", ("orders.dev", 443, b"")),
        ("CONNECT", "[fd00::1]:443", ("fd00::1", 443, b"")),
        ("GET", "http://orders.dev/", ("orders.dev", 80, b"/")),
        ("GET", "http://orders.dev", ("orders.dev", 80, b"/")),
        ("GET", "HTTP://orders.dev:8080/a?b=http://c/", ("orders.dev", 8080, b"/a?b=http://c/")),
        ("GET", "http://orders.dev?q=/", ("orders.dev", 80, b"/?q=/")),
        ("GET", "http://[fd00::1]/x", ("fd00::1", 80, b"/x")),
        ("GET", "http://[fd00::1]:81/x", ("fd00::1", 81, b"/x")),
        ("GET", "http://user:word@orders.dev/x", ("orders.dev", 80, b"/x")),
    ],
)
def test_where_a_request_goes(method: str, target: str, expected: tuple[str, int, bytes]) -> None:
    assert destination(request(method, target)) == expected


@pytest.mark.parametrize(
    ("method", "target", "words"),
    [
        ("GET", "/", "not a web site"),
        ("GET", "/http://orders.dev/", "not a web site"),
        ("OPTIONS", "*", "not a web site"),
        ("GET", "https://orders.dev/", "has to use CONNECT"),
        ("GET", "ftp://orders.dev/", "has to use CONNECT"),
        ("CONNECT", "orders.dev", "is not HOST:PORT"),
        ("CONNECT", "orders.dev:0", "is not HOST:PORT"),
        ("CONNECT", "orders.dev:65536", "is not HOST:PORT"),
        ("CONNECT", ":80", "is not HOST:PORT"),
        ("GET", "http:///path", "is not HOST:PORT"),
        ("GET", "http://a,b/", "is not HOST:PORT"),
    ],
)
def test_what_is_refused(method: str, target: str, words: str) -> None:
    with pytest.raises(RefusalError, match=words) as caught:
        destination(request(method, target))
    assert caught.value.status == 400


def test_the_service_gets_its_own_host_and_nothing_meant_for_the_proxy() -> None:
    given = request(
        "POST", "http://orders.dev/x", X_Case="1", Proxy_Authorization="Basic eA==", Proxy_Connection="keep-alive",
        Connection="keep-alive, X-Hop", X_Hop="1", Content_Length="3",
    )  # fmt: skip
    made = request_for(given, b"orders.dev", b"/x")
    assert made.target == b"/x"
    assert made.headers.raw_items() == [
        (b"Host", b"orders.dev"), (b"X-Case", b"1"), (b"Content-Length", b"3"), (b"Connection", b"close"),
    ]  # fmt: skip


@pytest.mark.parametrize("given", ["", "Basic", "Basic ???", "Basic eDp5", "Bearer eDpzZWNyZXQ=", "Basic c2VjcmV0"])
def test_a_request_without_the_password_is_refused(given: str) -> None:
    with pytest.raises(RefusalError) as caught:
        check_password(request("CONNECT", "a.b:1", Proxy_Authorization=given), "secret")
    assert caught.value.status == 407


def test_a_request_with_the_password_passes() -> None:
    check_password(request("CONNECT", "a.b:1", Proxy_Authorization="Basic eDpzZWNyZXQ="), "secret")
    check_password(request("CONNECT", "a.b:1"), "")
