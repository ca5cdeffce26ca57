"""Creates an intercept, follows it until the sidecars have confirmed, and runs the user's command inside it.

Ctrl-C before the end takes everything back: cancelling the call makes the manager do so, and where the last message was
already on its way the intercept is left by name.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import signal
from dataclasses import dataclass
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
    SidecarStateState,
    Target,
    TargetStateState,
)
from xds.api.services import Manager
from xds.client.cli import envfiles
from xds.client.cli.api import CALL_TIMEOUT, advised, daemon_channel, failure_of
from xds.client.cli.follow import Follower
from xds.client.cli.leave import leave_one
from xds.client.cli.portflag import parse_ports
from xds.client.cli.runner import Signals, check_command, ignore, run_command
from xds.client.cli.views import acknowledged, intercept_data, match_text, port_text
from xds.paths import StateDir
from xds.terminal.failure import Exit, FailureError
from xds.terminal.output import data, is_data, note, show, styled, warn

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
            task.cancel()

        signals.react = take_back
        try:
            async with daemon_channel(state) as channel:
                return await _follow_and_run(channel, wishes, signals)
        except asyncio.CancelledError:
            if signals.first is None:
                raise
            task.uncancel()
            message = f"interrupted: nothing is left of the intercept of {wishes.workload}"
            raise FailureError(message, code="interrupted", exit_code=128 + signals.first) from None


async def _follow_and_run(channel: grpc.aio.Channel, wishes: Wishes, signals: Signals) -> int:
    progress = await follow(channel, wishes)
    intercept = progress.intercept
    assert intercept is not None
    try:
        intercept = await looked_at(channel, intercept)
        environment = {**progress.environment, envfiles.INTERCEPT_ID: intercept.id}
        warnings = envfiles.write_files(environment, wishes.env_file, wishes.env_json)
        announce(wishes, intercept, [*progress.warnings, *warnings])
        if not wishes.command:
            return Exit.OK
        code = await run_command(wishes.command, environment, signals)
    except BaseException:
        await asyncio.shield(leave_quietly(channel, intercept.name))
        raise
    # From here on the end is near anyway; a second Ctrl-C must not leave the intercept behind.
    signals.react = ignore
    if await leave_quietly(channel, intercept.name) and not is_data(wishes.output):
        note(f"Left {intercept.name}")
    return code


async def follow(channel: grpc.aio.Channel, wishes: Wishes) -> InterceptProgress:
    """Create the intercept and wait for its last message. Raises FailureError; leaves nothing behind when it does."""
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
        await asyncio.shield(take_back(channel, wishes, before))
        raise
    finally:
        call.cancel()
    if last is None or last.intercept is None or not last.done:
        raise FailureError("the manager ended the call without a result", hint="see `byway list --intercepts`")
    if last.intercept.disposition == "rejected":
        await leave_quietly(channel, last.intercept.name)
        raise FailureError(f"Envoy refused the intercept: {last.intercept.reason}", code="rejected")
    return last


async def own_intercepts(channel: grpc.aio.Channel) -> list[Intercept]:
    """The session's own. Raises grpc.aio.AioRpcError."""
    reply = await Manager.LIST_INTERCEPTS(channel, ListInterceptsRequest(), timeout=CALL_TIMEOUT)
    return list(reply.intercepts)


async def take_back(channel: grpc.aio.Channel, wishes: Wishes, before: set[str]) -> None:
    """End what a cancelled call created: the manager does, unless its last message was already on the way to us."""
    name = wishes.name or wishes.workload.rpartition("/")[2]
    try:
        created = [each for each in await own_intercepts(channel) if each.name == name and each.id not in before]
    except grpc.aio.AioRpcError as error:
        warn(f"could not find out whether {name} is gone ({failure_of(error).message}); see `byway list --intercepts`")
        return
    for each in created:
        await leave_quietly(channel, each.name)


async def looked_at(channel: grpc.aio.Channel, intercept: Intercept) -> Intercept:
    """The intercept once the daemon has looked at its targets, which begins with its creation: who answers is known."""
    with contextlib.suppress(TimeoutError, grpc.aio.AioRpcError):
        async with asyncio.timeout(LOOK):
            while any(port.target_state == TargetStateState.UNKNOWN for port in intercept.ports):
                current = await own_intercepts(channel)
                intercept = next((one for one in current if one.id == intercept.id), intercept)
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
    elif code is grpc.StatusCode.NOT_FOUND and not advised(failure.message):
        failure.hint = "see `byway list`"
    elif code is grpc.StatusCode.ALREADY_EXISTS and not advised(failure.message):
        failure.hint = "give it another name with --name, or `byway leave` the old one"
    return failure


async def leave_quietly(channel: grpc.aio.Channel, name: str) -> bool:
    """End an intercept that may be gone already; says so where it could not be ended."""
    try:
        await leave_one(channel, name)
    except FailureError as failure:
        if failure.code != "not_found":
            warn(f"could not leave {name}: {failure}")
        return False
    return True


def curl_line(intercept: Intercept) -> str:
    """A command line that makes a request which matches; empty where the manager gave none."""
    if not intercept.curl_args:
        return ""
    *arguments, path = intercept.curl_args
    return shlex.join(["curl", *arguments, f"{intercept.base_url or _in_cluster(intercept)}{path}"])


def _in_cluster(intercept: Intercept) -> str:
    """The workload as other pods know it."""
    namespace, _, name = intercept.workload.split("/")
    port = intercept.ports[0].port if intercept.ports else 80
    return f"http://{name}.{namespace}:{port}"


def announce(wishes: Wishes, intercept: Intercept, warnings: list[str]) -> None:
    """Say what is intercepted, and who answers now."""
    curl = curl_line(intercept)
    if is_data(wishes.output):
        show(data({"intercept": intercept_data(intercept), "warnings": warnings, "curl": curl}, wishes.output))
        return
    show(summary(intercept))
    for text in warnings:
        warn(text)
    if curl:
        show(f"Try it:\n  {curl}\n")


def summary(intercept: Intercept) -> str:
    """The intercept in a few lines."""
    kind = f"{intercept.kind}, shared" if intercept.shared else intercept.kind
    answered = styled(intercept.answered_by, fg="green" if intercept.laptop_answers else "yellow")
    down = "503 from the sidecar" if intercept.when_down == "fail" else "the cluster answers"
    lines = [
        ("Port" if len(intercept.ports) == 1 else "Ports", ", ".join(port_text(port) for port in intercept.ports)),
        ("Match", match_text(intercept)),
        ("Answered by", answered),
        ("When down", down),
        ("Sidecars", sidecars_text(intercept)),
    ]
    head = f"Intercepting {intercept.workload} as {intercept.name} ({kind}, {intercept.id})\n"
    return head + "".join(f"  {label + ':':<13}{value}\n" for label, value in lines)


def sidecars_text(intercept: Intercept) -> str:
    """How many sidecars have it."""
    absent = sum(each.state == SidecarStateState.ABSENT for each in intercept.sidecars)
    if absent == len(intercept.sidecars):
        return "none is connected now; each gets it when it connects"
    return f"{acknowledged(intercept)} confirmed" + (f", {absent} not connected" if absent else "")
