"""The variables by which programs use the proxy, and how a shell sets and unsets them.

There is no standard: some programs read the upper-case names, some the lower-case ones, curl `http_proxy` only in
lower case (https://curl.se/docs/manpage.html#ENVIRONMENT). `socks5h` leaves names to the proxy, where `socks5` would
look them up here.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping

MARK = "BYWAY_PROXY"
"""Says that the variables are ours, so that Byway itself doesn't follow them to the manager."""
LOCAL = ("localhost", "127.0.0.1", "::1")
NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
ALL_NAMES = (MARK, *NAMES, *(name.lower() for name in NAMES))


def variables(address: str, password: str, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """What to set for a proxy at HOST:PORT. What NO_PROXY names already stays named."""
    environment = os.environ if environment is None else environment
    user = f"byway:{password}@" if password else ""
    web, socks = f"http://{user}{address}", f"socks5h://{user}{address}"
    before = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    kept = [each.strip() for each in before.split(",") if each.strip()]
    values = (web, web, socks, ",".join(dict.fromkeys([*LOCAL, *kept])))
    found = {MARK: address, **dict(zip(NAMES, values, strict=True))}
    return found | {name.lower(): found[name] for name in NAMES}


def exports(values: Mapping[str, str]) -> str:
    """Lines for a POSIX shell."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())


def unsets() -> str:
    """Lines for a POSIX shell that take them back."""
    return f"unset {' '.join(ALL_NAMES)}\n"


def without_ours(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which our proxy isn't, for Byway's own connections: the way to the manager must not lead
    through the session that it makes. Somebody else's proxy stays."""
    mark = environment.get(MARK)
    if not mark:
        return dict(environment)
    ours = {name for name in ALL_NAMES if mark in environment.get(name, "")}
    return {name: value for name, value in environment.items() if name not in ours}
