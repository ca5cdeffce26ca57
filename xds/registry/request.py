"""An HTTP request as far as matching looks at it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

FOLDED: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "access-control-request-headers",
        "access-control-request-method",
        "authorization",
        "cache-control",
        "content-encoding",
        "content-type",
        "expect",
        "grpc-accept-encoding",
        "grpc-timeout",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "origin",
        "pragma",
        "referer",
        "user-agent",
        "via",
        "x-client-trace-id",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-request-id",
    }
)
"""Headers whose repeated lines Envoy 1.40 joins by a comma when it reads them, so that routes see one line. All others
stay apart. An empty line adds nothing, not even the comma."""


@dataclass(frozen=True, slots=True)
class Request:
    """The head of one request, as it arrives at the sidecar.

    `path` is the request target with its query (`/a/b?x=1`). `headers` keeps order and repetition; names may be in any
    case. Values are text decoded as UTF-8 with `surrogateescape`, so that every byte string has exactly one form.
    """

    path: str = "/"
    method: str = "GET"
    authority: str = "localhost"
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def path_only(self) -> str:
        """The path without query and fragment; conditions on the path never see the query."""
        return self.path.partition("#")[0].partition("?")[0]

    @property
    def query(self) -> str:
        """What follows the first `?`, without the fragment; empty where there is none."""
        return self.path.partition("#")[0].partition("?")[2]

    def values(self, name: str) -> Iterator[str]:
        """Every value of a header as routes see it, in order; `name` in lower case."""
        found = (value for key, value in self.headers if key.lower() == name)
        return _folded(found) if name in FOLDED else found


def _folded(values: Iterator[str]) -> Iterator[str]:
    """The one line that Envoy makes of these; none where there is none."""
    listed = list(values)
    if listed:
        yield ",".join(filter(None, listed))
