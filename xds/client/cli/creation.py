"""Creates an intercept, follows it until the sidecars have confirmed, and runs the user's command inside it.

Ctrl-C before the end takes everything back: cancelling the call makes the manager do so, and where the last message was
already on its way the intercept is left by name. A second Ctrl-C changes nothing: the first is being obeyed.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path
from typing import Any, cast

import xds.client.channel  # noqa: F401  first: it sets gRPC's environment

import grpc.aio  # isort: skip

from xds.api.byway.manager.v1 import (
    CreateInterceptRequest,
    CreateInterceptRequestPortFlag,
    Intercept,
    InterceptProgress,
    ListInterceptsRequest,
    MatchFlags,
    Target,
    TargetStateState,
)
from xds.api.services import Manager
from xds.client.cli import bell, envfiles
from xds.client.cli.announcement import announce
from xds.client.cli.api import CALL_TIMEOUT, advised, daemon_channel, failure_of
from xds.client.cli.follow import Follower
from xds.client.cli.leave import leave_one
from xds.client.cli.portflag import parse_ports
from xds.client.cli.runner import Signals, check_command, ignore, run_command
from xds.paths import StateDir
from xds.terminal.failure import Exit, FailureError
from xds.terminal.output import is_data, note, warn

LOOK = 1.5
LOOK_INTERVAL = 0.05
GRACE = 10.0
"""Seconds beyond --timeout for the manager's own answer to arrive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the command line asks for."""

    workload: str
    ports: tuple[str, ...]
    name: str = ""
    namespace: str = ""
    address: str = "localhost"
    http_header: tuple[str, ...] = ()
    http_path_equal: str | None = None
    http_path_prefix: str | None = None
    http_path_regex: str | None = None
    http_method: str | None = None
    http_query: tuple[str, ...] = ()
    baggage: tuple[str, ...] = ()
    when_down: str = "cluster"
    shared: bool = False
    replace: bool = False
    env_file: Path | None = None
    env_json: Path | None = None
    timeout: float = 30.0
    command: tuple[str, ...] = ()
    output: str = "table"

    def check(self) -> None:
        """Find mistakes that need no manager. Raises FailureError."""
        parse_ports(self.ports)
        envfiles.check_writable("--env-file", self.env_file)
        envfiles.check_writable("--env-json", self.env_json)
        check_command(self.command)

    def request(self) -> CreateInterceptRequest:
        """As the manager reads it; the match flags go as they were typed."""
        return CreateInterceptRequest(
            name=self.name,
            workload=self.workload,
            namespace=self.namespace,
            ports=[
                CreateInterceptRequestPortFlag(
                    target=Target(host=self.address, port=mapping.local), remote=mapping.remote
                )
                for mapping in parse_ports(self.ports)
            ],
            match=MatchFlags(
                http_header=list(self.http_header),
                baggage=list(self.baggage),
                http_path_equal=self.http_path_equal,
                http_path_prefix=self.http_path_prefix,
                http_path_regex=self.http_path_regex,
                http_method=self.http_method,
                http_query=list(self.http_query),
            ),
            shared=self.shared,
            when_down=self.when_down,
            replace=self.replace,
            timeout_seconds=self.timeout,
        )


def create(state: StateDir, wishes: Wishes) -> int:
    """Create it and, where there is one, run the command; returns the exit code. Raises FailureError."""
    wishes.check()
    return asyncio.run(_create(state, wishes))


async def _create(state: StateDir, wishes: Wishes) -> int:
    with Signals() as signals:
        task = asyncio.current_task()
        assert task is not None

        def take_back(number: signal.Signals) -> None:  # noqa: ARG001  whichever
            # Another one would cancel the clean-up, and leave the intercept behind.
            signals.react = ignore
            task.cancel()

        signals.react = take_back
        try:
            async with daemon_channel(state) as channel:
                return await follow_and_run(channel, wishes, signals)
        except asyncio.CancelledError:
            if signals.first is None:
                raise
            task.uncancel()
            raise interrupted(wishes, signals.first, clean=True) from None
        except LeftBehindError:
            if signals.first is None:
                raise
            task.uncancel()
            raise interrupted(wishes, signals.first, clean=False) from None


class LeftBehindError(Exception):
    """Interrupted, and the intercept may be there still; why was said."""


def interrupted(wishes: Wishes, number: signal.Signals, *, clean: bool) -> FailureError:
    """How an interrupted creation ends."""
    message = f"interrupted: nothing is left of the intercept of {wishes.workload}"
    hint = ""
    if not clean:
        message = f"interrupted: the intercept of {wishes.workload} may be left"
        hint = "see `byway list --intercepts`"
    return FailureError(message, hint=hint, code="interrupted", exit_code=128 + number)


async def follow_and_run(channel: grpc.aio.Channel, wishes: Wishes, signals: Signals) -> int:
    """Create it and run the command; returns the exit code. Raises as `follow` does."""
    progress = await follow(channel, wishes)
    intercept = progress.intercept
    assert intercept is not None
    try:
        intercept = await looked_at(channel, intercept)
        environment = {**progress.environment, envfiles.INTERCEPT_ID: intercept.id}
        warnings = envfiles.write_files(environment, wishes.env_file, wishes.env_json)
        # What was announced stays; with a command, signals are the command's from here on.
        signals.react = ignore
        announce(intercept, [*progress.warnings, *warnings], output=wishes.output)
        if not wishes.command:
            return Exit.OK
        async with bell.ringing(channel):
            code = await run_command(wishes.command, environment, signals)
    except asyncio.CancelledError:
        if await leave_quietly(channel, intercept.name) is Left.FAILED:
            raise LeftBehindError from None
        raise
    except BaseException:
        signals.react = ignore
        await leave_quietly(channel, intercept.name)
        raise
    # From here on the end is near anyway; a second Ctrl-C must not leave the intercept behind.
    signals.react = ignore
    if await leave_quietly(channel, intercept.name) is Left.ENDED and not is_data(wishes.output):
        note(f"Left {intercept.name}")
    return code


async def follow(channel: grpc.aio.Channel, wishes: Wishes) -> InterceptProgress:
    """Create the intercept and wait for its last message.

    Raises FailureError; leaves nothing behind when it does, unless it says otherwise. Cancelled it takes everything
    back; raises LeftBehindError where that failed.
    """
    before = {each.id for each in await own_intercepts(channel)}
    call = cast("Any", Manager.CREATE_INTERCEPT(channel, wishes.request(), timeout=wishes.timeout + GRACE))
    last: InterceptProgress | None = None
    try:
        with Follower() as follower:
            async for progress in call:
                last = progress
                follower.show(progress.intercept)
    except grpc.aio.AioRpcError as error:
        raise creation_failure(error, wishes) from error
    except asyncio.CancelledError:
        call.cancel()
        if not await take_back(channel, wishes, before):
            raise LeftBehindError from None
        raise
    finally:
        call.cancel()
    if last is None or last.intercept is None or not last.done:
        raise FailureError("the manager ended the call without a result", hint="see `byway list --intercepts`")
    return last


async def own_intercepts(channel: grpc.aio.Channel) -> list[Intercept]:
    """The session's own. Raises grpc.aio.AioRpcError."""
    reply = await Manager.LIST_INTERCEPTS(channel, ListInterceptsRequest(), timeout=CALL_TIMEOUT)
    return list(reply.intercepts)


async def take_back(channel: grpc.aio.Channel, wishes: Wishes, before: set[str]) -> bool:
    """End what a cancelled call created: the manager does, unless its last message was already on the way to us.

    Returns whether it is known to be gone; says why not.
    """
    name = wishes.name or wishes.workload.rpartition("/")[2]
    try:
        created = [each for each in await own_intercepts(channel) if each.name == name and each.id not in before]
    except grpc.aio.AioRpcError as error:
        warn(f"could not find out whether {name} is gone ({failure_of(error).message}); see `byway list --intercepts`")
        return False
    left = [await leave_quietly(channel, each.name) for each in created]
    return Left.FAILED not in left


async def looked_at(channel: grpc.aio.Channel, intercept: Intercept) -> Intercept:
    """The intercept once the daemon has looked at its targets, which begins with its creation: who answers is known.

    The sidecars stay as they confirmed it: what the daemon says of the targets is another push, for them to confirm.
    """
    with contextlib.suppress(TimeoutError, grpc.aio.AioRpcError):
        async with asyncio.timeout(LOOK):
            while any(port.target_state == TargetStateState.UNKNOWN for port in intercept.ports):
                for one in await own_intercepts(channel):
                    if one.id == intercept.id:
                        intercept = replace(one, sidecars=intercept.sidecars, disposition=intercept.disposition)
                await asyncio.sleep(LOOK_INTERVAL)
    return intercept


def creation_failure(error: grpc.aio.AioRpcError, wishes: Wishes) -> FailureError:
    """What a failed creation means."""
    failure = failure_of(error)
    code = error.code()
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        failure.code, failure.exit_code = "not_acknowledged", int(Exit.NOT_ACKNOWLEDGED)
        details = error.details() or ""
        local = not details or "deadline exceeded" in details.lower()
        late = f"not every sidecar of {wishes.workload} confirmed within {wishes.timeout:g} s"
        failure.message = late if local else details.rstrip(".")
        failure.hint = "nothing was left behind; try a longer --timeout" if local else ""
    elif code is grpc.StatusCode.ABORTED:
        # Ended or displaced by somebody while it was being created; the session is well.
        failure.code, failure.exit_code = "aborted", int(Exit.FAILED)
    elif code is grpc.StatusCode.UNAVAILABLE and not failure.message.startswith(("not connected", "the daemon ended")):
        # Nobody can tell whether the manager had made it when it went away.
        failure.hint = f"the intercept of {wishes.workload} may exist: see `byway list --intercepts`"
    elif code is grpc.StatusCode.NOT_FOUND:
        failure.exit_code = int(Exit.USAGE)
        if not advised(failure.message):
            failure.hint = "see `byway list`"
    elif code is grpc.StatusCode.ALREADY_EXISTS and not advised(failure.message):
        failure.hint = "give it another name with --name, or `byway leave` the old one"
    return failure


class Left(Enum):
    """How an intercept was left."""

    ENDED = auto()
    GONE = auto()
    """It had ended already."""
    FAILED = auto()


async def leave_quietly(channel: grpc.aio.Channel, name: str) -> Left:
    """End an intercept that may be gone already; says so where it could not be ended."""
    try:
        await leave_one(channel, name)
    except FailureError as failure:
        if failure.code == "not_found":
            return Left.GONE
        warn(f"could not leave {name}: {failure}")
        return Left.FAILED
    return Left.ENDED
