"""What the user should hear of: kept for `byway status`, written to the log, shown on the desktop where that works, and
handed out once to whichever command line has a terminal to show it on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable

from xds.api.byway.daemon.v1 import PastNotification
from xds.api.byway.manager.v1 import Notification, NotificationLevel
from xds.terminal.words import plain

log = logging.getLogger(__name__)

KEPT = 50
DESKTOP_TIMEOUT = 5.0
Told = tuple[float, str, bool]
"""When (by the clock), what, and whether it is a warning."""


def desktop_command(text: str) -> list[str] | None:
    """The command that shows a text on this desktop; None where there is none or BYWAY_NOTIFY=0 forbids it."""
    if os.environ.get("BYWAY_NOTIFY") == "0":
        return None
    if sys.platform == "darwin" and (osascript := shutil.which("osascript")):
        # The text is an argument of the script, not a part of it: it may hold quotes.
        script = ["on run argv", 'display notification (item 1 of argv) with title "Byway"', "end run"]
        return [osascript, *(word for line in script for word in ("-e", line)), text]
    if notify := shutil.which("notify-send"):
        return [notify, "--app-name=byway", "--", "Byway", text]
    return None


async def show_on_desktop(command: list[str]) -> None:
    """Run it; a desktop that doesn't answer costs nothing but this task."""
    with contextlib.suppress(OSError, TimeoutError):
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(DESKTOP_TIMEOUT):
                await process.wait()
        finally:
            if process.returncode is None:
                process.kill()


class Notifications:
    """The last ones, the newest last."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._past: deque[Told] = deque(maxlen=KEPT)
        self._waiting: deque[Told] = deque(maxlen=KEPT)
        self._more = asyncio.Event()
        self._showing: set[asyncio.Task[None]] = set()

    def add(self, notifications: Iterable[Notification]) -> None:
        """Tell the user. Never blocks, never fails."""
        for each in notifications:
            self.tell(each.text, warning=each.level == NotificationLevel.WARNING)

    def tell(self, text: str, *, warning: bool) -> None:
        """Tell the user one thing. Others had a hand in the text: what could steer a terminal is taken out of it."""
        text = plain(text)
        told = (self._clock(), text, warning)
        self._past.append(told)
        self._waiting.append(told)
        self._more.set()
        log.log(logging.WARNING if warning else logging.INFO, "notification: %s", text)
        if command := desktop_command(text):
            task = asyncio.create_task(show_on_desktop(command))
            self._showing.add(task)
            task.add_done_callback(self._showing.discard)

    def past(self) -> list[PastNotification]:
        """As the daemon's status gives them."""
        return [self._message(told) for told in self._past]

    async def take(self, *, follow: bool) -> AsyncIterator[PastNotification]:
        """Each that was not taken yet; with `follow` those to come as well, until it is cancelled."""
        while True:
            while self._waiting:
                yield self._message(self._waiting.popleft())
            if not follow:
                return
            self._more.clear()
            await self._more.wait()

    def _message(self, told: Told) -> PastNotification:
        when, text, warning = told
        return PastNotification(seconds_ago=self._clock() - when, text=text, warning=warning)
