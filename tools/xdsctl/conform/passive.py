"""Rules about every response that was seen while the others were tried; and what can't be judged from outside."""

from __future__ import annotations

from collections import Counter

from xds.serve.client.messages import WRAPPER
from xds.serve.resource import ENDPOINT
from xds.serve.status import Variant
from xdsctl.conform.bench import Bench, Seen
from xdsctl.conform.probe import words
from xdsctl.conform.rule import BrokenError, On, UnjudgedError, rule
from xdsctl.fetched import kind_of


def _all(bench: Bench) -> list[Seen]:
    if not bench.seen:
        raise UnjudgedError("the server answered nothing")
    return bench.seen


@rule(
    "nonce-always",
    "Each response has a nonce, and no two of a stream the same",
    section="Basic Protocol Overview",
    on=On.SERVER,
)
async def _nonce(bench: Bench, _: str) -> str:
    seen = _all(bench)
    if any(not each.response.nonce for each in seen):
        raise BrokenError("a response has no nonce")
    twice = Counter((each.stream, each.response.type_url, each.response.nonce) for each in seen)
    if any(count > 1 for count in twice.values()):
        raise BrokenError("two responses of one stream have the same nonce")
    return "each response had one of its own"


@rule("no-name-twice", "No name comes twice in one response", section="Duplicate Resource Names", on=On.SERVER)
async def _twice(bench: Bench, _: str) -> str:
    for each in _all(bench):
        names = Counter(one.name for one in each.response.resources)
        if found := [name for name, count in names.items() if count > 1]:
            raise BrokenError(f"{words(found)} twice in one response")
    return "no response had a name twice"


@rule(
    "type-as-asked",
    "Responses are of a type that was asked for, and so is what is in them",
    section="Aggregated Discovery Service",
    on=On.SERVER,
)
async def _type(bench: Bench, _: str) -> str:
    for each in _all(bench):
        url = each.response.type_url
        # A server may send the endpoints of clusters unasked, see "Resource warming".
        allowed = each.asked if bench.transport.per_type else each.asked | {ENDPOINT}
        if url not in allowed:
            raise BrokenError(f"{kind_of(url)} were sent on a stream that never asked for them")
        strange = {one.type_url for one in each.response.resources} - {url, WRAPPER, ""}
        if strange:
            raise BrokenError(f"a response of {kind_of(url)} has {', '.join(map(kind_of, strange))} in it")
    return "each response was of a type that was asked for"


@rule(
    "version-always",
    "Each response has a version",
    section="ACK/NACK and resource type instance version",
    on=On.SERVER,
    variant=Variant.SOTW,
)
async def _version(bench: Bench, _: str) -> str:
    if any(not each.response.version for each in _all(bench)):
        raise BrokenError("a response has no version_info")
    return "each response had a version"


@rule(
    "says-who",
    "Each response says which control plane it comes from",
    section="Basic Protocol Overview",
    on=On.SERVER,
    advised=True,
)
async def _who(bench: Bench, _: str) -> str:
    if any(not each.response.control_plane for each in _all(bench)):
        raise BrokenError("a response has no control_plane.identifier")
    return "each response had a control_plane.identifier"


INSIDE = {
    "refused-until-ready": (
        "Streams are refused until the first state is complete",
        "Basic Protocol Overview",
        "needs a server that is just starting, and when its state is complete only it knows",
    ),
    "freed-at-the-end": (
        "The end of a stream frees what was kept for it",
        "Basic Protocol Overview",
        "what a server keeps can't be seen from outside",
    ),
    "nack-recorded": (
        "The text of a refusal is kept for people",
        "NACK",
        "what a server keeps can't be seen from outside",
    ),
    "replicas-agree": (
        "Versions are the same on every replica",
        "ACK/NACK and resource type instance version",
        "one address is asked, and which replica answers can't be seen",
    ),
    "partial-sets": (
        "Other types than clusters and listeners may be sent in parts, and an empty response of them means nothing",
        "Grouping Resources into Responses",
        "this allows, and demands nothing of a server",
    ),
    "ttl": ("What has a TTL is kept alive by heartbeats", "TTL", "optional, and needs a resource with a TTL"),
}
"""Name, what it says, its section, and why it can't be judged."""


def _cannot(name: str, says: str, section: str, why: str) -> None:
    async def attempt(_bench: Bench, _url: str) -> str:
        raise UnjudgedError(why)

    rule(name, says, section=section, on=On.SERVER)(attempt)


for _name, _inside in INSIDE.items():
    _cannot(_name, *_inside)
