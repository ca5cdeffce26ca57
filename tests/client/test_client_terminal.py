"""What is seen and typed on a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import select
import sys
from collections.abc import AsyncIterator

import pytest

from tests.client.fake import FakeManager
from tests.client.laptop import BYWAY, Laptop, until

CTRL_C = b"\x03"
COUNTER = """
import signal
count = 0
def interrupted(*_):
    global count
    count += 1
    print("interrupted", count, flush=True)
signal.signal(signal.SIGINT, interrupted)
print("ready", flush=True)
print("typed", input(), count, flush=True)
"""


class Terminal:
    """A process in the foreground of a terminal of its own."""

    def __init__(self, process: asyncio.subprocess.Process, keyboard: int) -> None:
        self.process = process
        self.screen = b""
        self._keyboard = keyboard
        asyncio.get_running_loop().add_reader(keyboard, self._read)

    def _read(self) -> None:
        try:
            self.screen += os.read(self._keyboard, 65536)
        except OSError:  # EIO: nobody has the terminal open any more.
            asyncio.get_running_loop().remove_reader(self._keyboard)

    def type(self, keys: bytes) -> None:
        os.write(self._keyboard, keys)

    async def ends(self) -> None:
        """Everything that was printed is on the screen."""
        while select.select([self._keyboard], [], [], 0)[0]:
            before = len(self.screen)
            await asyncio.sleep(0)
            if len(self.screen) == before:
                return

    async def shows(self, text: str) -> None:
        await until(lambda: text.encode() in self.screen)


@contextlib.asynccontextmanager
async def terminal(laptop: Laptop, *arguments: str, **environment: str) -> AsyncIterator[Terminal]:
    keyboard, screen = pty.openpty()
    # The first terminal that the leader of a session opens becomes the session's.
    opening = ["sh", "-c", 'tty=$1; shift; exec "$@" <"$tty" >"$tty" 2>&1', "sh", os.ttyname(screen)]
    process = await asyncio.create_subprocess_exec(
        *opening, *BYWAY, *arguments, env={**laptop.environment, "TERM": "xterm", **environment}, start_new_session=True
    )
    one = Terminal(process, keyboard)
    try:
        yield one
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        asyncio.get_running_loop().remove_reader(keyboard)
        os.close(keyboard)
        os.close(screen)


async def test_progress_is_shown_and_wiped(connected: Laptop, manager: FakeManager) -> None:
    manager.released.clear()
    async with terminal(connected, "intercept", "orders", "-p", "8080") as one:
        await one.shows("… orders-1  waiting")
        manager.released.set()
        await one.shows("Try it")
        assert await one.process.wait() == 0
        assert b"\x1b[2K" in one.screen.partition("✓ orders-1  confirmed".encode())[2]


async def test_ctrl_c_during_creation_leaves_nothing(connected: Laptop, manager: FakeManager) -> None:
    manager.released.clear()
    async with terminal(connected, "intercept", "orders", "-p", "8080") as one:
        await one.shows("waiting")
        one.type(CTRL_C)
        assert await one.process.wait() == 130
    assert manager.session.intercepts == {}


async def test_ctrl_c_reaches_the_command_once(connected: Laptop, manager: FakeManager) -> None:
    words = ["intercept", "orders", "-p", "8080", "--", sys.executable, "-c", f"import time; time.sleep(0.4){COUNTER}"]
    async with terminal(connected, *words) as one:
        await one.shows("ready")
        one.type(CTRL_C)
        await one.shows("interrupted 1")
        one.type(b"x\n")
        await one.shows("typed x 1")
        assert await one.process.wait() == 0
        await one.shows("Left orders")


async def test_ctrl_c_while_the_command_starts_is_not_lost(connected: Laptop, manager: FakeManager) -> None:
    for _ in range(3):
        async with terminal(connected, "intercept", "orders", "-p", "8080", "--", "sleep", "60") as one:
            await one.shows("Try it")
            one.type(CTRL_C)
            assert await one.process.wait() == 130
        assert manager.session.intercepts == {}


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
async def test_colours_are_for_terminals_that_want_them(
    connected: Laptop, manager: FakeManager, environment: dict[str, str], coloured: bool
) -> None:
    async with terminal(connected, "list", **environment) as one:
        assert await one.process.wait() == 0
        await one.shows("dev/deployment/cart")
        assert (b"\x1b[" in one.screen) == coloured


async def test_a_notification_rings_once_on_the_next_terminal(connected: Laptop, manager: FakeManager) -> None:
    manager.tell("intercept 'orders' was displaced by bob@tower", warning=True)
    while "displaced by bob" not in (status := await connected.byway("status")).out:
        pass
    assert status.err == ""
    line = "\a! intercept 'orders' was displaced by bob@tower\r\n"
    completing = {"_BYWAY_COMPLETE": "bash_complete", "COMP_WORDS": "byway leave o", "COMP_CWORD": "2"}
    for words, environment, rings in (((), completing, 0), (("list",), {}, 1), (("list",), {}, 0)):
        async with terminal(connected, *words, NO_COLOR="1", **environment) as one:
            assert await one.process.wait() == 0
            await one.ends()
            assert one.screen.count(line.encode()) == rings
            assert one.screen.count(b"\a") == rings


async def test_a_notification_rings_while_a_command_runs(connected: Laptop, manager: FakeManager) -> None:
    words = ["intercept", "orders", "-p", "8080", "--", sys.executable, "-c", COUNTER]
    async with terminal(connected, *words, NO_COLOR="1") as one:
        await one.shows("ready")
        manager.tell("the session ends in 1h", warning=False)
        await one.shows("\a! the session ends in 1h")
        one.type(b"x\n")
        assert await one.process.wait() == 0
        await one.shows("Left orders")
