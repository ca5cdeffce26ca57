"""Rules of delta alone that need nothing to change."""

from __future__ import annotations

from xds.serve.status import Variant
from xdsctl.conform.bench import ABSENT, Bench
from xdsctl.conform.probe import ANYTHING, Probe
from xdsctl.conform.rule import BrokenError, On, rule

DELTA = Variant.DELTA
INCREMENTAL = "Incremental xDS"
UNSUBSCRIBING = "Unsubscribing from Resources"


@rule(
    "subscribed-again",
    "A name subscribed to once more is sent, though nothing changed",
    section="Subscribing to Resources",
    on=On.EACH,
    variant=DELTA,
)
async def _again(bench: Bench, url: str) -> str:
    name = bench.one(url)
    async with bench.open(url) as probe:
        await probe.get(name)
        await probe.delta([name])
        await probe.gather([name], "subscribed to once more, having it")
    return "sent once more"


@rule(
    "stale-nonce-counts",
    "Subscription changes count whatever the nonce is",
    section=INCREMENTAL,
    on=On.EACH,
    variant=DELTA,
)
async def _stale(bench: Bench, url: str) -> str:
    name = bench.one(url)
    async with bench.open(url) as probe:
        await probe.get(name)
        await probe.want()
        await probe.settle()
        await probe.delta([name], nonce="stale")
        await probe.gather([name], "subscribed to with a stale nonce")
    return "a subscription with a stale nonce was answered"


@rule("ack-with-names", "An ACK may change the subscription", section=INCREMENTAL, on=On.PAIR, variant=DELTA)
async def _with_names(bench: Bench, url: str) -> str:
    one, two = bench.pair(url)
    async with bench.open(url) as probe:
        await probe.want(one)
        response = await probe.answer("asked for by name")
        await probe.delta([two], nonce=response.nonce)
        await probe.gather([two], "subscribed to with an ACK")
    return "a name subscribed to with an ACK was sent"


@rule(
    "absent-reported",
    "A name that does not exist is reported in removed_resources",
    section="Knowing When a Requested Resource Does Not Exist",
    on=On.EACH,
    variant=DELTA,
)
async def _absent(bench: Bench, url: str) -> str:
    async with bench.open(url) as probe:
        await probe.want(ABSENT)
        await probe.gone(ABSENT, "asked for a name that is not there")
    return "reported as removed"


@rule(
    "wildcard-unsubscribe",
    "Unsubscribing from a name under a wildcard is answered, with the resource or its removal",
    section=UNSUBSCRIBING,
    on=On.FULL,
    variant=DELTA,
)
async def _under(bench: Bench, url: str) -> str:
    name = bench.one(url)
    async with bench.open(url) as probe:
        await probe.want(ANYTHING, name)
        await probe.gather(bench.inventory[url], "asked for by * and by name")
        await probe.settle()
        await probe.want(ANYTHING)
        await probe.gather([name], "unsubscribed from a name that the wildcard covers")
    return "the resource was sent, since the wildcard covers it"


@rule(
    "phantom-unsubscribe",
    "Unsubscribing from what was never subscribed to is ignored",
    section=UNSUBSCRIBING,
    on=On.EACH,
    variant=DELTA,
)
async def _phantom(bench: Bench, url: str) -> str:
    async with bench.open(url) as probe:
        await probe.get(bench.one(url))
        await probe.delta((), [ABSENT])
        await probe.silence("unsubscribed from what was never subscribed to")
    return "silence, and the stream goes on"


async def _held(bench: Bench, url: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """What to subscribe to, and which versions a client has then."""
    names = (ANYTHING,) if bench.is_full(url) else bench.inventory[url]
    async with bench.open(url) as probe:
        await probe.want(*names)
        found = await probe.gather(bench.inventory[url], "asked for")
    return names, {name: each.version for name, each in found.items()}


async def _resume(probe: Probe, names: tuple[str, ...], versions: dict[str, str]) -> None:
    await probe.delta(names, versions=versions)
    await probe.all_types()


@rule(
    "resume-skips",
    "Who reconnects with the versions it has is sent none of that",
    section=INCREMENTAL,
    on=On.EACH,
    variant=DELTA,
    advised=True,
)
async def _skips(bench: Bench, url: str) -> str:
    names, versions = await _held(bench, url)
    async with bench.open(url) as probe:
        await probe.delta(names, versions=versions)
        await probe.silence("reconnected with the newest versions", of=ANYTHING)
    return f"{len(versions)} held in the newest version, none sent again"


@rule(
    "resume-sends",
    "Who reconnects with another version is sent what differs",
    section=INCREMENTAL,
    on=On.EACH,
    variant=DELTA,
)
async def _sends(bench: Bench, url: str) -> str:
    names, versions = await _held(bench, url)
    name = bench.one(url)
    async with bench.open(url) as probe:
        await probe.delta(names, versions={**versions, name: "another"})
        await probe.gather([name], "reconnected with another version")
    return "what was held in another version was sent"


@rule(
    "resume-removes",
    "Who reconnects with what is gone is told of its removal",
    section=INCREMENTAL,
    on=On.EACH,
    variant=DELTA,
)
async def _removes(bench: Bench, url: str) -> str:
    names, versions = await _held(bench, url)
    subscribed = names if ANYTHING in names else (*names, ABSENT)
    async with bench.open(url) as probe:
        await _resume(probe, subscribed, {**versions, ABSENT: "1"})
        await probe.gone(ABSENT, "reconnected with what does not exist")
    return "what is gone was reported as removed"


@rule(
    "names-every-resource",
    "Each resource has a name and a version",
    section="Resource names",
    on=On.EACH,
    variant=DELTA,
)
async def _names(bench: Bench, url: str) -> str:
    async with bench.open(url) as probe:
        await probe.want(bench.one(url))
        for each in (await probe.answer("asked for by name")).resources:
            if not each.name or not each.version:
                raise BrokenError(f"a resource {each.name!r} has the version {each.version!r}")
    return "names and versions are there"
