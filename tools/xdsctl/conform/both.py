"""Rules of both variants that need nothing to change."""

from __future__ import annotations

import grpc

from xds.serve.client import StreamEndedError
from xds.serve.resource import CLUSTER, FULL_STATE
from xdsctl.conform.bench import ABSENT, Bench
from xdsctl.conform.probe import ANYTHING, names_in, words
from xdsctl.conform.rule import BrokenError, On, UnjudgedError, rule

HINTS = "How the client specifies what resources to return"
OVERVIEW = "Basic Protocol Overview"
SUMMARY = "ACK and NACK semantics summary"


@rule("named", "What is asked for by name is sent", section=HINTS, on=On.EACH)
async def _named(bench: Bench, url: str) -> str:
    names = bench.inventory[url][:5]
    async with bench.open(url) as probe:
        await probe.get(*names)
    return f"{len(names)} asked for in one request, all sent" if len(names) > 1 else "one asked for, and sent"


@rule("wildcard", "`*` asks for everything", section=HINTS, on=On.FULL)
async def _wildcard(bench: Bench, url: str) -> str:
    async with bench.open(url) as probe:
        await probe.want(ANYTHING)
        await probe.gather(bench.inventory[url], "asked for by *")
    return f"all {len(bench.inventory[url])} sent"


@rule("wildcard-by-silence", "Who has never named anything asks for everything", section=HINTS, on=On.FULL)
async def _silence(bench: Bench, url: str) -> str:
    async with bench.open(url) as probe:
        await probe.want()
        await probe.gather(bench.inventory[url], "asked for by a first request without names")
    return f"all {len(bench.inventory[url])} sent"


@rule(
    "wildcard-ends",
    "Once a name was named, an empty list wants nothing: the wildcard is not inferred from it",
    section=HINTS,
    on=On.FULL,
)
async def _ends(bench: Bench, url: str) -> str:
    name = bench.one(url)
    async with bench.open(url) as probe:
        await probe.want()
        await probe.gather(bench.inventory[url], "asked for by a first request without names")
        if probe.is_sotw:
            await probe.want(ANYTHING, name)
            await probe.settle()
            await probe.want(name)
            others = set(bench.inventory[url]) - {name}
            await probe.silence(f"dropped `*` and kept {name!r}", of=others)
            await probe.want()
        else:
            await probe.delta([name])
            await probe.settle()
            await probe.delta((), [ANYTHING])
            await probe.settle()
            await probe.delta((), [name])
        await probe.silence("unsubscribed from everything", of=ANYTHING)
    return "nothing came after everything was unsubscribed from"


@rule("node-once", "The node comes with the first request only, and is remembered", section=OVERVIEW, on=On.EACH)
async def _node_once(bench: Bench, url: str) -> str:
    name = bench.one(url)
    async with bench.open(url) as probe:
        await probe.get(name)
        await probe.want()
        await probe.settle()
        await probe.want(name)
        await probe.gather([name], "asked for again, without a node")
    return "later requests without a node were answered"


@rule(
    "node-needed", "A stream that never says which node it is of is refused", section=OVERVIEW, on=On.EACH, advised=True
)
async def _node_needed(bench: Bench, url: str) -> str:
    async with bench.open(url) as probe:
        probe.with_node = False
        await probe.want(bench.one(url))
        return await _refused(bench, probe.next(bench.patience), "a first request without a node")


@rule(
    "type-needed",
    "A request on an aggregated stream without a type is refused",
    section="Aggregated Discovery Service",
    on=On.SERVER,
    aggregated=True,
    advised=True,
)
async def _type_needed(bench: Bench, _: str) -> str:
    async with bench.open("") as probe:
        await probe.want()
        return await _refused(bench, probe.next(bench.patience), "a first request without a type_url")


async def _refused(bench: Bench, answering: object, what: str) -> str:
    try:
        response = await answering  # type: ignore[misc]
    except StreamEndedError as error:
        if error.code is grpc.StatusCode.OK:
            raise BrokenError(f"{what}: the stream ended without an error") from None
        return f"the stream ended with {error.code.name}"
    raise BrokenError(f"{what} was answered" if response else f"{what}: not refused within {bench.patience:g} s")


@rule(
    "types-apart",
    "Each type of an aggregated stream is a stream of its own: its subscription and its nonces",
    section="Aggregated Discovery Service",
    on=On.EACH,
    aggregated=True,
)
async def _apart(bench: Bench, url: str) -> str:
    other = next((each for each in bench.inventory if each != url and each in FULL_STATE), None)
    if other is None:
        raise UnjudgedError("needs resources of two types, clusters or listeners among them")
    name = bench.one(url)
    async with bench.open(url) as probe:
        await probe.get(name)
        await probe.want(url=other)
        await probe.gather(bench.inventory[other], "another type asked for by silence after this one by name", other)
        await probe.want()
        await probe.settle()
        await probe.want(name)
        await probe.gather([name], "asked for again with this type's nonce, older than the other type's")
    return "subscription and nonces did not mix with those of another type"


@rule("nack-not-resent", "What was refused is not sent again by itself", section=SUMMARY, on=On.EACH)
async def _nack(bench: Bench, url: str) -> str:
    name = bench.one(url)
    async with bench.open(url) as probe:
        await probe.want(name)
        response = await probe.answer("asked for by name")
        await probe.nack(response)
        await probe.not_again(response)
    return "it did not come again after a NACK"


@rule("nothing-unasked", "Nothing is sent when nothing has changed", section="When to send an update", on=On.EACH)
async def _unasked(bench: Bench, url: str) -> str:
    async with bench.open(url) as probe:
        await probe.get(bench.one(url))
        await probe.silence("acknowledged what was sent")
    return "silence after an ACK"


@rule("asked-again", "Unsubscribed from and subscribed to again is sent again", section=HINTS, on=On.EACH)
async def _again(bench: Bench, url: str) -> str:
    name, *others = bench.inventory[url][:2]
    async with bench.open(url) as probe:
        await probe.get(name, *others)
        await probe.want(*others)
        await probe.settle()
        await probe.want(name, *others)
        await probe.gather([name], "unsubscribed from and subscribed to again, in the same version")
    return "sent again in the same version"


@rule(
    "nonces-die",
    "A nonce of an earlier stream means nothing on a new one: the first request is answered",
    section=OVERVIEW,
    on=On.EACH,
    advised=True,
)
async def _nonces(bench: Bench, url: str) -> str:
    name = bench.one(url)
    async with bench.open(url) as probe:
        await probe.want(name)
        nonce = (await probe.answer("asked for by name")).nonce
    async with bench.open(url) as probe:
        await (probe.sotw([name], nonce=nonce) if probe.is_sotw else probe.delta([name], nonce=nonce))
        await probe.gather([name], "asked for on a new stream, with a nonce of an earlier one")
    return "a first request with an old nonce was answered"


@rule(
    "versions-keep",
    "What has not changed has the same version on every stream",
    section="ACK/NACK and resource type instance version",
    on=On.EACH,
    advised=True,
)
async def _versions(bench: Bench, url: str) -> str:
    found = []
    for _ in range(2):
        async with bench.open(url) as probe:
            await probe.want(bench.one(url))
            response = await probe.answer("asked for by name")
            found.append((response.version, {each.name: (each.version, each.body) for each in response.resources}))
    (one, before), (two, after) = found
    if {name: body for name, (_, body) in before.items()} != {name: body for name, (_, body) in after.items()}:
        raise UnjudgedError("the content was not the same twice")
    of_each = [name for name in before if before[name][0] != after[name][0]]
    if of_each or (probe.is_sotw and one != two):
        raise BrokenError(f"two streams, two versions of {words(of_each or before)}")
    return "two streams saw the same versions"


@rule(
    "empty-answered",
    "Who asks for clusters or listeners that are not there is answered, and can go on",
    section="Knowing When a Requested Resource Does Not Exist",
    on=On.FULL,
    advised=True,
)
async def _empty(bench: Bench, url: str) -> str:
    async with bench.open(url) as probe:
        await probe.want(ABSENT)
        response = await probe.answer("asked for a name that is not there")
        if names_in(response):
            raise BrokenError(f"asked for a name that is not there, and was sent {words(names_in(response))}")
    return "an answer without resources"


def eds_of(bench: Bench) -> tuple[str, str]:
    """A cluster, and under which name it asks for its endpoints."""
    for cluster in bench.inventory.get(CLUSTER, ()):
        if cluster in bench.endpoints:
            return cluster, bench.endpoints[cluster]
    raise UnjudgedError("needs a cluster that gets its endpoints by EDS")
