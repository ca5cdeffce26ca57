"""The rules where they show on the wire: real grpc.aio, a small client, both variants, aggregated and per type."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from tests.serve import client
from tests.serve.client import ADS, CDS, EDS, LDS, RDS, SDS, delta, sotw
from tests.serve.configs import opaque
from tests.serve.harness import GROUP, Recorder, Served, serve, until
from xds.serve import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    ROUTE,
    SECRET,
    Ack,
    Limits,
    Metadata,
    Node,
    Refused,
    Store,
    SyncState,
    Variant,
    View,
)

PER_TYPE = [(CDS, CLUSTER), (EDS, ENDPOINT), (LDS, LISTENER), (RDS, ROUTE), (SDS, SECRET)]


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serve() as made:
        yield made
        await until(lambda: not made.xds.statistics()["streams"], "all streams ended")
        assert made.store.watchers == 0, "a watch outlived its stream"


@pytest.fixture(params=[delta, sotw])
def connect(request: pytest.FixtureRequest) -> Any:
    return request.param


def names(response: Any) -> list[str]:
    """Names in a delta response, bodies in a state-of-the-world one."""
    return [getattr(each, "name", None) or each.value.decode() for each in response.resources]


async def test_a_change_reaches_the_client_and_its_acknowledgement_the_observer(served: Served, connect: Any) -> None:
    served.put(opaque(CLUSTER, "a"))
    async with connect(served.address) as peer:
        await peer.request_ack(CLUSTER)
        await until(lambda: served.recorder.acks == [(CLUSTER, 1)], "the first acknowledgement")
        revision = served.put(opaque(CLUSTER, "b"))
        assert served.xds.lagging(GROUP, revision)[0].state is SyncState.STALE
        response = await peer.response_ack()
        assert response.control_plane.identifier == "tests"
        await until(lambda: not served.xds.lagging(GROUP, revision), "the change in force")
        assert served.recorder.acks == [(CLUSTER, 1), (CLUSTER, 2)]
        await peer.expect_no_response()


async def test_an_observer_is_told_of_every_response_and_of_its_verdict_until_it_stops(
    served: Served, connect: Any
) -> None:
    second = Recorder()
    stop = served.xds.observe(second)
    served.put(opaque(CLUSTER, "a"))
    async with connect(served.address) as peer:
        await peer.request_ack(CLUSTER)
        await until(lambda: second.verdicts, "the acknowledgement")
        ((type_url, sent, size),) = second.responses
        assert (type_url, sent.revision, set(sent.resources)) == (CLUSTER, 1, {"a"})
        assert size > len(opaque(CLUSTER, "a").body)
        ((type_url, ack),) = second.verdicts
        assert (type_url, ack, ack.nonce) == (CLUSTER, Ack(1), sent.nonce)
        assert 0 <= ack.took < 60
        stop()
        served.put(opaque(CLUSTER, "a", "bad"))
        await peer.nack(await peer.response())
        await until(lambda: served.recorder.nacks, "the refusal")
    assert len(second.responses) == len(second.verdicts) == 1
    type_url, nack = served.recorder.verdicts[-1]
    assert (type_url, nack.nonce) == (CLUSTER, served.recorder.responses[-1][1].nonce)
    assert served.recorder.nacks == [(CLUSTER, nack)]


async def test_a_refusal_is_recorded_and_answered_by_new_content_only(served: Served, connect: Any) -> None:
    served.put(opaque(ROUTE, "r", "bad"))
    async with connect(served.address) as peer:
        await peer.request_nack(ROUTE, ["r"])
        await peer.expect_no_response()
        ((type_url, nack),) = served.recorder.nacks
        assert (type_url, nack.text, list(nack.resources)) == (ROUTE, "refused", ["r"])
        (lag,) = served.xds.lagging(GROUP, served.store.revision)
        assert lag.state is SyncState.NACKED
        assert lag.nack == nack
        served.put(opaque(ROUTE, "r", "good"))
        await peer.response_ack()
        await until(lambda: not served.xds.lagging(GROUP, served.store.revision), "the repair in force")
        await peer.expect_no_response()


@pytest.mark.parametrize(("method", "type_url"), PER_TYPE)
async def test_every_type_has_a_service_of_its_own(served: Served, connect: Any, method: str, type_url: str) -> None:
    served.put(opaque(type_url, "a"))
    async with connect(served.address, method) as peer:
        response = await peer.request_ack(type_url, ["a"])
        assert response.type_url == type_url
        assert len(response.resources) == 1
        await until(lambda: served.recorder.acks, "the acknowledgement")
        assert not served.xds.clients()[0].stream.aggregated
        assert not served.xds.lagging(GROUP, served.store.revision, [each for _, each in PER_TYPE])


async def test_on_a_service_of_one_type_the_type_url_may_be_left_out(served: Served, connect: Any) -> None:
    served.put(opaque(CLUSTER, "a"))
    async with connect(served.address, CDS) as peer:
        await peer.request("")
        assert (await peer.response()).type_url == CLUSTER


async def test_a_service_of_one_type_refuses_another(served: Served, connect: Any) -> None:
    async with connect(served.address, CDS) as peer:
        await peer.request(ROUTE, ["r"])
        code, text = await peer.expect_end()
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert ROUTE in text


async def test_a_first_request_without_node_id_is_an_invalid_argument(served: Served, connect: Any) -> None:
    for node_id in (None, ""):
        async with connect(served.address, node_id=node_id) as peer:
            await peer.request(CLUSTER)
            code, text = await peer.expect_end()
            assert (code, text) == (
                grpc.StatusCode.INVALID_ARGUMENT,
                "the first request has no node id; set node.id",
            )


async def test_an_aggregated_request_without_type_url_is_an_invalid_argument(served: Served, connect: Any) -> None:
    async with connect(served.address) as peer:
        await peer.request("")
        code, text = await peer.expect_end()
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "type_url" in text


async def test_a_request_that_is_no_message_is_an_invalid_argument(served: Served, connect: Any) -> None:
    async with connect(served.address) as peer:
        await peer.request(CLUSTER)
        await peer.response()
        await peer.call.write(b"\x0a\xff\x01")
        code, text = await peer.expect_end()
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "truncated" in text


async def test_the_node_is_remembered_from_the_first_request(served: Served, connect: Any) -> None:
    own = opaque(ENDPOINT, "e", "own")
    served.put_own(own)
    async with connect(served.address) as peer:
        await peer.request_ack(CLUSTER)
        response = await peer.request_ack(ENDPOINT, ["e"])
        assert len(response.resources) == 1
        (status,) = served.xds.clients()
        assert (status.stream.node_id, status.stream.view) == ("node-1", View(GROUP, "node-1"))


async def test_streams_are_refused_until_the_first_state_is_complete(connect: Any) -> None:
    async with serve(complete=False) as served:
        served.put(opaque(CLUSTER, "a"))
        async with connect(served.address) as peer:
            code, text = await peer.expect_end()
            assert code is grpc.StatusCode.UNAVAILABLE
            assert "not complete" in text
        served.store.complete()
        async with connect(served.address) as peer:
            assert len((await peer.request_ack(CLUSTER)).resources) == 1


async def test_a_peer_that_is_refused_gets_the_status_and_the_text(connect: Any) -> None:
    async def authenticate(node: Node, metadata: Metadata) -> View:
        if ("authorization", "Bearer right") not in metadata:
            raise Refused(grpc.StatusCode.UNAUTHENTICATED, f"{node.id} has no token")
        return View(GROUP, node.id)

    async with serve(authenticate=authenticate) as served:
        served.put(opaque(CLUSTER, "a"))
        async with connect(served.address) as peer:
            await peer.request(CLUSTER)
            assert await peer.expect_end() == (grpc.StatusCode.UNAUTHENTICATED, "node-1 has no token")
        assert not served.recorder.connected
        async with connect(served.address, metadata=(("authorization", "Bearer right"),)) as peer:
            assert len((await peer.request_ack(CLUSTER)).resources) == 1


async def test_a_change_while_the_first_state_is_sent_is_not_missed(served: Served, connect: Any) -> None:
    class Racing:
        """Changes the store at the moment at which a stream is registered and nothing has been read yet."""

        def on_connect(self, stream: Any) -> None:
            served.put(opaque(CLUSTER, "late"))

        def __getattr__(self, name: str) -> Any:
            return lambda *arguments: None

    async with serve(store=served.store, observer=Racing()) as racing, connect(racing.address) as peer:
        assert len((await peer.request_ack(CLUSTER)).resources) == 1
        await peer.expect_no_response()


async def test_an_observer_that_fails_does_not_end_the_stream(connect: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Failing:
        def __getattr__(self, name: str) -> Any:
            def fail(*arguments: object) -> None:
                raise RuntimeError(f"{name} failed")

            return fail

    async with serve(observer=Failing()) as served:
        served.put(opaque(CLUSTER, "a"))
        async with connect(served.address) as peer:
            await peer.request_ack(CLUSTER)
            served.put(opaque(CLUSTER, "b"))
            await peer.request_nack(LISTENER)
            assert len(served.xds.clients()) == 1
        await until(lambda: not served.xds.clients(), "the stream ended")
    assert "on_connect failed" in caplog.text
    assert "on_disconnect failed" in caplog.text


@pytest.mark.parametrize("ending", ["cancelled", "half-closed"])
async def test_the_end_of_a_stream_frees_everything(served: Served, connect: Any, ending: str) -> None:
    served.put(opaque(CLUSTER, "a"))
    async with connect(served.address) as peer:
        await peer.request_ack(CLUSTER)
        assert served.xds.statistics()["watchers"] == 1
        if ending == "cancelled":
            peer.call.cancel()
        else:
            await peer.call.done_writing()
            assert (await peer.expect_end())[0] is grpc.StatusCode.OK
    await until(
        lambda: served.xds.statistics() == {"calls": 0, "streams": 0, "watchers": 0, "paced": 0}, "all is freed"
    )
    assert served.recorder.connected == served.recorder.disconnected


async def test_too_many_names_end_the_stream(connect: Any) -> None:
    async with serve(limits=Limits(names=3)) as served:
        async with connect(served.address) as peer:
            await peer.request(ROUTE, ["a", "b", "c", "d"])
            assert await peer.expect_end() == (
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "4 resource names in one request; the limit is 3",
            )
        async with delta(served.address) as peer:
            await peer.request(ROUTE, ["a", "b", "c"])
            await peer.request(ROUTE, ["d"])
            code, text = await peer.expect_end()
            assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "4 subscriptions" in text


async def test_too_many_types_end_the_stream(connect: Any) -> None:
    async with serve(limits=Limits(types=2)) as served, connect(served.address) as peer:
        for number in range(3):
            await peer.request(f"type-{number}", ["a"])
        code, text = await peer.expect_end()
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "3 types on one stream; the limit is 2" in text


async def test_too_many_streams_are_refused(connect: Any) -> None:
    async with serve(limits=Limits(streams=1)) as served, connect(served.address) as peer:
        await peer.request_ack(CLUSTER)
        async with connect(served.address) as second:
            code, _ = await second.expect_end()
            assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        served.put(opaque(CLUSTER, "a"))
        assert len((await peer.response_ack()).resources) == 1


async def test_a_client_that_never_says_who_it_is_is_sent_away(connect: Any) -> None:
    async with serve(limits=Limits(first_request=0.05)) as served, connect(served.address) as peer:
        code, text = await peer.expect_end()
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "0.05 s" in text


async def test_a_message_over_the_size_limit_ends_the_stream(served: Served, connect: Any) -> None:
    async with connect(served.address) as peer:
        await peer.request(ROUTE, ["n" * (4 * 1024 * 1024 + 1)])
        code, _ = await peer.expect_end()
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_burst_of_changes_goes_out_in_few_responses(served: Served) -> None:
    async with delta(served.address) as peer:
        await peer.request_ack(ROUTE, ["r"])
        responses = 0
        for number in range(50):
            served.put(opaque(ROUTE, "r", str(number)))
            await asyncio.sleep(0)
        newest = opaque(ROUTE, "r", "49").version
        while peer.kept.get(ROUTE, {}).get("r") != newest:
            await peer.response_ack()
            responses += 1
        assert responses <= 3
        await peer.expect_no_response()


async def test_a_change_after_a_pause_goes_out_without_delay() -> None:
    async with serve(coalesce=30.0) as served, delta(served.address) as peer:
        await peer.request_ack(ROUTE, ["r"])
        served.put(opaque(ROUTE, "r", "leading"))
        response = await peer.response()
        served.put(opaque(ROUTE, "r", "within the interval"))
        await peer.ack(response)
        await peer.expect_no_response()
        assert served.xds.lagging(GROUP, served.store.revision), "held back, but owed"


async def test_changes_that_were_held_back_go_out_when_the_interval_is_over() -> None:
    async with serve(coalesce=0.1) as served, delta(served.address) as peer:
        await peer.request_ack(ROUTE, ["r"])
        for content in ("leading", "held", "newest"):
            served.put(opaque(ROUTE, "r", content))
            await asyncio.sleep(0.01)
        await peer.response_ack()
        await peer.response_ack()
        assert peer.kept[ROUTE] == {"r": opaque(ROUTE, "r", "newest").version}
        await peer.expect_no_response()


async def test_a_client_that_does_not_read_holds_up_nobody_and_gets_the_newest_state(served: Served) -> None:
    big = "x" * 100
    async with delta(served.address) as lazy, delta(served.address) as busy:
        await lazy.request_ack(ROUTE, ["r"])
        await busy.request_ack(ROUTE, ["r"])
        for number in range(20):
            served.put(opaque(ROUTE, "r", f"{big}{number}"))
            await busy.response_ack()
        await lazy.response_ack()
        await lazy.response_ack()
        assert lazy.kept == busy.kept
        await lazy.expect_no_response()


async def test_removals_are_held_for_a_client_that_reconnects_but_not_for_ever() -> None:
    async with serve(settle=0.2) as served, delta(served.address) as peer:
        served.put(opaque(ROUTE, "r"))
        await peer.request(CLUSTER, initial={"gone": "f00"})
        await peer.expect_no_response()
        assert list((await peer.response_ack()).removed_resources) == ["gone"]


async def test_another_replica_with_the_same_content_sends_nothing_to_a_client_that_comes_over(served: Served) -> None:
    content = [opaque(CLUSTER, "a"), opaque(CLUSTER, "b"), opaque(ROUTE, "r")]
    served.put(*content)
    async with delta(served.address) as peer:
        await peer.request_ack(CLUSTER)
        await peer.request_ack(ROUTE, ["r"])
        kept = peer.kept
    async with serve(store=Store()) as replica, delta(replica.address) as peer:
        for each in reversed(content):
            replica.put(each)
        await peer.request(CLUSTER, initial=kept[CLUSTER])
        await peer.request(ROUTE, ["r"], initial=kept[ROUTE])
        await peer.expect_no_response()
        assert not replica.xds.lagging(GROUP, replica.store.revision)


async def test_clients_are_shown_with_what_they_want_have_and_refused(served: Served, connect: Any) -> None:
    served.put(opaque(CLUSTER, "a"), opaque(ROUTE, "r"))
    async with connect(served.address) as peer:
        await peer.request_ack(CLUSTER)
        await peer.request_nack(ROUTE, ["r", "missing"])
        await until(lambda: served.recorder.nacks, "the refusal")
        (status,) = served.xds.clients()
        assert status.stream.variant is (Variant.DELTA if isinstance(peer, client.DeltaClient) else Variant.SOTW)
        assert status.stream.peer.startswith("ipv4:127.0.0.1:")
        assert status.stream.aggregated
        clusters, routes = status.types[CLUSTER], status.types[ROUTE]
        assert (clusters.state, clusters.wildcard, clusters.names) == (SyncState.SYNCED, True, frozenset())
        assert clusters.acked == {"a": opaque(CLUSTER, "a").version}
        assert (routes.state, routes.wildcard, set(routes.names)) == (SyncState.NACKED, False, {"r", "missing"})
        assert routes.acked == {}
        assert routes.last_sent is not None
        assert routes.last_sent.resources == {"r": opaque(ROUTE, "r").version}
        assert routes.nack is not None
        assert routes.nack.text == "refused"


async def test_one_groups_change_wakes_no_stream_of_another(served: Served) -> None:
    async def authenticate(node: Node, metadata: Metadata) -> View:
        return View(node.id, node.id)

    async with (
        serve(authenticate=authenticate) as groups,
        delta(groups.address, ADS, node_id="one") as one,
        delta(groups.address, ADS, node_id="other") as other,
    ):
        await one.request_ack(CLUSTER)
        await other.request_ack(CLUSTER)
        await until(lambda: not groups.xds.lagging("other", 0), "the acknowledgement")
        revision = groups.store.update(group={"one": {(CLUSTER, "a"): opaque(CLUSTER, "a")}})
        assert [lag.stream.node_id for lag in groups.xds.lagging("one", revision)] == ["one"]
        assert not groups.xds.lagging("other", revision)
        assert names(await one.response_ack()) == ["a"]
        await other.expect_no_response()


async def test_handlers_share_a_server_with_other_services(connect: Any) -> None:
    async with serve() as served, grpc.aio.insecure_channel(served.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/some.other.Service/Method", bytes, bytes)(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
