"""What an error of the manager means for the session: try again, or an end that only the user can change."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from grpc import StatusCode

from xds.terminal.words import plain


class LinkState(StrEnum):
    """How the daemon stands with the manager."""

    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    REFUSED = "refused"
    ENDED = "ended"

    @property
    def final(self) -> bool:
        """Trying again would change nothing."""
        return self in {LinkState.REFUSED, LinkState.ENDED}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state that follows from an error, and a sentence that says why and what to do."""

    state: LinkState
    detail: str


AGAIN = "run `byway connect`"


ADVICE = re.compile(r"; (?:run )?`byway [^;]*$")


def said(details: str) -> str:
    """The manager's words without their advice, which follows in ours."""
    return ADVICE.sub("", plain(details).rstrip("."))


REFUSALS = {StatusCode.PERMISSION_DENIED, StatusCode.INVALID_ARGUMENT, StatusCode.FAILED_PRECONDITION}


def unreachable(manager: str, details: str) -> str:
    """Why the manager does not answer, from what gRPC says about it."""
    text = details.lower()
    if "connection refused" in text:
        reason = "connection refused"
    elif "dns" in text or "name resolution" in text or "name or service not known" in text:
        reason = "its name can't be resolved"
    elif "deadline" in text or "timed out" in text or "timeout" in text:
        reason = "it does not answer"
    elif not details or "socket closed" in text or "goaway" in text or "reset" in text or "stream removed" in text:
        reason = "the connection was lost"
    else:
        reason = plain(details)
    return f"the manager at {manager} can't be reached: {reason}"


def judge_connect(code: StatusCode, details: str, *, manager: str, token_file: Path) -> Verdict:
    """What a failed Connect means."""
    match code:
        case StatusCode.UNAUTHENTICATED:
            why = f" ({said(details)})" if details else ""
            refused = f"the manager at {manager} does not accept the token in {token_file}{why}"
            return Verdict(LinkState.REFUSED, f"{refused}; put a valid token there, then {AGAIN}")
        case StatusCode.ABORTED:
            return taken_over(details)
        case StatusCode.NOT_FOUND:
            return ended(details)
        case StatusCode.UNIMPLEMENTED:
            text = f"what answers at {manager} is not a Byway manager, or one too old for this client"
            return Verdict(LinkState.REFUSED, f"{text} ({plain(details)}); check --manager, then {AGAIN}")
        case _ if code in REFUSALS:
            return Verdict(LinkState.REFUSED, f"the manager at {manager} refuses: {plain(details)}; then {AGAIN}")
        case _:
            return Verdict(LinkState.RECONNECTING, unreachable(manager, details))


def judge_attend(code: StatusCode, details: str, *, manager: str) -> Verdict:
    """What the end of Attend means."""
    match code:
        case StatusCode.ABORTED:
            return taken_over(details)
        case StatusCode.UNAUTHENTICATED:
            text = f"the manager at {manager} no longer accepts this session ({said(details) or 'no reason given'})"
            return Verdict(LinkState.REFUSED, f"{text}; {AGAIN} for a new one")
        case StatusCode.NOT_FOUND:
            return ended(details)
        case _ if code in REFUSALS:
            return Verdict(LinkState.REFUSED, f"the manager at {manager} refuses: {plain(details)}; {AGAIN}")
        case _:
            return Verdict(LinkState.RECONNECTING, unreachable(manager, details))


def taken_over(details: str) -> Verdict:
    """Two copies of a daemon must not take the session from each other for ever: the older one gives up.

    What connecting anew brings is the manager's to say: this session where our token is still its token, else another.
    """
    words = said(details).removeprefix("this session was taken over by ")
    why = f" ({words})" if words else ""
    text = f"another daemon has taken over this session{why}"
    return Verdict(LinkState.REFUSED, f"{text}; {AGAIN} to connect here again")


def ended(details: str) -> Verdict:
    """The manager does not have the session any more."""
    why = said(details).removeprefix("the session has ended").lstrip(":; ").removeprefix("your session was ended: ")
    text = "the session has ended" + (f": {why}" if why else "")
    return Verdict(LinkState.ENDED, f"{text}; {AGAIN} for a new one")
