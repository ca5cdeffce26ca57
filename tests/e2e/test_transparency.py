"""Raw bytes on both sides of a sidecar, compared: what an app and its clients can see of it.

Every case goes the ordinary way, that of an intercepted request, and that of one whose laptop is away. All that differs
is in `differences.py`, which README repeats; whatever isn't there is the same, byte for byte.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.e2e.differences import DIFFERENCES
from tests.e2e.pipe import OK, Seen, Stream, Way, ways

F = TypeVar("F", bound=Callable[..., object])
SHOWN: set[str] = set()
DATE = b"Date: Thu, 01 Jan 2026 00:00:00 GMT"
PROTO = b"x-forwarded-proto: http"
NO_STORE = b"cache-control: no-store"


def shows(key: str) -> Callable[[F], F]:
    """The test shows this difference."""
    SHOWN.add(key)
    return lambda test: test


@pytest.fixture(scope="module")
def both(short_path: Path) -> Iterator[dict[str, Way]]:
    with ways(short_path / "pipe") as found:
        yield found


@pytest.fixture(params=["ordinary", "intercepted", "away"])
def way(both: dict[str, Way], request: pytest.FixtureRequest) -> Way:
    return both[request.param]


def lines(*text: bytes, body: bytes = b"") -> bytes:
    """A message of these lines."""
    return b"\r\n".join([*text, b"", body])


def get(*headers: bytes, path: bytes = b"/a", method: bytes = b"GET", body: bytes = b"") -> bytes:
    return lines(method + b" " + path + b" HTTP/1.1", b"Host: shop", *headers, body=body)


def post(*headers: bytes, body: bytes) -> bytes:
    return get(b"Content-Length: %d" % len(body), *headers, method=b"POST", body=body)


def answer(*headers: bytes, status: bytes = b"200 OK", body: bytes = b"ok") -> bytes:
    return lines(b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), DATE, *headers, body=body)


def expected(way: Way, request: bytes, response: bytes) -> Seen:
    """What should arrive: the same, but for what is said of every request and every intercepted answer."""
    return Seen(_more(request, way.mark, PROTO), _more(response, *way.added))


def _more(message: bytes, *headers: bytes) -> bytes:
    """The message with more headers; Transfer-Encoding comes last, see `differences.py`."""
    head, end, body = message.partition(b"\r\n\r\n")
    found: list[bytes] = [*head.split(b"\r\n"), *filter(None, headers)]
    last = [line for line in found if line.startswith(b"Transfer-Encoding:")]
    return b"\r\n".join([*(line for line in found if line not in last), *last]) + end + body


def check(way: Way, request: bytes, response: bytes = OK, *, arrives: bytes = b"", returns: bytes = b"") -> None:
    """An exchange, compared with what should arrive: what was sent, or what is said here."""
    seen = way.exchange(way.marked(request), response)
    wanted = expected(way, arrives or request, returns or response)
    assert seen.request == wanted.request
    assert seen.response == wanted.response


SAME_REQUEST = {
    "a plain one": get(),
    "mixed case and underscores": get(
        b"X-MiXed_Case: Value", b"x_under: 1", b"accept: */*", b"USER-AGENT: x", b"DNT: 1"
    ),
    "repeated headers": get(b"A: 1", b"B: x", b"A: 2", b"A: 1"),
    "several cookie lines": get(b"Cookie: a=1; b=2", b"Cookie: c=3"),
    "doubled slashes": get(path=b"//a///b/"),
    "escaped slashes": get(path=b"/a%2Fb%2f%5C"),
    "dot segments": get(path=b"/a/../b/./c/%2e%2e/.."),
    "odd characters in the path": get(path=b"/a;b=c,d|\"{}<>\\^`[]~!$&'()*+@:"),
    "invalid percent-encoding": get(path=b"/%zz%"),
    "an odd query": get(path=b"/?a=1&&b=%20?c&=&d#".replace(b"#", b"")),
    "a path of 20 kB": get(path=b"/" + b"x" * 20_000),
    "a port and capitals in the host": lines(b"GET / HTTP/1.1", b"HOST: Shop.Test:8080"),
    "an empty value": get(b"A: "),
    "bytes outside ASCII": get(b"A: \xff\xc3\xa9"),
    "tracing headers": get(b"X-Request-Id: r", b"traceparent: 00-a-b-01", b"b3: 1", b"baggage: a=1"),
    "who it came by": get(
        b"X-Forwarded-For: 10.1.1.1, 127.0.0.1",
        b"X-Forwarded-Host: h",
        b"X-Forwarded-Port: 1",
        b"X-Forwarded-Client-Cert: By=a;Hash=b",
        b"Forwarded: for=1",
        b"X-Real-IP: 1.2.3.4",
        b"Via: 1.1 other",
    ),
    "TE: trailers": get(b"TE: trailers"),
    "authorization": get(b"Authorization: Negotiate YII=", b"Proxy-Authorization: Basic eDp5"),
    "500 headers": get(*(b"X-%d: %d" % (number, number) for number in range(500))),
    "5,000 headers": get(*(b"X-%d: %d" % (number, number) for number in range(5000))),
    "a header of 60 kB": get(b"X: " + b"y" * 60_000),
    "a header of 300 kB": get(b"X: " + b"y" * 300_000),
    "a body": post(b"Content-Type: text/plain", body=b"abc"),
    "an empty body": post(body=b""),
    "a body of 300 kB": post(body=os.urandom(300_000)),
    "GET with a body": get(b"Content-Length: 3", body=b"abc"),
    "DELETE with a body": get(b"Content-Length: 3", method=b"DELETE", body=b"abc"),
    "a chunked body": get(b"Transfer-Encoding: chunked", method=b"PUT", body=b"3\r\nabc\r\n0\r\n\r\n"),
    "PROPFIND": get(b"Depth: 1", b"Content-Length: 0", method=b"PROPFIND"),
    "TRACE": get(method=b"TRACE"),
    "a method that nobody knows": get(b"Content-Length: 0", method=b"FROBNICATE"),
    "an x-envoy header that steers nothing": get(b"X-Envoy-Foo: 1", b"x-envoy-original-path: /x"),
}

SAME_RESPONSE = {
    "mixed case and underscores": answer(b"X-MiXed_Case: Value", b"x_under: 1", b"SERVER: me/1.0"),
    "a chunked body": lines(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", DATE, body=b"3\r\nabc\r\n0\r\n\r\n"),
    "several set-cookie lines": answer(b"Set-Cookie: a=1; Path=/", b"Set-Cookie: b=2"),
    "a reason phrase": answer(status=b"200 Fine By Me"),
    "an unusual status": answer(status=b"299 Odd"),
    "a status out of range": answer(status=b"999 Odd"),
    "a teapot": answer(status=b"418 I'm a teapot"),
    "the app's own 503": answer(b"Retry-After: 5", status=b"503 Sorry", body=b"down"),
    "a redirect": answer(b"Location: http://shop:8080/x", status=b"302 Found", body=b""),
    "no content": lines(b"HTTP/1.1 204 No Content", DATE),
    "not modified": lines(b"HTTP/1.1 304 Not Modified", b'ETag: "x"', b"Content-Length: 5", DATE),
    "no type, an encoding": answer(b"Content-Encoding: gzip"),
    "an x-envoy header": answer(b"x-envoy-upstream-service-time: 5", b"X-Envoy-Foo: 1", b"x-envoy-overloaded: true"),
    "a gRPC status": answer(b"Grpc-Status: 0"),
    "500 headers": answer(*(b"X-%d: %d" % (number, number) for number in range(500))),
    "5,000 headers": answer(*(b"X-%d: %d" % (number, number) for number in range(5000))),
    "a header of 60 kB": answer(b"X: " + b"y" * 60_000),
    "a header of 300 kB": answer(b"X: " + b"y" * 300_000),
    "bytes outside ASCII": answer(b"A: \xff\xc3\xa9"),
    "a body of 300 kB": answer(body=os.urandom(300_000)),
}


@pytest.mark.parametrize("request_", SAME_REQUEST.values(), ids=SAME_REQUEST)
def test_a_request_arrives_as_it_was_sent(way: Way, request_: bytes) -> None:
    check(way, request_)


@pytest.mark.parametrize("response", SAME_RESPONSE.values(), ids=SAME_RESPONSE)
def test_a_response_arrives_as_it_was_sent(way: Way, response: bytes) -> None:
    check(way, get(), response)


def test_head_gets_the_headers_of_get(way: Way) -> None:
    check(way, get(method=b"HEAD"), lines(b"HTTP/1.1 200 OK", b"Content-Length: 5", DATE))


def test_the_forwarded_protocol_of_another_proxy_stays(way: Way) -> None:
    request = get(b"X-Forwarded-Proto: https")
    assert way.exchange(way.marked(request)).request == way.marked(request)


# Streams: nothing waits for an end that may never come.


def test_a_hundred_requests_on_one_connection(way: Way) -> None:
    seen: list[bytes] = []

    def respond(request: bytes) -> bytes:
        seen.append(request)
        return answer(body=b"%d" % len(seen))

    way.serve_each(respond)
    client = way.connect()
    for number in range(1, 101):
        client.send(way.marked(get(path=b"/%d" % number)))
        assert client.message().endswith(b"\r\n\r\n%d" % number)
    assert [request.split(b" ")[1] for request in seen] == [b"/%d" % number for number in range(1, 101)]


def test_requests_sent_without_waiting_are_answered_in_order(way: Way) -> None:
    way.serve_each(lambda request: answer(body=request.split(b" ")[1]))
    client = way.connect()
    client.send(b"".join(way.marked(get(path=b"/%d" % number)) for number in range(5)))
    assert [client.message().rpartition(b"\r\n")[2] for _ in range(5)] == [b"/%d" % number for number in range(5)]


def test_expect_100_continue_is_asked_of_the_app(way: Way) -> None:
    def serve(stream: Stream) -> None:
        assert b"Expect: 100-continue" in stream.until(b"\r\n\r\n")
        stream.send(lines(b"HTTP/1.1 100 Continue"))
        assert stream.exactly(3) == b"abc"
        stream.send(OK)

    way.server.serve = serve
    client = way.connect()
    request = way.marked(post(b"Expect: 100-continue", body=b"abc"))
    client.send(request.removesuffix(b"abc"))
    assert client.message() == lines(b"HTTP/1.1 100 Continue")
    client.send(b"abc")
    assert client.message().startswith(b"HTTP/1.1 200 OK\r\n")


def test_early_hints_pass(way: Way) -> None:
    hints = lines(b"HTTP/1.1 103 Early Hints", b"Link: </a.css>")
    way.serve_each(lambda request: hints + OK)
    client = way.connect()
    client.send(way.marked(get()))
    assert [client.message(), client.message()] == [hints, expected(way, get(), OK).response]


@shows("early")
def test_an_answer_that_comes_before_the_end_of_the_request_is_passed_on(way: Way) -> None:
    def serve(stream: Stream) -> None:
        stream.until(b"\r\n\r\n")
        stream.send(answer(status=b"413 Too Large"))
        stream.rest()

    way.server.serve = serve
    client = way.connect()
    client.send(way.marked(get(b"Content-Length: 300", method=b"POST")) + b"x" * 10)
    assert client.message() == _more(answer(status=b"413 Too Large"), *way.added, b"connection: close")


def test_server_sent_events_arrive_one_by_one(way: Way) -> None:
    going: list[Stream] = []
    gone = threading.Event()

    def serve(stream: Stream) -> None:
        stream.message()
        going.append(stream)
        stream.send(lines(b"HTTP/1.1 200 OK", b"Content-Type: text/event-stream", b"Transfer-Encoding: chunked", DATE))
        stream.rest()
        gone.set()

    way.server.serve = serve
    client = way.connect()
    client.send(way.marked(get()))
    client.until(b"\r\n\r\n")
    for number in range(10):
        event = b"data: %d\n\n" % number
        going[0].send(b"%x\r\n%b\r\n" % (len(event), event))
        assert client.until(event + b"\r\n").endswith(event + b"\r\n"), "before the next one is sent"
    client.socket.close()
    assert gone.wait(5), "the app notices that the client has gone"


def test_a_request_body_arrives_piece_by_piece(way: Way) -> None:
    arrived: list[bytes] = []

    def serve(stream: Stream) -> None:
        stream.until(b"\r\n\r\n")
        stream.send(lines(b"HTTP/1.1 200 OK", b"Content-Length: 30", DATE))
        for _ in range(10):
            arrived.append(stream.exactly(3))
            stream.send(arrived[-1])

    way.server.serve = serve
    client = way.connect()
    client.send(way.marked(get(b"Content-Length: 30", method=b"POST")))
    client.until(b"\r\n\r\n")
    for number in range(10):
        client.send(b"%03d" % number)
        assert client.exactly(3) == b"%03d" % number


@pytest.mark.parametrize("protocol", [b"websocket", b"SPDY/3.1", b"tcp"])
def test_an_upgraded_connection_carries_anything_both_ways(way: Way, protocol: bytes) -> None:
    data = os.urandom(1 << 20)

    def serve(stream: Stream) -> None:
        requests.append(stream.message())
        stream.send(agreed)
        for size in (1, 100, len(data)):
            stream.send(stream.exactly(size))

    agreed = lines(
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: " + protocol,
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: x",
        DATE,
    )
    requests: list[bytes] = []
    way.server.serve = serve
    client = way.connect()
    request = get(b"Connection: keep-alive, Upgrade", b"Upgrade: " + protocol, b"Sec-WebSocket-Key: x")
    client.send(way.marked(request))
    wanted = expected(way, request, agreed)
    assert client.message() == wanted.response
    assert requests == [wanted.request]
    for size in (1, 100):
        client.send(data[:size])
        assert client.exactly(size) == data[:size]
    client.send(data)
    assert hashlib.sha256(client.exactly(len(data))).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("status", [b"400 Bad", b"401 Who", b"426 Upgrade", b"503 Later"])
def test_an_upgrade_may_be_refused_with_a_reason(way: Way, status: bytes) -> None:
    request = get(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: x")
    seen = way.exchange(way.marked(request), answer(status=status, body=b"why"))
    assert seen.response.startswith(b"HTTP/1.1 " + status + b"\r\n")
    assert seen.response.endswith(b"\r\n\r\nwhy")


# The differences.


@shows("x-forwarded-proto")
@shows("answers")
def test_what_every_request_and_every_intercepted_answer_gets(way: Way) -> None:
    noisy = answer(b"X-Byway-Intercept: i-other; served-by=laptop", b"Cache-Control: max-age=60")
    seen = way.exchange(way.marked(get()), noisy)
    assert seen.request.split(b"\r\n") == [
        *filter(None, [b"GET /a HTTP/1.1", b"Host: shop", way.mark, PROTO]),
        b"",
        b"",
    ]
    if way.name == "intercepted":
        assert b"\r\nCache-Control: no-store\r\n" in seen.response
        assert seen.response.lower().count(b"x-byway-intercept") == 1
        assert way.added[0] in seen.response.replace(b"X-Byway-Intercept", b"x-byway-intercept")
    else:
        # Where the app answers, what it says of itself stays.
        assert seen.response == noisy


@shows("peer")
def test_the_app_sees_the_sidecar_as_its_peer_and_clients_share_connections(way: Way) -> None:
    peers: list[tuple[str, int]] = []

    def serve(stream: Stream) -> None:
        stream.message()
        peers.append(stream.socket.getpeername())
        stream.send(OK)

    way.server.serve = serve
    clients = [way.connect() for _ in range(3)]
    for client in clients:
        client.send(way.marked(get()))
        client.message()
    assert not {client.socket.getsockname() for client in clients} & set(peers)
    assert len(set(peers)) < len(clients)


STEERING = (
    b"X-Envoy-Retry-On: 5xx",
    b"x-envoy-max-retries: 3",
    b"X-Envoy-Upstream-Rq-Timeout-Ms: 1",
    b"x-envoy-upstream-rq-per-try-timeout-ms: 1",
    b"x-envoy-expected-rq-timeout-ms: 1",
    b"x-envoy-retry-grpc-on: cancelled",
    b"x-envoy-force-trace: 1",
    b"x-envoy-internal: true",
)


@shows("x-envoy")
@pytest.mark.parametrize("origin", [b"X-Forwarded-For: 10.1.1.1", b"X-Forwarded-For: 127.0.0.1", b"A: nowhere"])
def test_headers_that_steer_a_proxy_have_no_effect(way: Way, origin: bytes) -> None:
    """A client that could ask for retries would have requests sent twice that the app or the laptop has seen."""
    times: list[bytes] = []

    def respond(request: bytes) -> bytes:
        times.append(request)
        threading.Event().wait(0.05)  # longer than the time limits that the headers ask for
        return answer(status=b"500 No")

    way.serve_each(respond)
    client = way.connect()
    client.send(way.marked(get(origin, *STEERING)))
    assert client.message().startswith(b"HTTP/1.1 500 No\r\n")
    assert times == [expected(way, get(origin), OK).request]


@shows("hop-by-hop")
def test_hop_by_hop_headers_end_at_the_sidecar(way: Way) -> None:
    hops = (b"Connection: TE, X-Hop", b"TE: trailers, deflate", b"X-Hop: 1", b"Keep-Alive: timeout=5")
    check(
        way,
        get(*hops, b"Proxy-Connection: keep-alive"),
        answer(b"Connection: close", b"Keep-Alive: timeout=5"),
        arrives=get(b"TE: trailers"),
        returns=answer(),
    )


@shows("hop-by-hop")
def test_the_upgrade_to_h2c_is_not_passed_on(way: Way) -> None:
    request = get(b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AA")
    seen = way.exchange(way.marked(request))
    assert sorted(seen.request.split(b"\r\n")) == sorted(expected(way, get(), OK).request.split(b"\r\n"))


@shows("host-first")
def test_the_order_of_headers(way: Way) -> None:
    request = lines(b"GET / HTTP/1.1", b"A: 1", b"hOST: shop", b"B: 2")
    encoding = b"Transfer-Encoding: chunked"
    seen = way.exchange(way.marked(request), lines(b"HTTP/1.1 200 OK", encoding, DATE, b"A: 1", body=b"0\r\n\r\n"))
    assert seen.request == expected(way, lines(b"GET / HTTP/1.1", b"hOST: shop", b"A: 1", b"B: 2"), OK).request
    assert seen.response == lines(b"HTTP/1.1 200 OK", DATE, b"A: 1", *way.added, encoding, body=b"0\r\n\r\n")


@shows("joined")
def test_some_repeated_headers_become_one_line(way: Way) -> None:
    names = [b"Accept", b"Accept-Encoding", b"Cache-Control", b"Via", b"X-Forwarded-For"]
    pairs = [name + value for name in names for value in (b": a", b": b")]
    joined = [name + b": a,b" for name in names]
    answers = [b"Vary", b"Via"]
    check(
        way,
        get(*pairs),
        answer(*(name + value for name in answers for value in (b": a", b": b"))),
        arrives=get(*joined),
        returns=answer(*(name + b": a,b" for name in answers)),
    )


@shows("repeated-case")
def test_a_repeated_name_is_spelled_as_at_first(way: Way) -> None:
    check(
        way,
        get(b"x-Tag: 1", b"X-TAG: 2"),
        answer(b"set-cookie: a=1", b"Set-Cookie: b=2"),
        arrives=get(b"x-Tag: 1", b"x-Tag: 2"),
        returns=answer(b"set-cookie: a=1", b"set-cookie: b=2"),
    )


@shows("blanks")
def test_blanks_around_values_and_folded_lines(way: Way) -> None:
    check(
        way,
        get(b"A:x", b"B:  \t y  z ", b"C:", b"D: 1\r\n 2"),
        answer(b"A:x", b"B:   y  "),
        arrives=get(b"A: x", b"B: y  z", b"C: ", b"D: 1 2"),
        returns=answer(b"A: x", b"B: y"),
    )


@shows("date")
def test_a_response_without_date_gets_one(way: Way) -> None:
    bare = lines(b"HTTP/1.1 200 OK", b"Content-Length: 2", body=b"ok")
    seen = way.exchange(way.marked(get()), bare)
    added = [line for line in seen.response.split(b"\r\n") if line.startswith(b"date: ")]
    assert len(added) == 1
    assert seen.response.replace(added[0] + b"\r\n", b"") == expected(way, get(), bare).response


@shows("content-length")
@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"PROPFIND"])
def test_a_request_that_says_nothing_of_its_body_gets_a_length(way: Way, method: bytes) -> None:
    seen = way.exchange(way.marked(get(method=method)))
    assert seen.request == _more(get(method=method), way.mark, PROTO, b"content-length: 0")


@shows("chunks")
def test_chunk_boundaries_and_extensions_are_not_kept(way: Way) -> None:
    body = b"3;a=b\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    request = get(b"Transfer-Encoding: chunked", method=b"POST", body=body)
    seen = way.exchange(way.marked(request), answer())
    assert b";a=b" not in seen.request
    assert _dechunked(seen.request) == b"abcde"


@shows("chunks")
def test_a_response_that_ends_with_its_connection_becomes_chunked(way: Way) -> None:
    def serve(stream: Stream) -> None:
        stream.message()
        stream.send(lines(b"HTTP/1.1 200 OK", DATE, body=b"until the end"))
        stream.socket.shutdown(socket.SHUT_WR)

    way.server.serve = serve
    client = way.connect()
    client.send(way.marked(get()))
    response = client.message()
    assert b"\r\ntransfer-encoding: chunked\r\n" in response
    assert _dechunked(response) == b"until the end"


def _dechunked(message: bytes) -> bytes:
    body, rest = b"", message.partition(b"\r\n\r\n")[2]
    while size := int(rest.partition(b"\r\n")[0].split(b";")[0], 16):
        rest = rest.partition(b"\r\n")[2]
        body, rest = body + rest[:size], rest[size + 2 :]
    return body


@shows("trailers")
def test_trailers_pass_in_lower_case(way: Way) -> None:
    def body(name: bytes) -> bytes:
        return b"3\r\nabc\r\n0\r\n" + name + b": 1\r\n\r\n"

    head = (b"Trailer: X-Sum", b"Transfer-Encoding: chunked")

    def request(name: bytes) -> bytes:
        return get(*head, method=b"POST", body=body(name))

    def response(name: bytes) -> bytes:
        return lines(b"HTTP/1.1 200 OK", DATE, *head, body=body(name))

    check(way, request(b"X-Sum"), response(b"X-Sum"), arrives=request(b"x-sum"), returns=response(b"x-sum"))


@shows("http-1.0")
@pytest.mark.parametrize("host", [b"Host: shop", b""])
def test_http_1_0_is_answered_in_kind(way: Way, host: bytes) -> None:
    request = lines(*filter(None, [b"GET /a HTTP/1.0", host, b"X: y"]))
    response = lines(b"HTTP/1.0 200 OK", b"Content-Length: 2", DATE, body=b"ok")
    seen = way.exchange(way.marked(request), response)
    arrived = seen.request.split(b"\r\n")
    assert arrived[0] == b"GET /a HTTP/1.1"
    assert (host or b"host: localhost") in arrived
    assert seen.response == _more(response, *way.added, b"connection: close")


@shows("absolute-form")
def test_the_absolute_form_is_taken_apart(way: Way) -> None:
    request = get(path=b"http://other:81/abs?x=1")
    arrives = lines(b"GET /abs?x=1 HTTP/1.1", b"Host: other:81")
    check(way, request, arrives=arrives)


@shows("reason")
def test_an_empty_reason_becomes_the_standard_one(way: Way) -> None:
    check(way, get(), answer(status=b"404 "), returns=answer(status=b"404 Not Found"))


REFUSED = {
    "a fragment": (get(path=b"/a#b"), b"400"),
    "a path outside ASCII": (get(path=b"/\xc3\xa9"), b"400"),
    "no Host": (lines(b"GET / HTTP/1.1", b"A: 1"), b"400"),
    "a length and chunks": (
        get(b"Content-Length: 3", b"Transfer-Encoding: chunked", method=b"POST", body=b"3\r\nabc\r\n0\r\n\r\n"),
        b"400",
    ),
    "a host that can't be": (lines(b"GET / HTTP/1.1", b"Host: a b"), b"400"),
    "an empty forwarded protocol": (get(b"X-Forwarded-Proto: "), b"404"),
    "OPTIONS *": (get(path=b"*", method=b"OPTIONS"), b"404"),
    "CONNECT": (lines(b"CONNECT shop:80 HTTP/1.1", b"Host: shop:80"), b"404"),
    "a transfer encoding": (get(b"Transfer-Encoding: gzip, chunked", method=b"POST", body=b"0\r\n\r\n"), b"501"),
    "another upgrade": (get(b"Connection: Upgrade", b"Upgrade: foo"), b"403"),
}


@shows("refused")
@pytest.mark.parametrize(("request_", "status"), REFUSED.values(), ids=REFUSED)
def test_what_envoy_refuses_never_reaches_the_app(way: Way, request_: bytes, status: bytes) -> None:
    seen = way.exchange(way.marked(request_))
    assert seen.response[9:12] == status
    assert not seen.request
    assert b"served-by=laptop" not in seen.response
    assert b"served-by=cluster" not in seen.response


@shows("broken")
def test_an_app_that_breaks_off_or_speaks_no_http(way: Way) -> None:
    def broken(stream: Stream) -> None:
        stream.message()
        stream.socket.shutdown(socket.SHUT_RDWR)

    way.server.serve = broken
    client = way.connect()
    client.send(way.marked(get()))
    assert client.message()[9:12] == b"503"
    twice = lines(b"HTTP/1.1 200 OK", b"Content-Length: 2", b"Content-Length: 2", DATE, body=b"ok")
    assert way.exchange(way.marked(get()), twice).response[9:12] == b"502"


@shows("half-closed")
def test_a_client_that_closes_its_sending_side_gets_no_answer(way: Way) -> None:
    arrived, answered = threading.Event(), threading.Event()

    def serve(stream: Stream) -> None:
        stream.message()
        arrived.set()
        answered.wait(5)
        stream.send(OK)

    way.server.serve = serve
    client = way.connect()
    client.send(way.marked(get()))
    assert arrived.wait(5)
    client.socket.shutdown(socket.SHUT_WR)
    assert client.rest() == b""
    answered.set()


@shows("half-closed")
def test_an_upgraded_connection_ends_when_the_client_closes_its_sending_side(way: Way) -> None:
    def serve(stream: Stream) -> None:
        stream.message()
        stream.send(lines(b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade"))
        stream.send(stream.rest() + b" arrived")

    way.server.serve = serve
    client = way.connect()
    client.send(way.marked(get(b"Connection: Upgrade", b"Upgrade: websocket")))
    assert client.message().startswith(b"HTTP/1.1 101 ")
    client.send(b"all")
    client.socket.shutdown(socket.SHUT_WR)
    assert client.rest() == b""


@shows("upgrade-200")
def test_a_200_to_an_upgrade_request_loses_its_body(way: Way) -> None:
    request = get(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: x")
    response = way.exchange(way.marked(request), answer()).response
    assert response.startswith(b"HTTP/1.1 200 OK\r\n")
    assert response.endswith(b"\r\ncontent-length: 0\r\n\r\n")


@shows("limits")
def test_the_limits_of_headers(way: Way) -> None:
    many = [b"X-%d: 1" % number for number in range(10_001)]
    assert way.exchange(way.marked(get(*many))).response[9:12] == b"431"
    assert way.exchange(way.marked(get()), answer(*many)).response[9:12] == b"502"


def test_every_difference_that_is_told_is_shown() -> None:
    assert set(DIFFERENCES) == SHOWN
