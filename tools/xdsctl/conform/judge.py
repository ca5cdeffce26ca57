"""Runs the rules: those that only look at the same time, those that change the server one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import grpc

from xds.serve.client import StreamEndedError
from xds.terminal.words import plain
from xdsctl.conform import both, changing, delta, passive, sotw
from xdsctl.conform.bench import Bench, look
from xdsctl.conform.rule import RULES, BrokenError, Rule, Transport, UnjudgedError, Verdict
from xdsctl.fetched import kind_of

MODULES = (both, sotw, delta, changing, passive)
"""Where the rules are: importing them registers them."""
_WORST = (Verdict.FAIL, Verdict.WARN, Verdict.PASS, Verdict.UNJUDGED)
_AT_ONCE = 24
"""Conversations at the same time."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one rule by one transport, and what was seen."""

    rule: Rule
    transport: Transport
    verdict: Verdict
    seen: str


def ordered() -> list[Rule]:
    """All rules, module by module."""
    names = [module.__name__ for module in MODULES]
    return sorted(RULES.values(), key=lambda rule: names.index(rule.attempt.__module__))


class UnreachableError(Exception):
    """There is nobody to judge; `end` is how the first stream ended."""

    def __init__(self, end: StreamEndedError) -> None:
        super().__init__(str(end))
        self.end = end


async def judge(
    benches: Sequence[Bench],
    *,
    only: Collection[str] = (),
    more: Mapping[str, Iterable[str]] | None = None,
    apart: bool = False,
) -> list[Finding]:
    """Try the rules, or only some, by each transport. `apart` says that a change of one type changes no other: then
    types are tried at the same time. Raises UnreachableError where no stream could be opened."""
    ended: list[StreamEndedError] = []
    cannot = {bench.transport: why for bench in benches if (why := await _look(bench, more or {}, ended))}
    if ended and all(each.code is not grpc.StatusCode.UNIMPLEMENTED for each in ended) and len(cannot) == len(benches):
        raise UnreachableError(ended[0])
    rules = [each for each in ordered() if not only or each.name in only]
    gate = asyncio.Semaphore(_AT_ONCE)

    async def gated(bench: Bench, rule: Rule) -> Finding:
        if bench.transport in cannot:
            return Finding(rule, bench.transport, Verdict.UNJUDGED, cannot[bench.transport])
        return await _try(bench, rule, gate, one_by_one=rule.changes and not apart)

    wanted = [(bench, rule) for rule in rules for bench in benches if bench.transport in rule.transports]
    looking = [each for each in wanted if not each[1].changes and not _is_passive(each[1])]
    found = (
        dict(zip(looking, await asyncio.gather(*(gated(*each) for each in looking)), strict=True)) if looking else {}
    )
    for each in wanted:
        if each[1].changes:
            found[each] = await gated(*each)
    if not any(bench.seen for bench in benches) or not looking:
        await _see_something(benches, cannot)
    for each in wanted:
        if each not in found:
            found[each] = await gated(*each)
    return [found[each] for each in wanted]


def _is_passive(rule: Rule) -> bool:
    return rule.attempt.__module__ == passive.__name__


async def _see_something(benches: Sequence[Bench], cannot: Mapping[Transport, str]) -> None:
    """Where only rules about what was seen are tried, see something."""
    gate = asyncio.Semaphore(_AT_ONCE)
    for bench in benches:
        if bench.transport not in cannot:
            await asyncio.gather(
                *(_try(bench, RULES[name], gate) for name in ("named", "nothing-unasked", "asked-again"))
            )


async def _look(bench: Bench, more: Mapping[str, Iterable[str]], ended: list[StreamEndedError]) -> str:
    """Find what the server has; says why nothing can be tried."""
    try:
        await look(bench, more)
    except StreamEndedError as error:
        ended.append(error)
        if error.code is grpc.StatusCode.UNIMPLEMENTED:
            return "the server has no such service"
        return f"the server ended the stream: {plain(str(error))}"
    except (UnjudgedError, BrokenError) as error:
        return str(error)
    except ValueError as error:
        return f"the server sent what is no response: {plain(str(error))}"
    return ""


async def _try(bench: Bench, rule: Rule, gate: asyncio.Semaphore, *, one_by_one: bool = False) -> Finding:
    """Try a rule for each type; the worst verdict is that of all."""
    urls = bench.types(rule.on)
    if not urls:
        return Finding(rule, bench.transport, Verdict.UNJUDGED, f"the server has not {rule.on.value}")
    if one_by_one:
        results = [await _attempt(bench, rule, url) for url in urls]
    else:

        async def one(url: str) -> tuple[Verdict, str]:
            async with gate:
                return await _attempt(bench, rule, url)

        results = list(await asyncio.gather(*map(one, urls)))
    verdict = next(each for each in _WORST if any(each is found for found, _ in results))
    by_text: dict[str, list[str]] = {}
    for url, (found, text) in zip(urls, results, strict=True):
        if found is verdict:
            by_text.setdefault(text, []).append(kind_of(url))
    seen = "; ".join(f"{', '.join(kinds)}: {text}" if any(kinds) else text for text, kinds in by_text.items())
    return Finding(rule, bench.transport, verdict, seen)


async def _attempt(bench: Bench, rule: Rule, url: str) -> tuple[Verdict, str]:
    broken = Verdict.WARN if rule.advised else Verdict.FAIL
    try:
        return Verdict.PASS, await rule.attempt(bench, url)
    except UnjudgedError as error:
        return Verdict.UNJUDGED, str(error)
    except BrokenError as error:
        return broken, str(error)
    except StreamEndedError as error:
        return broken, f"the server ended the stream: {plain(str(error))}"
    except ValueError as error:
        return broken, f"the server sent what is no response: {plain(str(error))}"
