"""A store that changes as `xdsctl conformance` asks: with resources of `xds.serve` alone."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from tests.serve.configs import eds_cluster, endpoints, listener, routes
from tests.serve.harness import GROUP
from xds.serve import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource, Store
from xds.serve.protobuf import encode_field

URLS = {"clusters": CLUSTER, "endpoints": ENDPOINT, "listeners": LISTENER, "routes": ROUTE}


def at_first() -> list[Resource]:
    return [
        eds_cluster("c1", "e1"),
        eds_cluster("c2", "e2"),
        endpoints("e1", 9001),
        endpoints("e2", 9002),
        listener("l1", 9011, "r1"),
        listener("l2", 9012, "r2"),
        routes("r1", "c1"),
        routes("r2", "c2"),
    ]


Step = dict[tuple[str, str], Resource | None]
"""What to set, or with None to remove, at once."""


class Steps:
    """What the change command is asked for, as resources."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._switched = ""

    def __call__(self, verb: str, kind: str, name: str) -> Step:
        url = URLS[kind]
        if verb == "drop":
            return {(url, name): None}
        if verb != "switch":
            return {(url, name): another(url, name, next(self._numbers))}
        gone: Step = {(CLUSTER, self._switched): None} if self._switched else {}
        self._switched = name
        return {(ROUTE, "r1"): routes("r1", name), (CLUSTER, name): eds_cluster(name, "e1"), **gone}


class Changing:
    """A store with two resources of each type, and the changes that the rules need."""

    def __init__(self) -> None:
        self.store = Store()
        self._steps = Steps()
        self._set({(each.type_url, each.name): each for each in at_first()})
        self.store.complete()

    def _set(self, changes: Mapping[tuple[str, str], Resource | None]) -> None:
        self.store.update(group={GROUP: changes})

    async def __call__(self, verb: str, kind: str, name: str) -> None:
        self._set(self._steps(verb, kind, name))


def another(url: str, name: str, number: int) -> Resource:
    """A resource of this name whose content nothing else has: a field is in it that Envoy does not know."""
    known = {(each.type_url, each.name): each for each in at_first()}.get((url, name))
    body = known.body if known else encode_field(1, name)
    return Resource.of(url, name, body + encode_field(1000, str(number)))
