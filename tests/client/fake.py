"""A manager of the simplest kind, for the client's tests: it keeps sessions and intercepts, and asks no Envoy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc
import grpc.aio

from xds.api.byway.manager import v1
from xds.api.rpc import Context, Handlers, bearer_of
from xds.api.services import Manager


@dataclass
class FakeSession:
    reply: v1.ConnectReply
    request: v1.ConnectRequest
    intercepts: dict[str, v1.Intercept] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    told: list[v1.Notification] = field(default_factory=list)
    attended: int = 0


@dataclass
class Failure:
    code: grpc.StatusCode
    details: str
    trailing: tuple[tuple[str, str | bytes], ...] = ()


class FakeManager:
    """Tests set its attributes and look at what it was asked."""

    def __init__(self) -> None:
        self.users = {"secret-of-alice": "alice"}
        self.admin = "secret-of-admin"
        self.sessions: dict[str, FakeSession] = {}
        self.connects: list[v1.ConnectRequest] = []
        self.presences: list[tuple[float, v1.Presence]] = []
        self.created: list[v1.CreateInterceptRequest] = []
        self.revoked: list[v1.RevokeRequest] = []
        self.asked: list[v1.RequestsRequest] = []
        self.replies: asyncio.Queue[v1.RequestsReply] = asyncio.Queue()
        self.calls: list[str] = []
        self.cancelled = 0
        self.last_word_was_sent = False
        self.pushes_again = False
        self.held: dict[str, asyncio.Event] = {}
        self.opened = 0
        self.tunnel: v1.Tunnel | None = None
        self.on_create: Callable[[v1.CreateInterceptRequest], Awaitable[None]] | None = None
        self.released = asyncio.Event()
        self.released.set()
        self.environment = {"GREETING": "hello", "PLACE": "the world", "KEY": "-----BEGIN\nEND-----"}
        self.workloads = [
            v1.Workload(
                id="dev/deployment/orders",
                ports=[v1.Port(number=8080, name="http", protocol="http"), v1.Port(number=9090, protocol="tcp")],
                instances=["orders-1", "orders-2"],
                connected=["orders-1", "orders-2"],
            ),
            v1.Workload(id="dev/deployment/cart", ports=[v1.Port(number=80)], instances=["cart-1"], others=1),
        ]
        self.fail: dict[str, Failure] = {}
        self._server: grpc.aio.Server | None = None
        self._streams: set[asyncio.Event] = set()
        self.port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        methods = [
            Manager.GET_VERSION.handler(self.get_version),
            Manager.CONNECT.handler(self.connect),
            Manager.ATTEND.handler(self.attend),
            Manager.QUIT.handler(self.quit),
            Manager.LIST_WORKLOADS.handler(self.list_workloads),
            Manager.LIST_INTERCEPTS.handler(self.list_intercepts),
            Manager.CREATE_INTERCEPT.handler(self.create),
            Manager.LEAVE_INTERCEPT.handler(self.leave),
            Manager.EXTEND.handler(self.extend),
            Manager.REVOKE.handler(self.revoke),
            Manager.REQUESTS.handler(self.requests),
        ]
        self._server.add_generic_rpc_handlers((Handlers(methods),))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(grace=None)
            self._server = None

    @property
    def session(self) -> FakeSession:
        """The only one."""
        (session,) = self.sessions.values()
        return session

    @property
    def present(self) -> bool:
        return any(session.attended for session in self.sessions.values())

    def tell(self, text: str, *, warning: bool = False) -> None:
        level = v1.NotificationLevel.WARNING if warning else v1.NotificationLevel.INFO
        self.session.told.append(v1.Notification(level=level, text=text))
        self.session.changed.set()

    def target_state(self, port: int) -> v1.TargetState | None:
        """What the laptop said last of a target."""
        for _, presence in reversed(self.presences):
            return next((one for one in presence.targets if one.target and one.target.port == port), None)
        return None

    async def _abort(self, context: Context, code: grpc.StatusCode, text: str) -> NoReturn:
        await context.abort(code, text)
        raise AssertionError

    async def _called(self, name: str, context: Context) -> None:
        self.calls.append(name)
        if name in self.held:
            await self.held[name].wait()
        if failure := self.fail.get(name):
            await context.abort(failure.code, failure.details, failure.trailing)

    async def _session(self, name: str, context: Context) -> FakeSession:
        await self._called(name, context)
        session = self.sessions.get(bearer_of(context.invocation_metadata()))
        if session is None:
            await self._abort(context, grpc.StatusCode.UNAUTHENTICATED, "the session has ended; run `byway connect`")
        return session

    async def get_version(self, request: v1.GetVersionRequest, context: Context) -> v1.GetVersionReply:
        await self._called("GetVersion", context)
        if bearer_of(context.invocation_metadata()) not in self.users.keys() | self.sessions.keys():
            await self._abort(context, grpc.StatusCode.UNAUTHENTICATED, "unknown token")
        return v1.GetVersionReply(version="9.9.9")

    async def connect(self, request: v1.ConnectRequest, context: Context) -> v1.ConnectReply:
        self.connects.append(request)
        await self._called("Connect", context)
        user = self.users.get(bearer_of(context.invocation_metadata()))
        if user is None:
            await self._abort(context, grpc.StatusCode.UNAUTHENTICATED, "the manager doesn't know this user token")
        if request.resume_token:
            session = self.sessions.get(request.resume_token)
            if session is not None:
                session.reply.epoch += 1
                session.reply.resumed = True
                session.reply.tunnel = self.tunnel
                return session.reply
        self.opened += 1
        number = self.opened
        reply = v1.ConnectReply(
            session_id=f"s-{number}",
            session_token=f"secret-of-session-{number}",
            epoch=1,
            user=user,
            manager_version="9.9.9",
            key_name="x-telepresence-id",
            key_value=f"{user}-1f2e3d",
            tunnel=self.tunnel,
        )
        self.sessions[reply.session_token] = FakeSession(reply, request)
        return reply

    async def attend(self, requests: AsyncIterator[v1.Presence], context: Context) -> AsyncIterator[v1.Notice]:
        session = await self._session("Attend", context)
        session.attended += 1
        reader = asyncio.create_task(self._read(requests, session))
        try:
            while not reader.done():
                session.changed.clear()
                told, session.told = session.told, []
                yield v1.Notice(session=self._describe(session), notifications=told, tunnel=self.tunnel)
                waiting = asyncio.create_task(session.changed.wait())
                await asyncio.wait({waiting, reader}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if failure := self.fail.get("Attend"):
                    await context.abort(failure.code, failure.details)
        finally:
            reader.cancel()
            session.attended -= 1

    async def _read(self, requests: AsyncIterator[v1.Presence], session: FakeSession) -> None:
        async for presence in requests:
            self.presences.append((time.monotonic(), presence))
            for intercept in session.intercepts.values():
                for port in intercept.ports:
                    found = next((one for one in presence.targets if one.target == port.target), None)
                    if found is not None:
                        port.target_state, port.target_detail = found.state, found.detail

    def _describe(self, session: FakeSession) -> v1.Session:
        return v1.Session(
            id=session.reply.session_id,
            user=session.reply.user,
            host=session.request.host,
            epoch=session.reply.epoch,
            present=True,
            intercepts=list(session.intercepts.values()),
            expires_in_seconds=90000.0,
        )

    async def quit(self, request: v1.QuitRequest, context: Context) -> v1.QuitReply:
        session = await self._session("Quit", context)
        del self.sessions[session.reply.session_token]
        return v1.QuitReply(ended=list(session.intercepts))

    async def list_workloads(self, request: v1.ListWorkloadsRequest, context: Context) -> v1.ListWorkloadsReply:
        session = await self._session("ListWorkloads", context)
        found = [one for one in self.workloads if not request.namespace or one.id.startswith(f"{request.namespace}/")]
        for workload in found:
            workload.mine = [one.name for one in session.intercepts.values() if one.workload == workload.id]
        return v1.ListWorkloadsReply(workloads=found)

    async def list_intercepts(self, request: v1.ListInterceptsRequest, context: Context) -> v1.ListInterceptsReply:
        session = await self._session("ListIntercepts", context)
        found = list(session.intercepts.values())
        return v1.ListInterceptsReply(intercepts=[*found, BOBS] if request.all else found)

    async def create(self, request: v1.CreateInterceptRequest, context: Context) -> AsyncIterator[v1.InterceptProgress]:
        session = await self._session("CreateIntercept", context)
        self.created.append(request)
        if self.on_create is not None:
            await self.on_create(request)
        intercept = self._intercept(request, session)
        session.intercepts[intercept.name] = intercept
        session.changed.set()
        done = False
        try:
            yield v1.InterceptProgress(intercept=intercept)
            await self.released.wait()
            done = True
        finally:
            if not done:
                self.cancelled += 1
                if not self.last_word_was_sent:
                    session.intercepts.pop(intercept.name, None)
        intercept.disposition = "active"
        for sidecar in intercept.sidecars:
            sidecar.state = v1.SidecarStateState.ACKED
        yield v1.InterceptProgress(intercept=intercept, done=True, environment=self.environment)
        if self.pushes_again:
            for sidecar in intercept.sidecars:
                sidecar.state = v1.SidecarStateState.WAITING

    def _intercept(self, request: v1.CreateInterceptRequest, session: FakeSession) -> v1.Intercept:
        return v1.Intercept(
            id=f"i-{len(self.created)}",
            session_id=session.reply.session_id,
            owner=f"{session.reply.user}@{session.request.host}",
            name=request.name or request.workload.rpartition("/")[2],
            workload=f"dev/deployment/{request.workload.rpartition('/')[2]}",
            ports=[v1.PortMapping(port=8080, port_name="http", target=flag.target) for flag in request.ports],
            match_flags=["--http-header=auto"],
            kind="personal",
            when_down=request.when_down,
            disposition="pending",
            answered_by="laptop",
            laptop_answers=True,
            sidecars=[v1.SidecarState(instance=f"orders-{n}", state=v1.SidecarStateState.WAITING) for n in (1, 2)],
            curl_args=["-H", f"x-telepresence-id: {session.reply.key_value}", "/"],
            mine=True,
        )

    async def leave(self, request: v1.LeaveInterceptRequest, context: Context) -> v1.LeaveInterceptReply:
        session = await self._session("LeaveIntercept", context)
        intercept = session.intercepts.pop(request.name, None)
        if intercept is None:
            await self._abort(context, grpc.StatusCode.NOT_FOUND, f"you have no intercept named {request.name!r}")
        session.changed.set()
        return v1.LeaveInterceptReply(intercept=intercept)

    async def extend(self, request: v1.ExtendRequest, context: Context) -> v1.ExtendReply:
        await self._session("Extend", context)
        return v1.ExtendReply(expires_in_seconds=86400.0)

    async def revoke(self, request: v1.RevokeRequest, context: Context) -> v1.RevokeReply:
        await self._called("Revoke", context)
        if bearer_of(context.invocation_metadata()) != self.admin:
            await self._abort(context, grpc.StatusCode.PERMISSION_DENIED, "this needs the administrator's token")
        self.revoked.append(request)
        return v1.RevokeReply(intercept=BOBS)

    async def requests(self, request: v1.RequestsRequest, context: Context) -> AsyncIterator[v1.RequestsReply]:
        await self._session("Requests", context)
        self.asked.append(request)
        while True:
            yield await self.replies.get()
            if not request.follow:
                return


BOBS: Any = v1.Intercept(
    id="i-9f",
    owner="bob@tower",
    name="cart",
    workload="dev/deployment/cart",
    ports=[v1.PortMapping(port=80, target=v1.Target(host="localhost", port=9000))],
    kind="global",
    when_down="fail",
    disposition="active",
    answered_by="nobody (503): the laptop tower is away",
    owner_idle_seconds=754.0,
)
