"""What `byway explain` prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from xds.api.byway.manager.v1 import Candidate, CandidateVerdict, ExplainReply, SidecarStateState
from xds.client.cli.views import sidecar_data
from xds.terminal.output import styled

if TYPE_CHECKING:
    from xds.client.cli.live import LiveAnswer

MARKS = {
    CandidateVerdict.TAKES: ("✓", "green"),
    CandidateVerdict.OUTRANKED: ("·", "yellow"),
    CandidateVerdict.FAILS: ("✗", "red"),
    CandidateVerdict.NOT_ASKED: ("–", "yellow"),
}


def verdict(value: int) -> str:
    """`takes`, `outranked`, `fails`, `not_asked`."""
    return CandidateVerdict(value).name.lower() if value in set(CandidateVerdict) else "unknown"


def explained_data(reply: ExplainReply, answers: Iterable[LiveAnswer]) -> dict[str, Any]:
    """The explanation for programs."""
    port = reply.port
    live = {
        "expected": reply.live.expected,
        "instances": [
            {"instance": one.instance, "route": one.route, "problem": one.problem, "asked": one.asked}
            for one in answers
        ],
    } if reply.live else None  # fmt: skip
    return {
        "workload": reply.workload,
        "port": {"number": port.number, "name": port.name, "protocol": port.protocol} if port else None,
        "request": reply.request,
        "winner": reply.winner or None,
        "answered_by": reply.answered_by or "cluster: no intercept takes it",
        "candidates": [_candidate_data(one) for one in reply.candidates],
        "hints": list(reply.hints),
        "sidecars": [sidecar_data(one) for one in reply.sidecars],
        "live": live,
    }


def _candidate_data(one: Candidate) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        "owner": one.owner,
        "mine": one.mine,
        "kind": one.kind,
        "shared": one.shared,
        "match_flags": list(one.match_flags),
        "verdict": verdict(one.verdict),
        "why": one.why,
        "condition": one.condition,
        "more": one.more,
        "hints": list(one.hints),
    }


def explained_text(reply: ExplainReply, answers: Iterable[LiveAnswer]) -> str:
    """The explanation for people."""
    return "".join(f"{line}\n" for line in _lines(reply, list(answers)))


def _lines(reply: ExplainReply, answers: list[LiveAnswer]) -> Iterator[str]:
    port = reply.port
    number = f"{port.number} ({port.name})" if port and port.name else str(port.number if port else "")
    yield reply.request
    yield f"to {reply.workload}, port {number}"
    yield ""
    yield _result(reply)
    asked = [one for one in reply.candidates if one.verdict != CandidateVerdict.NOT_ASKED]
    others = [one for one in reply.candidates if one.verdict == CandidateVerdict.NOT_ASKED]
    if asked:
        yield ""
        yield "Asked in this order:"
        for at, one in enumerate(asked, 1):
            yield from _candidate(one, f"{at}. ".rjust(4))
        if not any(one.kind != "personal" for one in asked):
            yield f"{f'{len(asked) + 1}. '.rjust(4)}  the app"
    if others:
        yield ""
        yield "Not asked:"
        for one in others:
            yield from _candidate(one, "    ")
    yield from _section("Note", reply.hints)
    yield from _section("Sidecars", _sidecars(reply))
    yield from _section("Asked live", _live(answers, reply.live.expected if reply.live else ""))


def _result(reply: ExplainReply) -> str:
    winner = next((one for one in reply.candidates if one.id == reply.winner), None) if reply.winner else None
    if winner is None:
        return styled("No intercept takes it: the app answers.", fg="yellow")
    whose = "Your" if winner.mine else f"{winner.owner}'s"
    taken = f"{whose} intercept {winner.name} ({winner.id}) takes it"
    if reply.answered_by == "laptop":
        return styled(f"{taken}: {'your' if winner.mine else 'that'} laptop answers.", fg="green")
    who, _, why = reply.answered_by.partition(": ")
    answers = "nobody answers, it gets 503" if who.startswith("nobody") else f"the {who} answers"
    return styled(f"{taken}, but {answers}: {why}.", fg="yellow")


def _candidate(one: Candidate, number: str) -> Iterator[str]:
    mark, colour = MARKS.get(CandidateVerdict(one.verdict), ("?", "yellow"))
    owner = "yours" if one.mine else one.owner
    match = " ".join(one.match_flags) or ("everything" + (" unclaimed" if one.shared else ""))
    yield f"{number}{styled(mark, fg=colour)} {one.name} ({one.id}, {owner}): {match}"
    more = f" ({one.more} more of its conditions fail{'s' if one.more == 1 else ''}, too)" if one.more else ""
    condition = f"{one.condition}: " if one.condition and len(one.match_flags) > 2 else ""
    yield f"      {condition}{one.why}{more}"
    yield from (f"      {styled('hint:', fg='cyan')} {hint}" for hint in one.hints)


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    listed = list(lines)
    if listed:
        yield ""
        yield f"{title}:"
        yield from (f"  {line}" for line in listed)


def _sidecars(reply: ExplainReply) -> Iterator[str]:
    """Those that may do something else than what is said here."""
    if not reply.sidecars:
        yield "the workload has no running instance"
    for one in reply.sidecars:
        if one.state == SidecarStateState.ABSENT:
            yield f"{one.instance}: {one.detail}; what reaches it is not intercepted"
        elif one.state != SidecarStateState.ACKED:
            yield f"{one.instance}: {one.detail}; it may still do what it did before"


def _live(answers: Iterable[LiveAnswer], expected: str) -> Iterator[str]:
    for one in answers:
        if not one.asked:
            yield f"{one.instance}  not asked: {one.problem.removeprefix('not asked: ')}"
        elif one.differs(expected):
            yield styled(f"{one.instance}  ✗ {one.route or one.problem}, and not {expected}", fg="red")
        else:
            yield f"{one.instance}  {styled('✓', fg='green')} {one.route}"
