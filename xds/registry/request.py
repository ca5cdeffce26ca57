"""An HTTP request as far as matching looks at it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


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
        """Every value of a header, in order; `name` in lower case."""
        return (value for key, value in self.headers if key.lower() == name)
