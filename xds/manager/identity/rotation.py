"""When signing keys come and go. Pure: keys are values, times are seconds since the epoch.

A key is published a while before it signs, so that every gateway knows it when the first token arrives, and stays after
it has signed for the last time until that token has expired:

    published ──LEAD──▶ signs ──PERIOD──▶ the next one signs ──KEPT──▶ gone

Times are kept over restarts, so they are wall-clock times, and that clock may be set back. Then whatever key there is
goes on signing: all that are published are known to gateways.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

TOKEN_SECONDS: Final = 600.0
"""How long a token is good for."""
PERIOD: Final = 24 * 3600.0
LEAD: Final = 3600.0
KEPT: Final = TOKEN_SECONDS + 300.0
"""A token's life, and what the clocks of gateways may be late."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key, its public id, and from when on it signs."""

    id: str
    signs_from: float
    private: ec.EllipticCurvePrivateKey

    def __repr__(self) -> str:
        return f"SigningKey({self.id!r}, signs_from={self.signs_from:.0f})"


Keys = tuple[SigningKey, ...]
"""In the order in which they sign; at least one."""


def signer(keys: Keys, now: float) -> SigningKey:
    """The one that signs now."""
    started = [key for key in keys if key.signs_from <= now]
    return started[-1] if started else keys[0]


def advance(keys: Keys, now: float, make: Callable[[float], SigningKey]) -> Keys:
    """The keys that there have to be now: those that are done with are gone, and the next one is there in time.

    `make` makes a key that signs from a time on. The same keys come back when nothing is due.
    """
    if not keys:
        return (make(now),)
    keys = tuple(key for key, follower in zip(keys, (*keys[1:], None), strict=True) if not _done(follower, now))
    *rest, newest = keys
    if newest.signs_from > now + PERIOD + LEAD:
        # It was planned by a clock that has been set back since: without this the old key would sign until then.
        return (*rest, replace(newest, signs_from=now + LEAD))
    if newest.signs_from + PERIOD - LEAD <= now:
        return (*keys, make(max(newest.signs_from + PERIOD, now + LEAD)))
    return keys


def _done(follower: SigningKey | None, now: float) -> bool:
    return follower is not None and follower.signs_from + KEPT <= now
