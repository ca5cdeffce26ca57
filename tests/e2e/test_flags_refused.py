"""What `byway intercept` refuses: exactly what it says, that it names the flag, and that nothing is left of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.commands import Done, run_all
from tests.e2e.flagworld import FlagWorld, flag_world, intercepts
from xds.registry.regex import program_size, wrap

HEADER, BAGGAGE, QUERY, METHOD = "--http-header", "--baggage", "--http-query", "--http-method"
EQUAL, PREFIX, REGEX = "--http-path-equal", "--http-path-prefix", "--http-path-regex"
SEEN_BY_PROXIES = "is set by proxies on every request; choose a header that only you send"
HOP = "is a hop-by-hop header, which the next proxy replaces; choose another"
BLANK = "a value never begins or ends with a blank; leave it out"
ALL = "--http-header all means “whatever the headers”; leave out the other header or baggage flags"
SHOP_PORTS = "its ports are 8080 (web), 8081 (admin)"
HELP = "; see `byway intercept --help`"
SECURE = (
    "port 8443 (secure) of dev/deployment/mixed ends TLS in the app, so the sidecar can't see headers or paths there"
)
WHOLE = "without --http-* flags the whole port can be intercepted"
UDP = "--port: port 53 (dns) of dev/deployment/mixed is UDP; intercepting UDP: not yet"
VISIBLE = "use --http-header auto and send the header that is printed"

LARGE = "a{1000}" * 5

CONDITIONS: dict[tuple[str, ...], str] = {
    (HEADER, "Coder: Bob"): "--http-header Coder: Bob: did you mean Coder=Bob?",
    (HEADER, ""): "--http-header : the header name is empty",
    (HEADER, "=x"): "--http-header =x: the header name is empty",
    (HEADER, "a b=1"): "--http-header a b=1: ' ' can't be part of a header name",
    (HEADER, "é=1"): "--http-header é=1: 'é' can't be part of a header name",
    (HEADER, ":path=/x"): "--http-header :path=/x: :path is a pseudo header; use --http-path-equal, -prefix or -regex",
    (HEADER, ":method=GET"): "--http-header :method=GET: :method is a pseudo header; use --http-method",
    (HEADER, ":scheme=x"): "--http-header :scheme=x: :scheme is a pseudo header; only :authority can be asked for",
    (HEADER, "connection=close"): f"--http-header connection=close: connection {HOP}",
    (HEADER, "TE=trailers"): f"--http-header TE=trailers: te {HOP}",
    (HEADER, "X-Forwarded-For=1"): f"--http-header X-Forwarded-For=1: x-forwarded-for {SEEN_BY_PROXIES}",
    (HEADER, "x-envoy-foo"): f"--http-header x-envoy-foo: x-envoy-foo {SEEN_BY_PROXIES}",
    (HEADER, "X-Request-Id=1"): f"--http-header X-Request-Id=1: x-request-id {SEEN_BY_PROXIES}",
    (HEADER, "x-byway-intercept=1"): "--http-header x-byway-intercept=1: headers that begin with x-byway- are Byway's "
    "own; choose another",
    (HEADER, "baggage=a=1"): "--http-header baggage=a=1: baggage is a list; ask for one member of it with --baggage "
    "KEY=VALUE",
    (HEADER, "x-user= alice"): f"--http-header x-user= alice: {BLANK}",
    (HEADER, "x-user=alice "): f"--http-header x-user=alice : {BLANK}",
    (HEADER, "x-user=a\tb"): "--http-header x-user=a\\tb: control character '\\t' at position 1 of the value",
    (HEADER, "x-user^="): "--http-header x-user^=: the prefix is empty; write the name alone for “present”",
    (HEADER, "x-user~="): "--http-header x-user~=: the regular expression is empty; give one, or drop the operator for "
    "“present”",
    (HEADER, "x-user~=a(b"): "--http-header x-user~=a(b: not a valid RE2 expression: missing ) at position 1",
    (HEADER, "x-user~=[a"): "--http-header x-user~=[a: not a valid RE2 expression: missing ] at position 0",
    (HEADER, r"x-user~=a\Qb"): r"--http-header x-user~=a\Qb: \Q at position 1 has no \E; add it",
    (HEADER, "x-user~=é"): "--http-header x-user~=é: 'é' at position 0 is not ASCII, and bytes are compared; write "
    r"\xC3\xA9, or compare without a regular expression",
    (
        HEADER,
        "x-user~=(?=a)",
    ): "--http-header x-user~=(?=a): not a valid RE2 expression: invalid perl operator '(?=' at position 0",
    (HEADER, "x-user~=a{1001}"): "--http-header x-user~=a{1001}: not a valid RE2 expression: invalid repetition size "
    "'{1001}' at position 1",
    (HEADER, f"x-user~={LARGE}"): f"--http-header x-user~={LARGE}: the expression is too large: "
    f"{program_size(wrap(LARGE))} instructions, at most 4096 are allowed; shorten it or use smaller repetition counts",
    (HEADER, "x-user=a", HEADER, "X-User=b"): "--http-header x-user=a and --http-header x-user=b: both ask for header "
    "x-user; to say “or”, use one: --http-header 'x-user~=^a$|^b$'",
    (HEADER, "x-user=a.b", HEADER, "x-user^=c"): "--http-header x-user=a.b and --http-header x-user^=c: both ask for "
    r"header x-user; to say “or”, use one: --http-header 'x-user~=^a\.b$|^c'",
    (
        HEADER,
        ":authority=a",
        HEADER,
        "host=b",
    ): "--http-header :authority=a and --http-header :authority=b: both ask for "
    "authority; to say “or”, use one: --http-header ':authority~=^a$|^b$'",
    (HEADER, "all", HEADER, "x=1"): ALL,
    (HEADER, "all", BAGGAGE, "x=1"): ALL,
    (HEADER, "auto", HEADER, "all"): ALL,
    (BAGGAGE, ""): "--baggage : the baggage key is empty",
    (BAGGAGE, "a b=1"): "--baggage a b=1: ' ' can't be part of a baggage key",
    (BAGGAGE, "team: x"): "--baggage team: x: did you mean team=x?",
    (BAGGAGE, "k~=x"): "--baggage k~=x: a baggage value may be percent-encoded, which no regular expression sees "
    "through; use k=VALUE or k^=PREFIX",
    (BAGGAGE, "k^="): "--baggage k^=: the prefix is empty; write the name alone for “present”",
    (BAGGAGE, "k=" + "x" * 1100): f"--baggage k={'x' * 1100}: the value is too long to be compared; shorten it or use "
    "k^=PREFIX",
    (
        BAGGAGE,
        "k=1",
        BAGGAGE,
        "k=2",
    ): "--baggage k=1 and --baggage k=2: both ask for baggage k; a request can't satisfy two, so make two intercepts",
    (EQUAL, "a"): "--http-path-equal a: a path begins with a slash; did you mean --http-path-equal /a?",
    (EQUAL, ""): "--http-path-equal : a path begins with a slash; did you mean --http-path-equal /?",
    (EQUAL, "/a?x=1"): "--http-path-equal /a?x=1: the query string never takes part in the path; leave out '?x=1' and "
    "ask for query keys with --http-query KEY=VALUE",
    (EQUAL, "/a b"): "--http-path-equal /a b: a path has no blanks; write them percent-encoded (%20), as they are sent",
    (EQUAL, "/é"): "--http-path-equal /é: paths are sent percent-encoded; did you mean --http-path-equal /%C3%A9?",
    (PREFIX, "/a#b"): "--http-path-prefix /a#b: a fragment (#…) is never sent to a server; leave it out",
    (PREFIX, ""): "--http-path-prefix : a path begins with a slash; did you mean --http-path-prefix /?",
    (REGEX, ""): "--http-path-regex : the regular expression is empty; give one, or drop the operator for “present”",
    (REGEX, "a)("): "--http-path-regex a)(: not a valid RE2 expression: unexpected ) at position 1",
    (EQUAL, "/a", PREFIX, "/b"): "--http-path-equal and --http-path-prefix: give at most one path flag",
    (METHOD, "get"): "--http-method get: methods are case-sensitive; did you mean GET?",
    (METHOD, "GE T"): "--http-method GE T: ' ' can't be part of a method",
    (METHOD, ""): "--http-method : the method is empty",
    (QUERY, ""): "--http-query : the query key is empty",
    (
        QUERY,
        "a=b c",
    ): "--http-query a=b c: ' ' is never part of a query key or value; write it percent-encoded, as it is sent",
    (QUERY, "a=1", QUERY, "a=2"): "--http-query a=1 and --http-query a=2: both ask for query a; to say “or”, use one: "
    "--http-query 'a~=^1$|^2$'",
    (QUERY, "a~=("): "--http-query a~=(: not a valid RE2 expression: missing ) at position 0",
    ("--shared", HEADER, "auto"): "--shared is for global intercepts; leave out the --http-* and --baggage flags",
    ("--name", "a b"): "--name: 'a b' must be printable, without blanks and slashes, at most 100 long",
    ("--name", "a/b"): "--name: 'a/b' must be printable, without blanks and slashes, at most 100 long",
    ("--name", "x" * 101): f"--name: '{'x' * 101}' must be printable, without blanks and slashes, at most 100 long",
    ("--address", "nosuch.example"): "--address: 'nosuch.example' is no IP address; Envoy needs an address, not a name",
    ("--when-down", "maybe"): f"invalid value for '--when-down': 'maybe' is not one of 'cluster', 'fail'{HELP}",
    ("--env-file", "/nosuch/x"): "--env-file: there is no directory /nosuch",
    ("--env-json", "/"): "--env-json: / is a directory",
    ("--timeout", "0"): f"invalid value for '--timeout': 0.0 is not in the range 0.1<=x<=86400.0{HELP}",
    ("-o", "xml"): f"invalid value for '-o' / '--output': 'xml' is not one of 'table', 'wide', 'json', 'yaml'{HELP}",
    ("--frobnicate",): f"no such option '--frobnicate'{HELP}",
    ("--",): "there is no command after --; leave -- out, or give the command to run",
    ("--", "nosuchcommand"): "there is no command 'nosuchcommand' to run; check the words after --",
    # What Telepresence has is known by name.
    ("--replace",): "--replace: not yet",
    ("--mount=/x",): "byway intercept --mount: not yet; Byway mounts no volumes",
    ("--docker-run",): "byway intercept --docker-run: not yet; --env-file FILE gives your container the workload's "
    "environment",
    ("--preview-url",): f"byway intercept --preview-url: not yet; {VISIBLE}",
    ("--ingress-host", "x"): f"byway intercept --ingress-host: not yet; {VISIBLE}",
    ("--service", "x"): "byway intercept --service: not yet; name the workload, and its port with --port LOCAL:REMOTE",
    ("--mechanism", "http"): "byway intercept --mechanism: not yet; leave it out: --http-header makes the intercept "
    "personal",
    ("--http-meta", "x=1"): "byway intercept --http-meta: not yet; use --http-header",
    ("--wiretap",): "byway intercept --wiretap: not yet",
    ("--to-pod", "1"): "byway intercept --to-pod: not yet",
}
"""Flags that are refused beside `shop --port 1:web`."""

WHOLE_LINES: dict[tuple[str, ...], str] = {
    (): "which workload? byway intercept WORKLOAD --port LOCAL[:REMOTE]; see `byway list`",
    ("shop",): "--port is missing: on which port does your process listen? --port 8080, or --port 8080:http where the "
    "workload has several ports",
    ("shop", "8080", "-p", "1:web"): "'8080' is one word too many; for a port say --port 8080",
    ("shop", "x=1", "-p", "1:web"): "'x=1' is one word too many; for a header say --http-header x=1",
    ("shop", "only", "-p", "1:web"): "one workload at a time, not also 'only'; a command to run goes after --",
    ("8080:web",): "'8080:web' is not a workload; for a port say --port 8080:web",
    (
        "only",
        "-p",
        "1",
    ): "WORKLOAD: 'only' may be any of dev/deployment/only, staging/deployment/only; name one in full",
    ("a/b/c/d", "-p", "1"): "WORKLOAD: 'a/b/c/d' is none of NAME, KIND/NAME, NAMESPACE/KIND/NAME",
    ("dev/deployment/shop", "-p", "1:web", "-n", "staging"): "--namespace: 'staging' contradicts WORKLOAD "
    "'dev/deployment/shop'",
    ("shop", "-p", "1"): f"--port: say which port of dev/deployment/shop, as LOCAL:REMOTE; {SHOP_PORTS}",
    ("shop", "-p", "web"): "--port web: it begins with the port on your laptop, a number; --port 8080:web?",
    ("shop", "-p", "0"): "--port 0: 0 is not a port number (1 to 65535)",
    ("shop", "-p", "1:70000"): "--port 1:70000: 70000 is not a port number (1 to 65535)",
    ("shop", "-p", "9" * 5000): f"--port {'9' * 5000}: {'9' * 5000} is not a port number (1 to 65535)",
    ("shop", "-p", "8080:"): "--port 8080:: the workload's port is missing after the colon; --port 8080, or 8080:http",
    ("shop", "-p", "1:nosuch"): f"--port: dev/deployment/shop has no port 'nosuch'; {SHOP_PORTS}",
    ("shop", "-p", "1:9999"): f"--port: dev/deployment/shop has no port '9999'; {SHOP_PORTS}",
    ("shop", "-p", "1:web/udp"): "--port 1:web/udp: UDP: not yet; Byway intercepts HTTP and TCP",
    ("shop", "-p", "a:b"): "--port a:b: 'a' is not a port number; LOCAL[:REMOTE], for example 8080:http",
    ("shop", "-p", "1:2:3"): "--port 1:2:3: too many colons; Byway maps no container ports; LOCAL[:REMOTE], as in "
    "8080:http",
    ("shop", "-p", "10.0.0.1:8080:web"): "--port 10.0.0.1:8080:web: '10.0.0.1' is not a port number; --address IP says "
    "where your process listens, if not on localhost",
    ("shop", "-p", "1:web", "-p", "2:web"): "two --port flags name the workload's port web; give each its own, as "
    "LOCAL:REMOTE",
    ("shop", "-p", "1:web", "-p", "2:8080"): "--port: the same port of the workload is named twice",
    ("shop", "-p", "1", "-p", "2"): "two --port flags name no port of the workload; give each its own, as LOCAL:REMOTE",
    ("mixed", "-p", "1:dns"): UDP,
    ("mixed", "-p", "1:53"): UDP,
    ("mixed", "-p", "1:secure", HEADER, "auto"): f"--port: {SECURE}; {WHOLE}",
    (
        "mixed",
        "-p",
        "1:redis",
        HEADER,
        "auto",
    ): "--port: port 6379 (redis) of dev/deployment/mixed is declared tcp, not "
    f"HTTP, so it has no headers or paths; {WHOLE}",
    ("nosuch", "-p", "1"): "there is no workload 'nosuch'; `byway list` shows what can be intercepted",
    ("shp", "-p", "1"): "there is no workload 'shp'; did you mean dev/deployment/shop?",
    ("shop", "-p", "1", "-n", "staging"): "there is no workload 'shop' in namespace 'staging'; did you mean "
    "dev/deployment/shop?",
    ("statefulset/shop", "-p", "1"): "there is no workload 'statefulset/shop'; did you mean dev/deployment/shop?",
}

REFUSED = {("shop", "-p", "1:web", *flags): message for flags, message in CONDITIONS.items()} | WHOLE_LINES
Before = list[dict[str, Any]]


@pytest.fixture(scope="module")
def world(short_path: Path) -> Iterator[FlagWorld]:
    with flag_world(short_path / "flags", "alice") as found:
        yield found


@pytest.fixture(scope="module")
def refused(world: FlagWorld) -> tuple[dict[tuple[str, ...], Done], Before, Before]:
    """How each command ended, and everybody's intercepts before and after all of them."""
    alice = world.laptop("alice")
    commands = [*REFUSED]
    before = intercepts(alice)
    done = run_all(alice, [["intercept", *words] for words in commands])
    return dict(zip(commands, done, strict=True)), before, intercepts(alice)


def short(words: object) -> str:
    return " ".join(words)[:60] if isinstance(words, tuple) else ""


@pytest.mark.parametrize(("words", "message"), REFUSED.items(), ids=short)
def test_it_is_refused_with_a_sentence_that_says_what_to_do(
    refused: tuple[dict[tuple[str, ...], Done], Before, Before], words: tuple[str, ...], message: str
) -> None:
    done = refused[0][words]
    assert done.stderr == f"Error: {message}\n"
    assert done.stdout == ""
    assert done.code == 2


def test_nothing_is_left_of_what_was_refused(refused: tuple[dict[tuple[str, ...], Done], Before, Before]) -> None:
    _, before, after = refused
    assert before == after == []


def test_the_command_itself_ends_the_same_way_and_tells_programs_as_data(world: FlagWorld) -> None:
    alice = world.laptop("alice")
    words = ("intercept", "shop", "-p", "1:web", HEADER, "Coder: Bob")
    done = alice.byway(*words, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: --http-header Coder: Bob: did you mean Coder=Bob?\n"
    done = alice.byway(*words, "-o", "json", check=False)
    assert (done.returncode, done.stderr) == (2, "")
    assert '"message": "--http-header Coder: Bob: did you mean Coder=Bob?"' in done.stdout
