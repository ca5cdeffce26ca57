"""The manager's side: who may ask, what is told of which node, and in how many bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import grpc
import grpc.aio
import pytest

from tests.xdsctl import recorded
from xds.api.byway.manager import v1
from xds.api.rpc import bearer
from xds.api.services import Debug
from xds.compile.encode import encode
from xds.manager.clock import Clock
from xds.manager.core import Manager
from xds.manager.service.callers import Callers
from xds.manager.service.debug import DebugService
from xds.manager.tokens import issue
from xds.paths import StateDir
from xds.registry.change import Change
from xds.registry.settings import Settings
from xds.registry.workload import Workload, WorkloadId
from xds.serve.resource import Resource
from xds.serve.status import ClientStatus, LastSent, Nack, StreamInfo, SyncState, TypeStatus, Variant
from xds.serve.store import View

OTHER = WorkloadId("qa", "deployment", "orders")
NODE = "dev/deployment/orders/orders-1"


class Nothing:
    """Keeps nothing."""

    def save(self, change: Change, *, now: float) -> None:
        pass


class Streams:
    """Stands in for the xDS server."""

    def __init__(self) -> None:
        self.open: list[ClientStatus] = []

    def clients(self) -> list[ClientStatus]:
        return self.open

    def lagging(self, *_: object) -> list[object]:
        return []


def stream(
    number: int, acked: Mapping[str, str], *, type_url: str, names: frozenset[str] | None = None
) -> ClientStatus:
    info = StreamInfo(number, View(str(recorded.ORDERS), NODE), NODE, "envoy/1.40.0", "peer", Variant.DELTA, True, 0.0)
    nack = Nack("no", 1, {}, 1.0)
    status = TypeStatus(
        type_url, SyncState.NACKED, names is None, names or frozenset(), LastSent("n", 1, {}, (), 0.0), 1, acked, nack
    )
    return ClientStatus(info, {type_url: status})


class Api:
    def __init__(self, manager: Manager, streams: Streams, channel: grpc.aio.Channel, token: str) -> None:
        self.manager, self.streams, self.channel, self.token = manager, streams, channel, token

    async def sidecars(self) -> v1.ListSidecarsReply:
        return await Debug.LIST_SIDECARS(self.channel, v1.ListSidecarsRequest(), metadata=bearer(self.token))

    async def resources(self, node: str, kind: str = "clusters") -> v1.GetResourcesReply:
        request = v1.GetResourcesRequest(node=node, type=kind)
        return await Debug.GET_RESOURCES(self.channel, request, metadata=bearer(self.token))


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    manager = Manager(settings=Settings(), clock=Clock(), keeper=Nothing(), audit=lambda *_: None)
    workloads: dict[WorkloadId, Workload | None] = {
        recorded.ORDERS: recorded.orders().workload,
        recorded.MIXED: recorded.mixed().workload,
        OTHER: recorded.workload(OTHER, *recorded.orders().workload.ports),
    }
    manager.load(Change(workloads=workloads, dirty=frozenset(workloads)))
    streams = Streams()
    manager.sidecars.server = streams  # type: ignore[assignment]
    tokens = issue(StateDir(tmp_path), ["alice"], [])
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((DebugService(manager, Callers(manager, tokens)).handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Api(manager, streams, channel, StateDir(tmp_path).admin_token.read_text().strip())
    finally:
        await server.stop(None)


async def test_instances_without_a_stream_are_absent(api: Api) -> None:
    reply = await api.sidecars()
    assert not reply.sidecars
    assert reply.absent == [NODE, "dev/statefulset/mixed/mixed-1", "qa/deployment/orders/orders-1"]


async def test_versions_are_equal_where_everything_is_acknowledged(api: Api) -> None:
    found = {one.name: one.version for one in (await api.resources(NODE)).resources}
    api.streams.open = [stream(1, found, type_url=recorded.URLS["clusters"])]
    (sidecar,) = (await api.sidecars()).sidecars
    (clusters,) = sidecar.types
    assert clusters.sent_version == clusters.acked_version != ""
    assert (clusters.resources, clusters.intended, clusters.behind) == (2, 2, [])
    assert [one.acked_version for one in (await api.resources(NODE)).resources] == list(found.values())


@pytest.mark.parametrize(
    ("change", "behind"),
    [
        (lambda found: {**found, "dev/deployment/orders/8080/app": "old"}, ["dev/deployment/orders/8080/app"]),
        (lambda found: {**found, "gone": "v"}, ["gone"]),
        (lambda found: {}, ["dev/deployment/orders/8080/app", "dev/deployment/orders/8081/app"]),
    ],
    ids=["older", "not-removed-yet", "nothing-acknowledged"],
)
async def test_what_differs_is_named(
    api: Api, change: Callable[[dict[str, str]], dict[str, str]], behind: list[str]
) -> None:
    found = change({one.name: one.version for one in (await api.resources(NODE)).resources})
    api.streams.open = [stream(1, found, type_url=recorded.URLS["clusters"])]
    (clusters,) = (await api.sidecars()).sidecars[0].types
    assert clusters.behind == behind
    assert clusters.sent_version != clusters.acked_version


async def test_what_was_never_asked_for_is_not_missed(api: Api) -> None:
    names = frozenset({"dev/deployment/orders/8081"})
    api.streams.open = [stream(1, {}, type_url=recorded.URLS["routes"], names=names)]
    (routes,) = (await api.sidecars()).sidecars[0].types
    assert routes.behind == ["dev/deployment/orders/8081"]


async def test_several_streams_of_a_node_are_one_sidecar_and_the_newest_counts(api: Api) -> None:
    clusters, routes = recorded.URLS["clusters"], recorded.URLS["routes"]
    api.streams.open = [
        stream(1, {"old": "v"}, type_url=clusters),
        stream(2, {}, type_url=routes),
        stream(3, {"new": "v"}, type_url=clusters),
    ]
    (sidecar,) = (await api.sidecars()).sidecars
    assert [one.type for one in sidecar.types] == ["routes", "clusters"]
    assert "new" in sidecar.types[1].behind
    assert "old" not in sidecar.types[1].behind


async def compare(api: Api, *, kind: str = "clusters", bodies: bool = False) -> v1.ComparedType:
    request = v1.CompareRequest(node=NODE, types=[kind], bodies=bodies)
    (compared,) = (await Debug.COMPARE(api.channel, request, metadata=bearer(api.token))).types
    return compared


async def test_both_sides_of_what_differs_are_told_with_what_is_remembered(api: Api) -> None:
    store, url = api.manager.store, recorded.URLS["clusters"]
    group = str(recorded.ORDERS)
    old = dict(store.contents(group=group))
    name = "dev/deployment/orders/8080/app"
    acked = {one.name: one.version for one in old.values() if one.type_url == url}
    new = Resource.of(url, name, old[url, name].body + b"\xa2\x06\x00")
    store.update(group={group: {(url, name): new}})
    api.streams.open = [stream(1, {**acked, "gone": "v"}, type_url=url)]
    compared = await compare(api)
    found = {one.name: one for one in compared.resources}
    assert (compared.requested, compared.state, compared.nack) == (True, "NACKED", "no")
    assert (found[name].body, found[name].acked_body) == (new.body, old[url, name].body)
    assert (found["gone"].version, found["gone"].acked_version, found["gone"].acked_body) == ("", "v", b"")
    same = found["dev/deployment/orders/8081/app"]
    assert (same.version, same.body) == (same.acked_version, b"")
    with_bodies = {one.name: one for one in (await compare(api, bodies=True)).resources}
    assert with_bodies[same.name].body == old[url, same.name].body


async def test_where_nobody_is_connected_everything_is_intended_and_nothing_acknowledged(api: Api) -> None:
    compared = await compare(api, kind="routes")
    assert (compared.requested, compared.state) == (False, "NOT REQUESTED")
    assert compared.resources
    assert all(one.version and not one.acked_version for one in compared.resources)


async def test_an_instance_id_that_two_workloads_have_is_ambiguous(api: Api) -> None:
    assert (await api.resources("mixed-1")).resources == (
        await api.resources("dev/statefulset/mixed/mixed-1")
    ).resources
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await api.resources("orders-1")
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details() == f"NODE: 'orders-1' may be any of {NODE}, qa/deployment/orders/orders-1"


@pytest.mark.parametrize(
    ("node", "kind", "code"),
    [("nobody", "clusters", "NOT_FOUND"), (NODE, "runtimes", "INVALID_ARGUMENT")],
)
async def test_what_is_not_there_is_refused(api: Api, node: str, kind: str, code: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await api.resources(node, kind)
    assert refused.value.code().name == code


@pytest.mark.parametrize(("token", "code"), [("", "UNAUTHENTICATED"), ("nobodys-token", "PERMISSION_DENIED")])
async def test_only_the_administrator_is_told(api: Api, token: str, code: str) -> None:
    api.token = token
    for call in (api.sidecars(), api.resources(NODE)):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code().name == code


async def test_replies_are_serialised_as_the_library_does(api: Api) -> None:
    for reply in (recorded.sidecars(), await api.resources(NODE)):
        assert encode(reply) == bytes(reply)
