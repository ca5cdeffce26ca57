"""byway.manager.v1.Manager, as grpc.aio serves it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar, cast

import grpc

import xds
from xds.api.byway.manager import v1
from xds.api.rpc import Context, Handlers
from xds.api.services import Manager as Methods
from xds.compile.encode import encode
from xds.manager.core import Manager
from xds.manager.identity.tunnels import Tunnels
from xds.manager.service.callers import CallError, Callers, abort
from xds.manager.service.creation import Creation
from xds.manager.service.explaining import Explaining
from xds.manager.service.presence import Attendance
from xds.manager.service.render import Renderer
from xds.manager.service.requests import Requests
from xds.manager.service.why import Sockets, Why
from xds.manager.tokens import new_id, new_token, token_hash
from xds.registry import intercepts, sessions
from xds.registry.session import Session
from xds.registry.user_key import key_value

IN_FORCE = 2.0
"""Seconds to wait until no sidecar sends anything to a laptop that left; one that is stuck doesn't hold up its user."""
ADMITTED = 1.0
"""Seconds to wait until the gateways admit a new tunnel; one that is stuck doesn't hold up its user."""
HOST_LIMIT = 100
DAEMON = re.compile("([0-9a-f]{8,32})?")
REASON_LIMIT = 300

Q = TypeVar("Q")
R = TypeVar("R")


class ManagerService:
    """Each method proves its caller, turns the request into a command, commits it and shows the result."""

    def __init__(self, manager: Manager, callers: Callers, tunnels: Tunnels, sockets: Sockets | None = None) -> None:
        """`tunnels` says how laptops are reached that can only call out; `sockets` where the admin interfaces of
        sidecars are, where they are on this machine."""
        self._manager = manager
        self._callers = callers
        self._tunnels = tunnels
        self._sockets = sockets
        self._renderer = Renderer(manager)

    def handlers(self) -> Handlers:
        """What the server registers."""
        return Handlers(
            [
                Methods.GET_VERSION.handler(_guarded(self._get_version)),
                Methods.CONNECT.handler(_guarded(self._connect)),
                Methods.ATTEND.handler(_guarded_stream(self._attend)),
                Methods.QUIT.handler(_guarded(self._quit)),
                Methods.LIST_WORKLOADS.handler(_guarded(self._list_workloads)),
                Methods.LIST_INTERCEPTS.handler(_guarded(self._list_intercepts)),
                Methods.CREATE_INTERCEPT.handler(_guarded_stream(self._create_intercept)),
                Methods.LEAVE_INTERCEPT.handler(_guarded(self._leave_intercept)),
                Methods.EXTEND.handler(_guarded(self._extend)),
                Methods.REVOKE.handler(_guarded(self._revoke)),
                Methods.EXPLAIN.handler(_guarded_stream(self._explain)),
                Methods.WHY.handler(_guarded(self._why)),
                # Hundreds of requests to a message: the library's own encoder would hold up the loop.
                (
                    Methods.REQUESTS.path,
                    grpc.unary_stream_rpc_method_handler(
                        _guarded_stream(self._requests), v1.RequestsRequest.parse, encode
                    ),
                ),
            ]
        )

    def _active(self, context: Context) -> Session:
        """The calling session; the call counts as something that its user did."""
        session = self._callers.session(context)
        self._manager.commit(sessions.activity(self._manager.state, session.id, self._manager.clock.now()))
        return self._manager.state.session(session.id)

    async def _get_version(self, _: v1.GetVersionRequest, context: Context) -> v1.GetVersionReply:
        token = self._callers.token(context)
        known = self._callers.tokens
        if not (known.user(token) or known.is_admin(token) or self._callers.find_session(token)):
            raise CallError(grpc.StatusCode.UNAUTHENTICATED, "the manager doesn't know this token")
        return v1.GetVersionReply(version=xds.__version__)

    async def _connect(self, request: v1.ConnectRequest, context: Context) -> v1.ConnectReply:
        user = self._callers.user(context)
        token = request.resume_token
        old = self._resumable(user, request)
        lost = old is not None and not token
        if lost:
            token = new_token()
        address = _address(request.address) or peer_ip(context.peer())
        host = _host(request.host)
        daemon = _daemon(request.daemon)
        now = self._manager.clock.now()
        if old is not None:
            key = old.id
            change = sessions.resume(
                self._manager.state,
                key,
                host=host,
                address=address,
                now=now,
                token_hash=token_hash(token) if lost else None,
                daemon=daemon,
            )
        else:
            token = new_token()
            key = new_id("s")
            change = sessions.connect(
                self._manager.state,
                Session(key, user, host or "unknown", token_hash(token), address, last_activity=now, daemon=daemon),
            )
        self._manager.commit(change, peer=context.peer())
        if daemon:
            # A gateway that has not heard of the tunnel yet would refuse it, and cost the laptop a pause.
            await self._manager.gateways.in_force(seconds=ADMITTED)
        session = self._manager.state.session(key)
        tunnel, _ = self._tunnels.offer(session)
        return v1.ConnectReply(
            tunnel=tunnel,
            session_id=session.id,
            session_token=token,
            epoch=session.epoch,
            user=user,
            manager_version=xds.__version__,
            key_name=self._manager.settings.default_header,
            key_value=key_value(user),
            resumed=old is not None,
        )

    def _resumable(self, user: str, request: v1.ConnectRequest) -> Session | None:
        """The session to go on with: the one whose token is presented, or, to adopt, the user's own on that host.

        One that is attended is nobody's to adopt: its daemon may have another state directory on the same host.
        """
        if request.resume_token:
            found = self._callers.find_session(request.resume_token)
            if found is not None and found.user != user:
                raise CallError(grpc.StatusCode.PERMISSION_DENIED, "that session is another user's")
            return found
        if not request.adopt:
            return None
        mine = [
            one
            for one in self._manager.state.sessions.values()
            if (one.user, one.host) == (user, request.host) and not one.present
        ]
        return max(mine, key=lambda session: session.last_activity, default=None)

    async def _attend(self, words: AsyncIterator[v1.Presence], context: Context) -> AsyncIterator[v1.Notice]:
        attendance = Attendance(self._manager, self._renderer, self._tunnels, self._callers.session(context))
        async with aclosing(attendance.run(words)) as notices:
            async for notice in notices:
                yield notice

    async def _quit(self, _: v1.QuitRequest, context: Context) -> v1.QuitReply:
        session = self._callers.session(context)
        ended = self._manager.state.of_session(session.id)
        change = sessions.end(self._manager.state, session.id, by=session.owner, text="quit")
        self._manager.commit(change, peer=context.peer())
        await self._manager.sidecars.in_force(change.dirty, seconds=IN_FORCE)
        return v1.QuitReply(ended=[one.spec.name for one in ended])

    async def _list_workloads(self, request: v1.ListWorkloadsRequest, context: Context) -> v1.ListWorkloadsReply:
        session = self._active(context)
        workloads = [
            self._renderer.workload(workload, session)
            for key, workload in sorted(self._manager.state.workloads.items())
            if request.namespace in {"", key.namespace}
        ]
        return v1.ListWorkloadsReply(workloads=workloads)

    async def _list_intercepts(self, request: v1.ListInterceptsRequest, context: Context) -> v1.ListInterceptsReply:
        session = self._active(context)
        found = [
            self._renderer.intercept(one, mine=one.session == session.id, counted=True)
            for one in sorted(self._manager.state.intercepts.values(), key=lambda one: one.sequence)
            if (request.all or one.session == session.id) and request.namespace in {"", one.spec.workload.namespace}
        ]
        return v1.ListInterceptsReply(intercepts=found)

    async def _create_intercept(
        self, request: v1.CreateInterceptRequest, context: Context
    ) -> AsyncIterator[v1.InterceptProgress]:
        creation = Creation(self._manager, self._renderer, self._active(context), peer=context.peer())
        async with aclosing(creation.run(request)) as steps:
            async for progress in steps:
                yield progress

    async def _leave_intercept(self, request: v1.LeaveInterceptRequest, context: Context) -> v1.LeaveInterceptReply:
        session = self._active(context)
        intercept = self._manager.state.named(session.id, request.name)
        if intercept is None:
            names = ", ".join(one.spec.name for one in self._manager.state.of_session(session.id))
            hint = f"yours are {names}" if names else "you have none"
            raise CallError(grpc.StatusCode.NOT_FOUND, f"you have no intercept named {request.name!r}; {hint}")
        shown = self._renderer.intercept(intercept, mine=True)
        change = intercepts.end(self._manager.state, intercept.id, by=session.owner, text="left")
        self._manager.commit(change, peer=context.peer())
        await self._manager.sidecars.in_force(change.dirty, seconds=IN_FORCE)
        return v1.LeaveInterceptReply(intercept=shown)

    async def _extend(self, _: v1.ExtendRequest, context: Context) -> v1.ExtendReply:
        session = self._active(context)
        return v1.ExtendReply(expires_in_seconds=self._renderer.session(session).expires_in_seconds)

    async def _revoke(self, request: v1.RevokeRequest, context: Context) -> v1.RevokeReply:
        self._callers.admin(context)
        intercept = self._manager.state.intercept(request.intercept_id)
        shown = self._renderer.intercept(intercept, mine=False)
        reason = _reason(request.reason)
        text = f"revoked: {reason}" if reason else "revoked"
        change = intercepts.end(self._manager.state, intercept.id, by="the administrator", text=text)
        self._manager.commit(change, peer=context.peer())
        await self._manager.sidecars.in_force(change.dirty, seconds=IN_FORCE)
        return v1.RevokeReply(intercept=shown)

    async def _explain(self, request: v1.ExplainRequest, context: Context) -> AsyncIterator[v1.ExplainReply]:
        explaining = Explaining(self._manager, self._renderer, self._active(context))
        async with aclosing(explaining.run(request)) as replies:
            async for reply in replies:
                yield reply

    async def _why(self, request: v1.WhyRequest, context: Context) -> v1.WhyReply:
        return await Why(self._manager, self._renderer, self._active(context), self._sockets).run(request)

    async def _requests(self, request: v1.RequestsRequest, context: Context) -> AsyncIterator[v1.RequestsReply]:
        async with aclosing(Requests(self._manager, self._active(context)).run(request)) as replies:
            async for reply in replies:
                yield reply


def peer_ip(peer: str) -> str:
    """The IP address in grpc's name of a peer, `ipv4:127.0.0.1:5000` or `ipv6:%5B::1%5D:5000`."""
    kind, _, rest = peer.partition(":")
    host = rest.rpartition(":")[0].replace("%5B", "").replace("%5D", "").strip("[]")
    return host if kind in {"ipv4", "ipv6"} and host else "127.0.0.1"


def _address(text: str) -> str:
    """An address that Envoy takes: with another one it would refuse all that the workload's sidecars are given."""
    if not text:
        return ""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise CallError(
            grpc.StatusCode.INVALID_ARGUMENT, f"--address: {text!r} is no IP address; Envoy needs one"
        ) from None


def _host(text: str) -> str:
    """A host name as others may be shown it, on their terminals."""
    if len(text) > HOST_LIMIT or not text.isprintable() or any(char in text for char in " @"):
        raise CallError(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"--host: {text[:HOST_LIMIT]!r} must be printable, without blanks and @, of {HOST_LIMIT} at most",
        )
    return text


def _daemon(text: str) -> str:
    """A daemon's id, which becomes part of the name of its tunnels."""
    if not DAEMON.fullmatch(text):
        raise CallError(grpc.StatusCode.INVALID_ARGUMENT, "daemon: 8 to 32 hexadecimal digits, or nothing")
    return text


def _reason(text: str) -> str:
    """A reason that its reader's terminal and log only show: no control characters, no end of line."""
    text = text.strip()
    if len(text) > REASON_LIMIT or not text.isprintable():
        raise CallError(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"--reason: it must be one printable line of {REASON_LIMIT} characters at most",
        )
    return text


def _guarded(behaviour: Callable[[Q, Context], Awaitable[R]]) -> Callable[[Q, Context], Awaitable[R]]:
    """Errors that people should read become statuses; what is no such error stays a bug and is logged as one."""

    async def call(request: Q, context: Context) -> R:
        try:
            return await behaviour(request, context)
        except Exception as error:
            await abort(context, error)

    return call


def _guarded_stream(behaviour: Callable[[Q, Context], AsyncIterator[R]]) -> Callable[[Q, Context], AsyncIterator[R]]:
    """The same for a stream, which is closed before the call ends: grpc leaves a generator to the garbage collector,
    and what it has to take back must not wait for that. So the replies are written here, and not handed to grpc.
    """

    async def call(request: Q, context: Context) -> None:
        try:
            async with aclosing(cast("AsyncGenerator[R]", behaviour(request, context))) as replies:
                async for reply in replies:
                    await context.write(reply)
        except Exception as error:
            await abort(context, error)

    return cast("Callable[[Q, Context], AsyncIterator[R]]", call)
