"""Rules that need the server's state to change while somebody looks."""

from __future__ import annotations

from xds.serve.client import Received, Response
from xds.serve.resource import CLUSTER, ENDPOINT, ROUTE
from xds.serve.status import Variant
from xdsctl.conform.bench import Bench
from xdsctl.conform.both import eds_of
from xdsctl.conform.probe import Probe, names_in, words
from xdsctl.conform.rule import BrokenError, On, UnjudgedError, rule

UPDATE = "When to send an update"
DELETING = "Deleting Resources"


async def _pushed(probe: Probe, bench: Bench, name: str) -> Response:
    """Change what the probe has, and wait for it; not acknowledged yet."""
    await bench.changed("change", probe.url, name)
    while name not in names_in(response := await probe.answer(f"{name!r} was changed")):
        await probe.ack(response)
    return response


@rule(
    "change-pushed", "What changes is sent unasked, once", section="Basic Protocol Overview", on=On.EACH, changes=True
)
async def _change(bench: Bench, url: str) -> str:
    name = bench.one(url)
    async with bench.open(url) as probe:
        before = await probe.get(name)
        response = await _pushed(probe, bench, name)
        await probe.ack(response)
        _differs(before[name], response)
        await probe.silence("acknowledged a change")
    return "one response for one change"


def _differs(before: Received, response: Response) -> None:
    after = next(each for each in response.resources if each.name == before.name)
    if after.body == before.body:
        raise UnjudgedError(f"the change command did not change {before.name!r}")


@rule(
    "only-what-changed",
    "What has not changed is not sent with what has",
    section="Grouping Resources into Responses",
    on=On.PAIR,
    variant=Variant.DELTA,
    advised=True,
    changes=True,
)
async def _only(bench: Bench, url: str) -> str:
    one, two = bench.pair(url)
    async with bench.open(url) as probe:
        await probe.get(one, two)
        response = await _pushed(probe, bench, one)
        if two in names_in(response):
            raise BrokenError(f"{two!r} was sent too")
    return "the other was not sent"


@rule(
    "full-set-at-change",
    "When one cluster or listener changes, all are sent",
    section="Grouping Resources into Responses",
    on=On.FULL_PAIR,
    variant=Variant.SOTW,
    changes=True,
)
async def _full(bench: Bench, url: str) -> str:
    async with bench.open(url) as probe:
        await probe.want()
        await probe.gather(bench.inventory[url], "asked for by silence")
        response = await _pushed(probe, bench, bench.one(url))
        if missing := set(bench.inventory[url]) - set(names_in(response)):
            raise BrokenError(f"one was changed, and {words(missing)} left out, which deletes it")
    return "one was changed, and all were sent"


@rule("nack-then-change", "After a refusal the next change is sent, once", section="NACK", on=On.EACH, changes=True)
async def _repair(bench: Bench, url: str) -> str:
    name = bench.one(url)
    async with bench.open(url) as probe:
        await probe.get(name)
        for _ in range(3):
            response = await _pushed(probe, bench, name)
            await probe.nack(response)
            await probe.not_again(response)
    return "three changes, all refused: each was sent once"


@rule(
    "one-in-flight",
    "Until a response is acknowledged there is no other; then comes the newest state",
    section=UPDATE,
    on=On.EACH,
    advised=True,
    changes=True,
)
async def _flight(bench: Bench, url: str) -> str:
    name = bench.one(url)
    async with bench.open(url) as probe:
        await probe.get(name)
        first = await _pushed(probe, bench, name)
        await bench.changed("change", url, name)
        await probe.heard()
        if await probe.next(bench.quiet) is not None:
            raise BrokenError("a second response came before the first was acknowledged")
        await probe.ack(first)
        await probe.gather([name], "changed while a response was not acknowledged")
    return "the second change waited for the ACK of the first"


@rule(
    "unsubscribed-is-quiet",
    "What was unsubscribed from is sent no more",
    section="Unsubscribing From Resources",
    on=On.EACH,
    advised=True,
    changes=True,
)
async def _unsubscribed(bench: Bench, url: str) -> str:
    name = bench.one(url)
    async with bench.open(url) as probe:
        await probe.get(name)
        await probe.want()
        await probe.settle()
        await bench.changed("change", url, name)
        await probe.silence(f"unsubscribed from {name!r}, which was changed then", of=[name])
    return "silence when it changed"


@rule(
    "queued-is-dropped",
    "A response that waits when its name is unsubscribed from is not sent",
    section="Unsubscribing From Resources",
    on=On.EACH,
    advised=True,
    changes=True,
)
async def _queued(bench: Bench, url: str) -> str:
    name = bench.one(url)
    async with bench.open(url) as probe:
        await probe.get(name)
        first = await _pushed(probe, bench, name)
        await bench.changed("change", url, name)
        await probe.heard()
        if await probe.next(bench.quiet) is not None:
            raise UnjudgedError("the server sends without waiting for an ACK, so nothing waits")
        await probe.want()
        await probe.ack(first)
        await probe.silence(f"unsubscribed from {name!r} while its change waited for an ACK", of=[name])
    return "what waited was dropped"


@rule(
    "absent-appears",
    "A name that was asked for before it existed is sent when it does",
    section="Knowing When a Requested Resource Does Not Exist",
    on=On.EACH,
    changes=True,
)
async def _appears(bench: Bench, url: str) -> str:
    async with bench.made(url) as name, bench.open(url) as probe:
        await probe.want(name)
        await probe.settle()
        await bench.changed("put", url, name)
        await probe.gather([name], "asked for before it existed")
    return "sent when it came into existence"


@rule(
    "wildcard-follows",
    "What is new is sent to who asked for everything",
    section="Basic Protocol Overview",
    on=On.FULL,
    changes=True,
)
async def _follows(bench: Bench, url: str) -> str:
    async with bench.made(url) as name, bench.open(url) as probe:
        await probe.want()
        await probe.gather(bench.inventory[url], "asked for by silence")
        await bench.changed("put", url, name)
        await probe.gather([name], "new, and asked for by silence")
    return "sent when it came into existence"


@rule(
    "removal-told",
    "What is removed is named in removed_resources (delta)",
    section=DELETING,
    on=On.EACH,
    variant=Variant.DELTA,
    changes=True,
)
async def _removal(bench: Bench, url: str) -> str:
    return await _removed(bench, url)


@rule(
    "removal-by-omission",
    "A cluster or listener that is removed is left out of the next full set (state of the world)",
    section=DELETING,
    on=On.FULL,
    variant=Variant.SOTW,
    changes=True,
)
async def _omission(bench: Bench, url: str) -> str:
    return await _removed(bench, url)


async def _removed(bench: Bench, url: str) -> str:
    async with bench.made(url) as name, bench.open(url) as probe:
        await bench.changed("put", url, name)
        await probe.get(name, bench.one(url))
        await probe.all_types()
        await bench.changed("drop", url, name)
        await probe.gone(name, "removed")
    return "told when it was removed"


@rule(
    "endpoints-follow",
    "A cluster that changes gets its endpoints again, in delta without asking",
    section="Resource warming",
    on=On.SERVER,
    aggregated=True,
    changes=True,
)
async def _warming(bench: Bench, _: str) -> str:
    cluster, service = eds_of(bench)
    async with bench.open(CLUSTER) as probe:
        await probe.want()
        await probe.gather(bench.inventory[CLUSTER], "asked for by silence")
        await probe.get(service, url=ENDPOINT)
        await bench.changed("change", CLUSTER, cluster)
        # Envoy does not acknowledge clusters before they are warm; in state of the world it asks again for endpoints.
        if probe.is_sotw:
            response = await probe.answer(f"{cluster!r} was changed")
            await probe.want(service, url=ENDPOINT)
            await probe.gather([service], "endpoints of a changed cluster, asked for again", ENDPOINT)
            await probe.ack(response)
        else:
            await probe.gather([service], f"endpoints of {cluster!r}, which was changed", ENDPOINT)
    return "the endpoints came behind the cluster"


@rule(
    "make-before-break",
    "Clusters come before the routes that lead to them, and go after",
    section="Eventual consistency considerations",
    on=On.SERVER,
    aggregated=True,
    changes=True,
)
async def _order(bench: Bench, _: str) -> str:
    if CLUSTER not in bench.inventory or ROUTE not in bench.inventory:
        raise UnjudgedError("needs clusters and routes")
    async with bench.made(CLUSTER) as old, bench.made(CLUSTER) as new, bench.open(CLUSTER) as probe:
        await probe.all_types()
        await bench.changed("switch", CLUSTER, old)
        await _order_of(probe, bench, added=old, gone="")
        await bench.changed("switch", CLUSTER, new)
        await _order_of(probe, bench, added=new, gone=old)
    return "added before the routes changed, removed after"


async def _order_of(probe: Probe, bench: Bench, *, added: str, gone: str) -> None:
    there, routed, removed = False, False, not gone
    while not (there and routed and removed):
        response = await probe.any(bench.patience)
        if response is None:
            what = [] if there else [f"cluster {added!r}"]
            what += [] if routed else ["routes"]
            what += [] if removed else [f"the removal of cluster {gone!r}"]
            raise BrokenError(f"a route moved to another cluster: no {' and no '.join(what)} came")
        if response.type_url == ROUTE:
            if not there:
                raise BrokenError("routes came before the cluster that they lead to")
            routed = True
        if response.type_url == CLUSTER:
            there = there or added in names_in(response)
            left = gone not in names_in(response) if probe.is_sotw else gone in response.removed
            if gone and left and not routed:
                raise BrokenError("a cluster was removed before the routes that led to it had moved")
            removed = removed or left
        await probe.ack(response)
