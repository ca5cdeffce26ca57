"""A laptop without a daemon: it speaks the Manager API itself, so that intercepts come and go quickly, and says of its
targets what a test wants it to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, cast

import xds.client.channel  # noqa: F401  first: it sets gRPC's environment

import grpc.aio  # isort: skip

from demo.world import World
from xds.api.byway.manager import v1
from xds.api.rpc import bearer
from xds.api.services import Manager

HEARTBEAT = 0.3


class ApiLaptop:
    """One user's session. Use it as an asynchronous context manager."""

    def __init__(self, world: World, user: str, *, daemon: str = "", resume: ApiLaptop | None = None) -> None:
        self._world = world
        self._daemon = daemon
        self._reply = v1.ConnectReply()
        self._resume = resume
        self.ended = False
        """Whether the session is another's to end, or has ended."""
        self._user = user
        self._targets: dict[int, v1.TargetStateState] = {}
        self._changed = asyncio.Event()

    async def __aenter__(self) -> ApiLaptop:
        manager = self._world.state / "manager"
        self.channel = grpc.aio.insecure_channel((manager / "address").read_text().strip())
        token = (manager / "users" / f"{self._user}.token").read_text().strip()
        request = v1.ConnectRequest(
            host=f"{self._user}-laptop",
            client_version="0",
            daemon=self._daemon,
            resume_token=self._resume._reply.session_token if self._resume is not None else "",
        )
        self._reply = await Manager.CONNECT(self.channel, request, metadata=bearer(token), timeout=5)
        self.header = {self._reply.key_name: self._reply.key_value}
        self._notices: Any = Manager.ATTEND(self.channel, self._presences(), metadata=self.proof)
        await anext(aiter(self._notices))
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self.ended:
            await Manager.QUIT(self.channel, v1.QuitRequest(), metadata=self.proof, timeout=5)
        self._notices.cancel()
        await self.channel.close()

    @property
    def proof(self) -> Any:
        """The metadata of a call in the session."""
        return bearer(self._reply.session_token)

    async def _presences(self) -> AsyncIterator[v1.Presence]:
        while True:
            self._changed.clear()
            targets = [
                v1.TargetState(target=v1.Target(host="localhost", port=port), state=state)
                for port, state in self._targets.items()
            ]
            yield v1.Presence(epoch=self._reply.epoch, targets=targets, tunnel=self._tunnel_state())
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), HEARTBEAT)

    def _tunnel_state(self) -> v1.TunnelState | None:
        """What to say of a tunnel; a laptop of this kind is reached directly."""
        return None

    def say(self, port: int, state: v1.TargetStateState) -> None:
        """Tell the manager, now and with every heartbeat, how it is with a target."""
        self._targets[port] = state
        self._changed.set()

    async def intercept(
        self, name: str, workload: str, target: int, *, when_down: str = "cluster", shared: bool = False, **flags: Any
    ) -> v1.Intercept:
        """Create an intercept; returns when every sidecar has acknowledged it.

        `flags` are those of MatchFlags; without any of them it is global.
        """
        request = v1.CreateInterceptRequest(
            name=name,
            workload=workload,
            ports=[v1.CreateInterceptRequestPortFlag(target=v1.Target(host="localhost", port=target))],
            match=v1.MatchFlags(**flags),
            when_down=when_down,
            shared=shared,
            timeout_seconds=10,
        )
        steps = [step async for step in Manager.CREATE_INTERCEPT(self.channel, request, metadata=self.proof)]
        assert steps[-1].done
        return cast("v1.Intercept", steps[-1].intercept)

    async def leave(self, name: str) -> None:
        """Leave an intercept."""
        request = v1.LeaveInterceptRequest(name=name)
        await Manager.LEAVE_INTERCEPT(self.channel, request, metadata=self.proof, timeout=5)
