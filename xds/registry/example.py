"""Requests in words and as command lines: what an example or a witness looks like to a user."""

from __future__ import annotations

from collections.abc import Iterator

from xds.registry.match import Match
from xds.registry.overlap import example_request
from xds.registry.request import Request

DEFAULT_AUTHORITY = Request().authority


def curl_args(match: Match, *, base: str = "http://localhost") -> list[str] | None:
    """The words of a curl command whose request satisfies the match, None where no such request is known.

    `base` is where the workload is reached, without a path. `shlex.join` prints the command line.
    """
    request = example_request(match)
    if request is None or any("\ud800" <= char <= "\udfff" for _, value in request.headers for char in value):
        # Bytes that are no UTF-8 can't be typed.
        return None
    return curl(request, base=base)


def curl(request: Request, *, base: str = "http://localhost") -> list[str]:
    """The words of the curl command that sends this request to `base`."""
    words = ["curl"]
    if request.method == "HEAD":
        words.append("--head")
    elif request.method != "GET":
        words += ["-X", request.method]
    if request.authority != DEFAULT_AUTHORITY:
        words += ["-H", f"Host: {request.authority}"]
    for name, value in request.headers:
        # curl drops a header whose value is empty; `name;` sends it.
        words += ["-H", f"{name}: {value}" if value else f"{name};"]
    # Without these curl would resolve `/../` and expand `[1-3]` and `{a,b}` itself.
    if "/." in request.path:
        words.append("--path-as-is")
    if any(char in request.path for char in "[]{}"):
        words.append("--globoff")
    return [*words, f"{base}{request.path}"]


def describe_request(request: Request) -> str:
    """The request in one line that can be printed: `GET /api?x=1 with x-user: bob, baggage: team=x`."""
    parts = list(_parts(request))
    line = f"{request.method} {request.path}" + (f" with {', '.join(parts)}" if parts else "")
    return line.encode("utf-8", "backslashreplace").decode()


def _parts(request: Request) -> Iterator[str]:
    if request.authority != DEFAULT_AUTHORITY:
        yield f"host: {request.authority}"
    for name, value in request.headers:
        yield f"{name}: {value}" if value else f"an empty {name}"
