"""Random states and requests for `explain`: all that it claims to know, odd things more often than people do.

Conditions are typed as flags and requests as `byway explain` takes them, so that what Byway refuses never gets here.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from xds.compile.state import Reach, Routed
from xds.compile.twin import ASKED
from xds.registry.conditions import ConditionError, HttpFlags, parse_match
from xds.registry.errors import InvalidError
from xds.registry.intercept import Disposition, Intercept, InterceptSpec, Kind, PortMapping, Target
from xds.registry.match import Match
from xds.registry.overlap import example_request
from xds.registry.request import Request
from xds.registry.requestline import parse_request
from xds.registry.workload import Address, WorkloadId

KEY = "x-telepresence-id"
NAMES = ("x-user", "X-User", "x-team", KEY, "x_under", "x.a~b", "accept", "via", "user-agent", "cookie", "origin")
VALUES = ("", "a", "b", "ab", "A", "a b", "a,b", "a, b", "a.b@c.d", "a=b", "é", "a:b", "%61", "dev::qa", '"a"', "a;b")
BYTES = ("\udcff", "a\udcff", "\udca9\udcc3", "\udcc3", "a\tb", "aéb", "\udc80b", "a\u00a0b", "漢", "a" * 300)
REGEXES = (
    *("a", "^a$", "a|b", "^a.*b$", "(?i)a", r"\bb\b", "[^a]", "^.$", "dev::(qa|test)", r"^\S+@", r"\xC3", r"^$", "^"),
    *(
        r"\xC3\xA9",
        r"[\x80-\xff]",
        r"\C",
        r"\pL",
        "[[:alpha:]]",
        "(?s).",
        r"\Qa.b\E",
        "a{2,3}",
        "(?U)a+",
        r"\D$",
        "(?m)^b$",
    ),
    *(
        "a$|^b",
        r"\z",
        "^(?:a|b)$",
        r"[^\x00-\x7F]",
        "(?-s:.)",
        "%[0-9A-F]{2}",
        r"\W",
        r"(?i)\x41",
        "a*?$",
        r"\.",
        ",",
        "b,",
    ),
)
PATHS = (
    *("/", "/a", "/a/", "/a/b", "/ab", "/A", "//a", "/a//b", "/a%2Fb", "/a%2fb", "/a;v=1", "/a/../b", "/a/./b", "/a+b"),
    *(
        "/%41",
        "/a%",
        "/a%00",
        "/a,b",
        "/a|b",
        "/[a]",
        '/a"b',
        "/{a}",
        "/^a",
        "/a`b",
        "/<a>",
        "/~a",
        "/a:b",
        "/@a",
        "/a=b",
    ),
    *("/a&b", "/a\\b", "/*", "//", "///", "/a.b", "/a" * 99, "/a*b", "/$a", "/a!", "/(a)", "/a'b"),
)
PATH_REGEXES = (
    "a",
    "/a$",
    "^/a",
    "b",
    "^/[^/]*$",
    r"\.",
    "(?i)^/A",
    "//",
    "%2F",
    "^/a(/|$)",
    r"\\",
    ";v=",
    r"[|\]]",
    "^/$",
)
QUERIES = (
    *("", "", "?", "?q", "?q=", "?q=1", "?q=2&q=1", "?q=1&q=2", "?q=%31", "?&q=1", "?x&q=1&", "??q=1", "?x=/a", "?Q=1"),
    *(
        "?q==1",
        "?=1",
        "?q=1;x=2",
        "?%71=1",
        "?q=a+b",
        "?x=&q=",
        "?q=1&&x=1",
        "?q=1?2",
        "?q&q=1",
        "?x=q=1",
        "?q=1=",
        "?q=a,b",
    ),
)
AUTHORITIES = ("", "localhost", "a.b", "a.b:80", "A.B", "[::1]:80", "a_b", "a.b.", "127.0.0.1:8080", "x--y.z")
METHODS = (
    *("GET", "GET", "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"),
    "get",
    "M-SEARCH",
    "X!~`",
)
LINES = (
    *("", "k=a", "k=b", "k = a", "k=%61", "k=a;p=1", "k=a ; p", "x=1,k=a", "x=1, k=a ,y=2", "k=b,k=a", "K=a", "xk=a"),
    *("x=k=a", "x=1;k=a", "k", "k=", "k=a%2Cb", "k=a%2cb", "k=a,b", "k=a b", "k=é", "k=%C3%A9", "k=%c3\udca9", "k=%zz"),
    *(
        "x=\udcff,k=a",
        "k=a,x=\udcff",
        "k=ab",
        ",k=a",
        "k=a,",
        "k\t=\ta",
        "k==a",
        "k=a=b",
        "k=%",
        "k=%6",
        "k;p=a",
        "k;k=a",
    ),
    *(f"{KEY}=a", f"{KEY}=b,{KEY}=a", f"{KEY}=", f"{KEY}=%61", f"x=1;{KEY}=a", "m.x=a", "m.x=a b", "k=  a  ", "=a"),
)
MEMBERS = ("a", "b", "a,b", "é", "a b", "ab", "a=b", "a;b", "%61", "a%b", " a", "1")


def some_flags(random_: random.Random) -> HttpFlags:
    """The flags of one intercept."""
    kinds = random_.sample(
        ("header", "header", "header", "auto", "baggage", "path", "path", "method", "query", "host"), 3
    )
    flags = HttpFlags()
    for kind in kinds[: random_.choice((1, 1, 2, 2, 3))]:
        match kind:
            case "header":
                flags = replace(flags, headers=(*flags.headers, _asked(random_, random_.choice(NAMES), VALUES)))
            case "host":
                flags = replace(flags, headers=(*flags.headers, _asked(random_, ":authority", AUTHORITIES)))
            case "auto":
                flags = replace(flags, headers=(*flags.headers, "auto"))
            case "baggage":
                text = random_.choice(("k={}", "k={}", "k^={}", "k", "m.x={}")).format(random_.choice(MEMBERS))
                flags = replace(flags, baggage=(*flags.baggage, text))
            case "path":
                flags = replace(flags, path_equal=None, path_prefix=None, path_regex=None)
                match random_.choice("=^~"):
                    case "=":
                        flags = replace(flags, path_equal=random_.choice(PATHS))
                    case "^":
                        flags = replace(flags, path_prefix=random_.choice(PATHS))
                    case _:
                        flags = replace(flags, path_regex=random_.choice(PATH_REGEXES))
            case "method":
                flags = replace(flags, method=random_.choice(METHODS))
            case _:
                value = random_.choice(("", "1", "2", "%31", "/a", "a+b", "=1", "1;x=2", "a,b"))
                queries = (_asked(random_, random_.choice(("q", "q", "x", "%71")), (value,)),)
                flags = replace(flags, queries=queries)
    if not flags.headers and not flags.baggage and random_.random() < 0.6:
        flags = replace(flags, headers=("all",))
    return flags


def _asked(random_: random.Random, name: str, values: Sequence[str]) -> str:
    operator = random_.choice(("=", "=", "=", "^=", "~=", ""))
    return f"{name}{operator}{random_.choice(REGEXES if operator == '~=' else values) if operator else ''}"


def some_match(random_: random.Random) -> Match:
    """What one intercept asks for; never nothing."""
    while True:
        try:
            found = parse_match(some_flags(random_), key_name=KEY, key_value=random_.choice(("a", "b", "é", "a b")))
        except ConditionError:
            continue
        if found is not None:
            return found


def some_intercept(random_: random.Random, number: int, workload: WorkloadId, ports: Sequence[int]) -> Intercept:
    """One of a state; now and then one that has no routes."""
    kind = Kind.GLOBAL if random_.random() < 0.06 else Kind.PERSONAL
    spec = InterceptSpec(
        name=f"n{number}",
        workload=workload,
        ports=tuple(PortMapping(port, Target("localhost", 9000)) for port in ports),
        match=Match() if kind is Kind.GLOBAL else some_match(random_),
        kind=kind,
        shared=kind is Kind.GLOBAL,
    )
    routed = (Disposition.ACTIVE, Disposition.ACTIVE, Disposition.PENDING)
    disposition = random_.choice((*routed * 4, Disposition.DISPLACED, Disposition.REJECTED))
    return Intercept(f"i-{number:02}", "s", "alice@laptop", spec, random_.randrange(6), disposition)


def routed(intercepts: Sequence[Intercept]) -> tuple[Routed, ...]:
    """What compile gets of them."""
    reach = Reach(Address("192.0.2.1", 9000), up=True)
    return tuple(Routed(one, dict.fromkeys(one.spec.numbers, reach)) for one in intercepts if one.disposition.routed)


@dataclass(frozen=True, slots=True)
class Typed:
    """A request as it is typed."""

    line: str
    headers: tuple[str, ...]

    def parsed(self) -> Request:
        """Raises InvalidError."""
        return parse_request(self.line, self.headers)

    def raw(self, token: str) -> bytes:
        """As bytes, without a look at what it says."""
        hosts = [one for one in self.headers if one.lower().startswith("host:")]
        lines = [f"{self.line} HTTP/1.1", *self.headers, *([] if hosts else ["Host: a.b"]), f"{ASKED}: {token}"]
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")

    @property
    def names_others(self) -> bool:
        """Whether Connection takes a header away from the routes, which answer all the same."""
        return any(one.startswith("connection: x-") for one in self.headers)

    def __str__(self) -> str:
        return " ".join([repr(self.line), *(f"-H {one!r}" for one in self.headers)])


def some_typed(random_: random.Random, match: Match | None = None) -> Typed:
    """A request; with a match, near what it asks for."""
    found = _plain(random_)
    if match is not None and (aim := example_request(match)) is not None:
        # What the match needs, some of it taken away again and something else added.
        headers = [f"{name}: {value}" for name, value in aim.headers if random_.random() < 0.95]
        host = [f"Host: {aim.authority}"] if random_.random() < 0.95 else []
        line = f"{aim.method} {aim.path}" if random_.random() < 0.9 else found.line
        more = [one for one in found.headers if not one.lower().startswith("host:")]
        headers += random_.sample(more, k=min(len(more), random_.choice((0, 0, 1, 2))))
        random_.shuffle(headers)
        found = Typed(line, (*host, *headers))
    return found


def _plain(random_: random.Random) -> Typed:
    line = f"{random_.choice(METHODS)} {random_.choice(PATHS)}{random_.choice(QUERIES)}"
    if random_.random() < 0.03:
        line = line.replace(" /", f" http://{random_.choice(AUTHORITIES) or 'a.b'}/", 1)
    count = random_.choice((0, 1, 1, 2, 3, 4))
    lines = [f"{random_.choice(NAMES)}: {random_.choice(VALUES + VALUES + BYTES)}" for _ in range(count)]
    lines += [f"baggage: {random_.choice(LINES)}" for _ in range(random_.choice((0, 0, 1, 1, 2)))]
    lines += random_.choices(HARMLESS, k=random_.choice((0, 0, 0, 0, 0, 1, 2)))
    if random_.random() < 0.02:
        lines.append(random_.choice(UNROUTED))
    if random_.random() < 0.4:
        lines.append(f"Host: {random_.choice(AUTHORITIES)}")
    random_.shuffle(lines)
    return Typed(line, tuple(lines))


HARMLESS = (
    *("connection: close", "connection: keep-alive", "te: trailers", "content-length: 0", "expect: x", "pragma: a"),
    *("x-forwarded-proto: https", "x-forwarded-for: 1.2.3.4", "x-request-id: 7", "x-envoy-retry-on: 5xx", "date: x"),
    *("upgrade: websocket", "transfer-encoding: Chunked", "x-envoy-original-path: /a", "x-forwarded-host: a.b"),
    *("content-length: 5", "keep-alive: 1", "proxy-connection: close", "expect: 100-continue", "range: bytes=0-1"),
    *("upgrade: h2c", "connection: keep-alive, Upgrade", "connection: te", "upgrade: TCP", "connection: x-user"),
)
"""What is for the connection, or for proxies, and changes nothing, or is refused."""
UNROUTED = (
    *(
        "transfer-encoding: gzip",
        "transfer-encoding: ",
        "content-length: x",
        "content-length: +5",
        "content-length: 5,5",
    ),
    *("x-forwarded-proto: ", "Host: a b", "Host: ä", "Host: a/b", "Host: a|b", "x-user: \x01", "content-length: -1"),
    *("content-length: 99999999999999999999", "transfer-encoding: chunked, chunked", "Host: {a}", "Host: a\\b"),
)
"""What Envoy answers by itself, whatever else a request says."""


def parsed_or_none(typed: Typed) -> Request | None:
    """None for what nobody can intercept."""
    try:
        return typed.parsed()
    except InvalidError:
        return None
