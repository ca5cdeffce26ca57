"""Rules of state of the world alone that need nothing to change."""

from __future__ import annotations

from xds.serve.status import Variant
from xdsctl.conform.bench import Bench
from xdsctl.conform.both import SUMMARY
from xdsctl.conform.probe import names_in
from xdsctl.conform.rule import BrokenError, On, UnjudgedError, rule

SOTW = Variant.SOTW
UPDATES = "Resource updates"


@rule(
    "full-set",
    "A response of clusters or listeners has all that is asked for",
    section="Grouping Resources into Responses",
    on=On.FULL_PAIR,
    variant=SOTW,
)
async def _full(bench: Bench, url: str) -> str:
    one, two = bench.pair(url)
    async with bench.open(url) as probe:
        await probe.get(one)
        await probe.want(one, two)
        while True:
            response = await probe.answer("asked for one more")
            await probe.ack(response)
            if one not in names_in(response):
                raise BrokenError(f"asked for {two!r} as well, and {one!r} was left out, which deletes it")
            if two in names_in(response):
                return "one more asked for, and both sent"


@rule(
    "stale-nonce-ignored",
    "A request with a nonce that is not the last one is ignored",
    section=UPDATES,
    on=On.EACH,
    variant=SOTW,
)
async def _stale(bench: Bench, url: str) -> str:
    name = bench.one(url)
    async with bench.open(url) as probe:
        await probe.want(name)
        first = await probe.answer("asked for by name")
        await probe.ack(first)
        await probe.want()
        await probe.settle()
        await probe.want(name)
        second = await probe.answer("unsubscribed from and subscribed to again")
        await probe.ack(second)
        if first.nonce == second.nonce:
            raise UnjudgedError("all nonces are the same")
        await probe.settle()
        await probe.sotw([], nonce=first.nonce, version=first.version)
        await probe.sotw([name], nonce=first.nonce, version=first.version)
        await probe.silence("dropped and asked for a name again, with a stale nonce")
    return "what was asked for with a stale nonce was not answered"


@rule(
    "other-names-no-ack",
    "The same version and nonce with other names is a new subscription",
    section=UPDATES,
    on=On.PAIR,
    variant=SOTW,
)
async def _other(bench: Bench, url: str) -> str:
    one, two = bench.pair(url)
    async with bench.open(url) as probe:
        await probe.want(one)
        await probe.ack(await probe.answer("asked for by name"))
        await probe.want(one, two)
        await probe.gather([two], "one more name, with the version and nonce of an ACK")
    return "one more name with version and nonce of an ACK was answered"


@rule(
    "nack-by-error-detail",
    "An older version without `error_detail` is no refusal",
    section="NACK",
    on=On.PAIR,
    variant=SOTW,
)
async def _by_detail(bench: Bench, url: str) -> str:
    one, two = bench.pair(url)
    async with bench.open(url) as probe:
        await probe.want(one)
        response = await probe.answer("asked for by name")
        await probe.sotw([one, two], nonce=response.nonce, version="")
        await probe.gather([two], "one more name, with the nonce of the last response, no error and an older version")
    return "one more name with an older version was answered"


@rule(
    "error-detail-is-nack",
    "An `error_detail` is a refusal, whatever the version",
    section=SUMMARY,
    on=On.EACH,
    variant=SOTW,
)
async def _detail(bench: Bench, url: str) -> str:
    name = bench.one(url)
    async with bench.open(url) as probe:
        await probe.want(name)
        response = await probe.answer("asked for by name")
        await probe.sotw([name], nonce=response.nonce, version=response.version, error="refused, with its own version")
        await probe.not_again(response)
    return "it did not come again after a NACK with its own version"


@rule(
    "version-of-before",
    "A first request with the version of an earlier stream, and one more name, is answered",
    section="ACK/NACK and resource type instance version",
    on=On.PAIR,
    variant=SOTW,
)
async def _before(bench: Bench, url: str) -> str:
    one, two = bench.pair(url)
    async with bench.open(url) as probe:
        await probe.want(one)
        version = (await probe.answer("asked for by name")).version
    async with bench.open(url) as probe:
        await probe.sotw([one, two], version=version)
        await probe.gather([two], "asked for on a new stream, with the version of an earlier one")
    return "the new name was sent"


@rule(
    "burst",
    "Requests before the first response: the latest names win",
    section="When to send an update",
    on=On.PAIR,
    variant=SOTW,
)
async def _burst(bench: Bench, url: str) -> str:
    one, two = bench.pair(url)
    async with bench.open(url) as probe:
        await probe.sotw([one], nonce="")
        await probe.want(two, one)
        await probe.gather([one, two], "two requests at once, both without a nonce")
    return "two requests at once without a nonce: all names of the second were sent"


@rule(
    "empties",
    "Dropping every name of a type is taken in, and nothing comes of it",
    section="Unsubscribing From Resources",
    on=On.EACH,
    variant=SOTW,
)
async def _empties(bench: Bench, url: str) -> str:
    async with bench.open(url) as probe:
        await probe.get(bench.one(url))
        await probe.want()
        await probe.silence("wants nothing any more", of="*")
    return "an empty list after a name brought no resources"
