"""Why sidecars are sent something, in words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import grpc.aio
import pytest

from tests.manager.running import FILE, NODE, Running, refused, running, until
from tests.registry.office import CARTS, ORDERS, Office, header, personal
from tests.serve.client import ADS, DeltaClient
from xds.api.byway.manager import v1
from xds.api.rpc import bearer
from xds.api.services import Debug
from xds.manager.reasons import CHANGED, gateways_reason, reasons
from xds.registry import intercepts, sessions
from xds.registry.change import Change
from xds.registry.intercept import Target
from xds.registry.session import TargetHealth, TargetReport
from xds.registry.workload import Workload
from xds.serve.journal import Bounds, Journal
from xds.serve.push import Outcome
from xds.serve.resource import ENDPOINT, LISTENER, ROUTE

TWO = FILE.replace(
    '     app: {{http: "127.0.0.1:3", admin: "127.0.0.1:4"}}}}\n',
    '     app: {{http: "127.0.0.1:3", admin: "127.0.0.1:4"}}}}\n'
    '  - {{id: orders-2, listen: {{http: "127.0.0.1:5", admin: "127.0.0.1:6"}},\n'
    '     app: {{http: "127.0.0.1:7", admin: "127.0.0.1:8"}}}}\n',
)


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as manager:
        yield manager


@pytest.fixture
def office() -> Office:
    office = Office()
    office.connect("ann")
    office.connect("bob")
    return office


def test_an_intercept_is_named_with_what_happened_to_it_and_who_did_it(office: Office) -> None:
    change, _ = intercepts.create(
        office.state, office.settings, "s-ann", personal(header("x-user", "a")), new_id="i-1", now=office.now
    )
    assert reasons(office.state, change) == {ORDERS: "intercept i-1 created by ann@lap"}
    office.do(change)
    ended = intercepts.end(office.state, "i-1", by="bob@lap", text="in the way")
    assert reasons(office.state, ended) == {ORDERS: "intercept i-1 ended by bob@lap: in the way"}
    rejected = intercepts.reject(office.state, "i-1", "regex too large")
    assert reasons(office.state, rejected) == {ORDERS: "intercept i-1 rejected by envoy"}


def test_a_take_over_names_both(office: Office) -> None:
    first = office.create("ann", personal(header("x-user", "a")))
    office.wait(700)
    change, _ = intercepts.create(
        office.state, office.settings, "s-bob", personal(header("x-user", "a")), new_id="i-9", now=office.now
    )
    assert reasons(office.state, change)[ORDERS].split("; ") == [
        f"intercept {first} displaced by bob@lap",
        "intercept i-9 created by bob@lap",
    ]


def test_a_laptop_that_goes_and_comes_is_named(office: Office) -> None:
    office.create("ann", personal(header("x-user", "a")))
    for present, word in ((False, "away"), (True, "back")):
        change = sessions.presence(
            office.state, "s-ann", epoch=1, present=present, targets=None, now=office.now + 1 + present
        )
        assert reasons(office.state, change) == {ORDERS: f"laptop of ann@lap {word}"}
        office.do(change)


def test_a_target_that_ceases_to_listen_is_named(office: Office) -> None:
    spec = personal(header("x-user", "a"))
    office.create("ann", spec)
    target: Target = spec.ports[0].target
    report = {target: TargetReport(TargetHealth.NOT_LISTENING)}
    change = sessions.presence(office.state, "s-ann", epoch=1, present=True, targets=report, now=office.now + 1)
    assert reasons(office.state, change) == {ORDERS: f"{target} of ann@lap: not listening"}


def test_another_address_is_a_reason(office: Office) -> None:
    office.create("ann", personal(header("x-user", "a")))
    change = sessions.resume(office.state, "s-ann", host="", address="10.0.0.9", now=office.now)
    assert reasons(office.state, change) == {ORDERS: "laptop of ann@lap has another address"}


def test_gateways_are_told_for_sessions_too_since_their_tunnels_may_come(office: Office) -> None:
    office.create("ann", personal(header("x-user", "a")))
    came = sessions.connect(office.state, replace(office.state.session("s-ann"), id="s-cat", user="cat"))
    assert gateways_reason(office.state, came, []) == "session of cat@lap started"
    daemon = Change(sessions={"s-ann": replace(office.state.session("s-ann"), daemon="other")})
    assert gateways_reason(office.state, daemon, []) == "another daemon of ann@lap"
    went = Change(sessions={"s-ann": None})
    assert gateways_reason(office.state, went, ["b", "a", "b"]) == "a; b; session of ann@lap ended"
    assert gateways_reason(office.state, Change(), []) == CHANGED


def test_the_file_is_a_reason(office: Office) -> None:
    workload = office.state.workloads[ORDERS]
    change = Change(workloads={ORDERS: workload, CARTS: None}, dirty=frozenset({ORDERS, CARTS}))
    assert reasons(office.state, change) == {
        ORDERS: "workload changed in the file",
        CARTS: "workload removed in the file",
    }
    office.do(change)
    again = Change(workloads={CARTS: Workload(CARTS, workload.ports)}, dirty=frozenset({CARTS}))
    assert reasons(office.state, again) == {CARTS: "workload added in the file"}


def test_there_is_always_a_reason(office: Office) -> None:
    assert reasons(office.state, Change(dirty=frozenset({ORDERS}))) == {ORDERS: CHANGED}


# In a manager that runs


async def history(there: Running, node: str = NODE) -> v1.GetHistoryReply:
    request = v1.GetHistoryRequest(node=node)
    return await Debug.GET_HISTORY(there.channel, request, metadata=bearer(there.admin_token))


async def sidecar(there: Running, instance: str) -> DeltaClient:
    """One that has been given its listeners and endpoints."""
    token = (there.state.sidecar("dev/deployment/orders", instance) / "token").read_text().strip()
    client = DeltaClient(there.channel, ADS, f"dev/deployment/orders/{instance}", tuple(bearer(token)))
    for kind in (LISTENER, ENDPOINT):
        await client.request_ack(kind, ["*"])
    return client


async def test_the_history_tells_what_a_sidecar_was_sent_and_why(there: Running) -> None:
    client = await sidecar(there, "orders-1")
    ann = await there.connect("ann", present=True)
    creating = ann.creation("hers", "x-user=a")
    await client.response_ack()
    await client.response_ack()
    reply = await history(there)
    assert (reply.node, reply.connected) == (NODE, True)
    (intercept,) = there.manager.state.intercepts
    why = f"intercept {intercept} created by ann@lap"
    # The way to the laptop is a listener of the same Envoy.
    assert [(one.type, *one.reasons) for one in reply.pushes] == [
        ("listeners", "connected"),
        ("endpoints", "connected"),
        ("endpoints", why),
        ("listeners", why),
    ]
    creating.cancel()
    client.close()
    await until(lambda: there.manager.sidecars.server and not there.manager.sidecars.server.clients())
    again = await history(there, "orders-1")
    assert not again.connected
    assert len(again.pushes) >= 3


async def test_an_instance_that_leaves_the_file_loses_its_resources_and_its_stream(there: Running) -> None:
    there.file.write_text(TWO.format(settings="{}"))
    there.standalone.reload()
    store = there.manager.store
    stays, goes = await sidecar(there, "orders-1"), await sidecar(there, "orders-2")
    gone = "dev/deployment/orders/orders-2"
    assert store.contents(node=gone)
    there.change()
    there.standalone.reload()
    assert not store.contents(node=gone)
    assert store.contents(node=NODE)
    assert store.contents(group="dev/deployment/orders")
    assert await goes.expect_end() == (
        grpc.StatusCode.PERMISSION_DENIED,
        f"{gone} is not among the manager's instances any more",
    )
    await until(lambda: list(there.manager.sidecars.connected(ORDERS)) == [NODE])
    (last,) = (one for one in (await history(there, gone)).pushes if one.removed and one.type == "listeners")
    assert last.reasons == ["workload changed in the file"]
    stays.close()
    back = DeltaClient(there.channel, ADS, gone, tuple(bearer("no-token")))
    await back.request(LISTENER, ["*"])
    assert (await back.expect_end())[0] is grpc.StatusCode.UNAUTHENTICATED


async def test_a_workload_that_leaves_the_file_takes_all_of_its_nodes_along(there: Running) -> None:
    client = await sidecar(there, "orders-1")
    there.change(replace=("workloads:\n" + FILE[FILE.index("- name: orders") :].format(), "workloads: []\n"))
    there.standalone.reload()
    assert not there.manager.store.contents(node=NODE)
    assert not there.manager.store.contents(group="dev/deployment/orders")
    assert (await client.expect_end())[0] is grpc.StatusCode.PERMISSION_DENIED
    there.change()
    there.standalone.reload()
    back = await sidecar(there, "orders-1")
    assert there.manager.store.contents(node=NODE)
    back.close()


@pytest.mark.parametrize("token", ["", "guess"])
async def test_nobody_but_the_administrator_may_look_or_watch(there: Running, token: str) -> None:
    status = grpc.StatusCode.PERMISSION_DENIED if token else grpc.StatusCode.UNAUTHENTICATED
    proof = bearer(token) if token else ()
    with refused(status):
        await Debug.GET_HISTORY(there.channel, v1.GetHistoryRequest(node=NODE), metadata=proof)
    with refused(status):
        await Debug.COMPARE(there.channel, v1.CompareRequest(node=NODE), metadata=proof)
    with refused(status):
        await anext(aiter(Debug.TAP(there.channel, v1.TapRequest(node=NODE), metadata=proof)))


async def test_a_watch_ends_with_its_call(there: Running) -> None:
    call = Debug.TAP(there.channel, v1.TapRequest(node="orders-1"), metadata=bearer(there.admin_token))
    assert (await anext(aiter(call))).watching == NODE
    client = await sidecar(there, "orders-1")
    events = aiter(call)
    seen = [await anext(events) for _ in range(4)]
    assert seen[0].connected is not None
    assert seen[0].connected.transport == "delta, aggregated"
    assert [bool(one.request) for one in seen[1:]] == [True, False, True]
    assert seen[2].response is not None
    assert seen[2].response.type == "listeners"
    call.cancel()  # type: ignore[attr-defined]
    server = there.manager.sidecars.server
    assert server is not None
    await until(lambda: not server.journal.taps(NODE))
    client.close()


async def test_who_is_not_known_can_not_be_watched(there: Running) -> None:
    for call in (
        Debug.TAP(there.channel, v1.TapRequest(node="x"), metadata=bearer(there.admin_token)),
        Debug.TAP(there.channel, v1.TapRequest(node=NODE, types=["x"]), metadata=bearer(there.admin_token)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await anext(aiter(call))
        assert error.value.code() in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT}
    with refused(grpc.StatusCode.NOT_FOUND, "there is no node 'x'"):
        await history(there, "x")


async def test_who_watches_and_does_not_read_is_told_how_much_was_lost(there: Running) -> None:
    server = there.manager.sidecars.server
    assert server is not None
    server.journal = Journal(Bounds(events=20))
    client = await sidecar(there, "orders-1")
    await until(lambda: all(one.outcome is Outcome.ACKED for one in server.journal.history(NODE)))
    # A small window, so that what is not read waits at the manager.
    window = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_535)]
    async with grpc.aio.insecure_channel(there.address, options=window) as channel:
        call = Debug.TAP(channel, v1.TapRequest(node=NODE), metadata=bearer(there.admin_token))
        events = aiter(call)
        assert (await anext(events)).watching == NODE
        said = 300
        for number in range(said):
            names = [f"{number}-{each}".ljust(250, "x") for each in range(50)]
            await client.request(LISTENER, unsubscribe=names, nonce="not-from-here")
        # The stream is none the slower for it: it answers.
        await client.request_ack(ROUTE, ["dev/deployment/orders/8080"])
        seen = lost = 0
        # Beside these there are a request, a response and its acknowledgement.
        while seen + lost < said + 3:
            event = await asyncio.wait_for(anext(events), 10)
            lost += event.lost or 0
            seen += not event.lost
        assert lost > 0
        assert seen + lost == said + 3
        call.cancel()  # type: ignore[attr-defined]
    client.close()
