"""The creation of an intercept, from the request to the last acknowledgement, or back.

A call that is cancelled, or that isn't acknowledged by every live sidecar in time, leaves nothing behind: the intercept
ends, and what it had displaced comes back where it can. One that Envoy refuses stays, rejected, with Envoy's text.

Others are compared with the newcomer before the step that creates it, in slices between which the event loop goes on;
that step then only looks the verdicts up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

import grpc

from xds.api.byway.manager import v1
from xds.manager.compare import compare
from xds.manager.core import Manager
from xds.manager.service.callers import CallError
from xds.manager.service.read import intercept_spec, read_ahead
from xds.manager.service.render import Renderer
from xds.manager.tokens import new_id
from xds.registry import intercepts
from xds.registry.comparison import Comparison
from xds.registry.example import describe_request
from xds.registry.explain import why_before
from xds.registry.intercept import Disposition, Intercept
from xds.registry.overlap import Warn
from xds.registry.precedence import in_order
from xds.registry.session import Session
from xds.registry.user_key import key_value

PATIENCE = 30.0
"""Seconds to wait for acknowledgements where the client says nothing."""
CHECK = 1.0
"""Seconds for comparing a newcomer with all others; what is not decided by then counts as overlapping."""


class Creation:
    """Creates one intercept and follows it."""

    def __init__(self, manager: Manager, renderer: Renderer, session: Session, *, peer: str) -> None:
        self._manager = manager
        self._renderer = renderer
        self._session = session
        self._peer = peer
        self._key = new_id("i")
        self._former: Intercept | None = None

    async def run(self, request: v1.CreateInterceptRequest) -> AsyncGenerator[v1.InterceptProgress]:
        """Progress until it is live. Raises RegistryError, ConditionError, CallError."""
        settled = False
        try:
            warnings = await self._create(request)
            async with aclosing(self._follow(request.timeout_seconds or PATIENCE, warnings)) as steps:
                async for progress in steps:
                    # Once the last word is on its way the intercept is the user's, whether or not it still arrives.
                    settled = progress.done
                    yield progress
        finally:
            if not settled:
                self._roll_back()

    async def _create(self, request: v1.CreateInterceptRequest) -> list[str]:
        manager = self._manager
        async with manager.comparing:
            await read_ahead(request.match)
        spec = intercept_spec(request, manager.state, manager.settings, key_value=key_value(self._session.user))
        intercepts.check(manager.state, manager.settings, self._session.id, spec)
        async with manager.comparing:
            clock = asyncio.get_running_loop().time
            deadline = clock() + CHECK
            comparison = Comparison(spec, expired=lambda: clock() > deadline)
            await compare(comparison, manager.state)
            # Nothing is awaited from the last look at who is there to the commit: check and creation are one step.
            former = manager.state.named(self._session.id, spec.name)
            change, warnings = intercepts.create(
                manager.state,
                manager.settings,
                self._session.id,
                spec,
                new_id=self._key,
                now=manager.clock.now(),
                comparison=comparison,
            )
            self._former = former
            manager.commit(change, peer=self._peer)
        newcomer = change.intercepts[self._key]
        assert newcomer is not None
        return [_warning(newcomer, other, warn) for other, warn in warnings]

    async def _follow(self, patience: float, warnings: list[str]) -> AsyncGenerator[v1.InterceptProgress]:
        manager = self._manager
        deadline = asyncio.get_running_loop().time() + patience
        workload = manager.state.intercept(self._key).spec.workload
        pulse = manager.sidecars.progress[workload]
        while True:
            seen = pulse.count
            intercept = self._current()
            shown = self._renderer.intercept(intercept, mine=True)
            done = intercept.disposition is Disposition.ACTIVE
            environment = (
                dict(manager.state.workloads[workload].env) if done and workload in manager.state.workloads else {}
            )
            yield v1.InterceptProgress(intercept=shown, done=done, warnings=warnings, environment=environment)
            if done:
                return
            try:
                async with asyncio.timeout_at(deadline):
                    await pulse.wait(seen)
            except TimeoutError:
                raise CallError(grpc.StatusCode.DEADLINE_EXCEEDED, _late(shown, patience)) from None

    def _current(self) -> Intercept:
        intercept = self._manager.state.intercepts.get(self._key)
        if intercept is None:
            raise CallError(grpc.StatusCode.ABORTED, "the intercept was ended while it was being created")
        if intercept.disposition is Disposition.REJECTED:
            raise CallError(
                grpc.StatusCode.INTERNAL,
                f"Envoy refused the intercept: {intercept.reason}; it is not routed, and "
                f"`byway leave {intercept.spec.name}` takes it off the list",
            )
        if intercept.disposition is Disposition.DISPLACED:
            raise CallError(grpc.StatusCode.ABORTED, f"the intercept was {intercept.reason} while it was being created")
        return intercept

    def _roll_back(self) -> None:
        manager = self._manager
        intercept = manager.state.intercepts.get(self._key)
        if intercept is None or intercept.disposition is Disposition.REJECTED:
            return
        text = "its creation did not complete"
        undo = partial(intercepts.roll_back, manager.state, self._key, former=self._former)
        manager.owe(partial(undo, by=self._session.owner, text=text), peer=self._peer)


def _warning(newcomer: Intercept, other: Intercept, warn: Warn) -> str:
    whose = "your own intercept" if other.session == newcomer.session else "intercept"
    owner = "" if other.session == newcomer.session else f" of {other.owner}"
    witness = f", such as {describe_request(warn.witness)}" if warn.witness else ""
    first, second = in_order([newcomer, other])
    wins = "this one" if first is newcomer else f"{other.spec.name!r}"
    return (
        f"some requests also match {whose} {other.spec.name!r}{owner}{witness}; "
        f"those go to {wins}: {why_before(first, second)}"
    )


def _late(shown: v1.Intercept, patience: float) -> str:
    waiting = [
        f"{one.instance} ({one.detail})"
        for one in shown.sidecars
        if one.state in {v1.SidecarStateState.WAITING, v1.SidecarStateState.NACKED}
    ]
    return (
        f"not acknowledged within {patience:g} s by {', '.join(waiting) or 'every sidecar'}; nothing was left behind. "
        "`xdsctl status` shows how far each sidecar is"
    )
