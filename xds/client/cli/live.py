"""Asks the sidecars themselves which route a request takes.

The request is sent only while the manager holds the twins of every route in force: without them it would reach the app
or a laptop.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xds.http1 import read_head

if TYPE_CHECKING:
    import grpc.aio

    from xds.api.byway.manager.v1 import ExplainReply, ExplainRequest, LiveInstance, LiveQuestion

HEADER = "x-byway-explain"
FRESH = 2.0
"""Seconds after the manager's word for which it is taken to be true."""
TIMEOUT = 5.0
"""Seconds that a sidecar may take."""
CALL_TIMEOUT = 20.0


@dataclass(frozen=True, slots=True)
class LiveAnswer:
    """What one sidecar said: the route's name, or why there is none. `asked` is whether it was asked at all."""

    instance: str
    route: str = ""
    problem: str = ""
    asked: bool = True

    def differs(self, expected: str) -> bool:
        """Whether it contradicts the manager."""
        return self.asked and self.route != expected


async def ask_live(channel: grpc.aio.Channel, request: ExplainRequest) -> tuple[ExplainReply, list[LiveAnswer]]:
    """Ask the manager and the sidecars.

    Where they differ they are asked once more: somebody may have made an intercept in between. Raises AioRpcError.
    """
    reply, answers = await _ask(channel, request)
    if reply.live is not None and any(one.differs(reply.live.expected) for one in answers):
        reply, answers = await _ask(channel, request)
    return reply, answers


async def _ask(channel: grpc.aio.Channel, request: ExplainRequest) -> tuple[ExplainReply, list[LiveAnswer]]:
    from xds.api.services import Manager

    call = Manager.EXPLAIN(channel, request, timeout=CALL_TIMEOUT)
    replies = aiter(call)
    try:
        reply = await anext(replies)
        until = time.monotonic() + FRESH
        question = reply.live
        if question is None:
            return reply, []
        return reply, list(await asyncio.gather(*(ask_one(question, one, until) for one in question.instances)))
    finally:
        # The manager takes the twins away when the call ends.
        call.cancel()  # type: ignore[attr-defined]  # it is a call of grpc.aio


async def ask_one(question: LiveQuestion, instance: LiveInstance, until: float) -> LiveAnswer:
    """Ask one sidecar, unless it is later than `until` (monotonic clock, seconds) by then."""
    if instance.obstacle:
        return LiveAnswer(instance.instance, problem=instance.obstacle, asked=False)
    try:
        async with asyncio.timeout(TIMEOUT):
            return await _send(question, instance, until)
    except TimeoutError:
        return LiveAnswer(instance.instance, problem=f"no answer within {TIMEOUT:g} s", asked=False)
    except OSError as error:
        where = f"{instance.host}:{instance.port}"
        return LiveAnswer(instance.instance, problem=f"{where}: {(error.strerror or str(error)).lower()}", asked=False)


async def _send(question: LiveQuestion, instance: LiveInstance, until: float) -> LiveAnswer:
    reader, writer = await asyncio.open_connection(instance.host, instance.port, limit=1 << 20)
    try:
        if time.monotonic() > until:
            return LiveAnswer(instance.instance, problem="not asked: the manager's word is too old by now", asked=False)
        writer.write(question.head)
        head = await read_head(reader)
    finally:
        writer.close()
    token, _, route = head.headers.get(HEADER, "").partition(" ")
    if token != question.token:
        return LiveAnswer(instance.instance, problem=f"it answered {head.status} before it asked any route")
    return LiveAnswer(instance.instance, route)
