"""What users are told: each session has a mailbox that its daemon's stream empties."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from xds.manager.pulse import Pulse
from xds.registry.change import Event, EventKind
from xds.registry.intercept import Intercept

KEPT = 50
"""Messages kept for a laptop that is away."""


@dataclass(frozen=True, slots=True)
class Message:
    """One sentence for a user; after the `last` one there is no session to tell anything more."""

    text: str
    warning: bool = False
    last: bool = False


@dataclass(slots=True)
class Mailbox:
    """Messages for one session, and a pulse that fires when there are more or when its state changed."""

    pulse: Pulse = field(default_factory=Pulse)
    messages: deque[Message] = field(default_factory=lambda: deque(maxlen=KEPT))

    def take(self) -> list[Message]:
        """Empty the box."""
        taken = list(self.messages)
        self.messages.clear()
        return taken


def message(event: Event) -> Message | None:
    """What the owner hears of an event; None where they did it themselves or have no use for it."""
    return _of_session(event) if event.intercept is None else _of_intercept(event, event.intercept)


def _of_session(event: Event) -> Message | None:
    if event.kind is EventKind.SESSION_ENDED and event.by != event.session.owner:
        return Message(f"your session was ended: {event.text}", warning=True, last=True)
    return None


def _of_intercept(event: Event, intercept: Intercept) -> Message | None:
    name = f"intercept {intercept.spec.name!r} of {intercept.spec.workload}"
    match event.kind:
        case EventKind.INTERCEPT_DISPLACED:
            yours = event.by.rpartition("@")[0] == event.session.user
            when = "while this laptop was away" if yours else "while you were idle"
            whose = "that one" if yours else "theirs"
            return Message(f"{name} was displaced by {event.by} {when}; it comes back when {whose} ends", warning=True)
        case EventKind.INTERCEPT_RESTORED:
            return Message(f"{name} is back: nothing is in its way any more")
        case EventKind.INTERCEPT_REJECTED:
            return Message(f"{name} was rejected by Envoy: {event.text}", warning=True)
        case EventKind.INTERCEPT_ENDED if event.by != intercept.owner:
            return Message(f"{name} was ended by {event.by}: {event.text}", warning=True)
        case _:
            return None


def place_message(intercept: Intercept, lost: str) -> Message:
    """What the owner hears when the workload or port of an intercept is `lost`, or, where that is empty, back."""
    name = f"intercept {intercept.spec.name!r} of {intercept.spec.workload}"
    if lost:
        return Message(f"{name} takes nothing: {lost} is not there any more", warning=True)
    return Message(f"{name}: its workload and ports are all there again")
