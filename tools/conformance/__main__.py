"""Tries the rules of the xDS protocol on Byway's server and on go-control-plane, and writes docs/conformance.md.

    python -m conformance [FILE]

Without Go, or where its modules can't be had, go-control-plane is left out, and the file with it is not written.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import grpc.aio

from tests.serve.harness import serve
from tests.xdsctl.changing_server import Changing, Step, Steps, at_first
from xds import __version__
from xds.serve.client import node
from xdsctl.conform.bench import Bench, Change
from xdsctl.conform.judge import Finding, judge, ordered
from xdsctl.conform.rule import PAGE, TRANSPORTS, Rule, Verdict

PEER = Path(__file__).parent / "peer"
DOC = Path(__file__).parents[2] / "docs" / "conformance.md"
OURS = "Byway"
CACHES = {"snapshot": "SnapshotCache", "snapshot-ads": "SnapshotCache in ADS mode", "linear": "LinearCache"}
PATIENCE, QUIET = 3.0, 0.2


def built(folder: Path) -> Path | None:
    """The peer's program, or None where it can't be built; says why."""
    go = shutil.which("go")
    if go is None:
        print("go-control-plane is skipped: there is no Go here", flush=True)
        return None
    program = folder / "peer"
    made = subprocess.run([go, "build", "-o", str(program), "."], cwd=PEER, capture_output=True, text=True, check=False)
    if made.returncode:
        print(f"go-control-plane is skipped: it can't be built: {made.stderr.strip()}", flush=True)
        return None
    return program


def peer_version() -> str:
    """That of go-control-plane, as it is pinned."""
    found = re.search(r"go-control-plane (v\S+)", (PEER / "go.mod").read_text())
    assert found is not None
    return found[1]


@asynccontextmanager
async def peer(program: Path, cache: str) -> AsyncIterator[tuple[str, Change]]:
    """A running go-control-plane with the resources that ours starts with, and what changes it."""
    process = await asyncio.create_subprocess_exec(
        str(program), cache, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    told, heard, steps, one_by_one = process.stdin, process.stdout, Steps(), asyncio.Lock()

    async def apply(step: Step) -> None:
        given: dict[str, list[dict[str, str]]] = {"set": [], "drop": []}
        for (url, name), one in step.items():
            body = {} if one is None else {"body": base64.b64encode(one.body).decode()}
            given["drop" if one is None else "set"].append({"type": url, "name": name, **body})
        async with one_by_one:
            told.write(json.dumps(given).encode() + b"\n")
            assert await heard.readline() == b"done\n"

    async def change(verb: str, kind: str, name: str) -> None:
        await apply(steps(verb, kind, name))

    try:
        address = (await heard.readline()).decode().strip()
        await apply({(each.type_url, each.name): each for each in at_first()})
        yield address, change
    finally:
        told.close()
        await process.wait()


async def judged(address: str, change: Change) -> list[Finding]:
    """What is found at an address."""
    who = node(id="node-1", cluster="tests")
    async with grpc.aio.insecure_channel(address) as channel:
        benches = [Bench(channel, each, who, patience=PATIENCE, quiet=QUIET, change=change) for each in TRANSPORTS]
        return await judge(benches, apart=True)


async def columns(program: Path | None) -> dict[str, list[Finding]]:
    """What is found of each server."""
    changing = Changing()
    async with serve(store=changing.store) as served:
        found = {OURS: await judged(served.address, changing)}
    if program is None:
        return found
    of_peers = await asyncio.gather(*(_judged_peer(program, cache) for cache in CACHES))
    return found | dict(zip(CACHES.values(), of_peers, strict=True))


async def _judged_peer(program: Path, cache: str) -> list[Finding]:
    async with peer(program, cache) as (address, change):
        return await judged(address, change)


def cell(findings: list[Finding]) -> str:
    """The verdicts of one rule, in one word where all transports agree."""
    verdicts = {each.verdict for each in findings}
    if len(verdicts) == 1:
        return findings[0].verdict.value
    return "; ".join(
        f"{verdict.value}: {', '.join(str(each.transport) for each in findings if each.verdict is verdict)}"
        for verdict in Verdict
        if verdict in verdicts
    )


def document(found: dict[str, list[Finding]]) -> str:
    """docs/conformance.md."""
    by_rule = {
        name: {rule.name: [each for each in findings if each.rule is rule] for rule in ordered()}
        for name, findings in found.items()
    }
    titles = [name if name == OURS else f"go-control-plane, {name}" for name in found]
    lines = [
        "# Which rules of the xDS protocol are kept, and by whom",
        "",
        "Written by `make conformance`, which runs the rules of `xdsctl conformance` on a server made of `xds.serve`",
        "and on go-control-plane with each of its caches, all with the same two resources of each type and the",
        "same changes. A `SnapshotCache` is given a version for each type; in ADS mode it keeps an order and, by",
        "design, answers a request only when it names all that there are. A `LinearCache` for each type",
        "is behind a `MuxCache`, and is given what to set, clusters first, before what to drop.",
        "",
        f"Versions: Byway {__version__} (grpcio {version('grpcio')}), go-control-plane {peer_version()}.",
        "",
        f"Sections are those of the [protocol's page]({PAGE}).",
        "*warn*: the protocol only advises it, or leaves it to the server. *not judged*: can't be seen from outside.",
        "Where a verdict is not the same by each transport, it says by which.",
        "",
        f"| rule | what it says | section | {' | '.join(titles)} |",
        f"| --- | --- | --- |{' --- |' * len(titles)}",
    ]
    for rule in ordered():
        cells = [cell(by_rule[name][rule.name]) for name in found]
        lines.append(f"| `{rule.name}` | {rule.says} | {rule.section} | {' | '.join(cells)} |")
    for name, title in zip(found, titles, strict=True):
        notes = [line for rule in ordered() for line in seen(rule, by_rule[name][rule.name])]
        if notes:
            lines += ["", f"## What was seen of {title}", "", *notes]
    return "\n".join(lines) + "\n"


def seen(rule: Rule, findings: list[Finding]) -> list[str]:
    """What was seen where a rule is broken, each once."""
    broken = [each for each in findings if each.verdict in {Verdict.FAIL, Verdict.WARN}]
    texts = dict.fromkeys(each.seen for each in broken)
    return [
        f"* `{rule.name}` ({', '.join(str(each.transport) for each in broken if each.seen == text)}): {text}"
        for text in texts
    ]


def main(path: Path) -> int:
    """Judge, print the counts and write the file. Whether ours keeps every rule is the exit code."""
    from xdsctl.conform.report import counted

    with tempfile.TemporaryDirectory(prefix="byway-") as folder:
        program = built(Path(folder))
        found = asyncio.run(columns(program))
    for name, findings in found.items():
        print(f"{name}: {counted(findings)}")
    if program is not None:
        path.write_text(document(found))
        print(f"written: {path}")
    return int(any(each.verdict in {Verdict.FAIL, Verdict.WARN} for each in found[OURS]))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else DOC))
