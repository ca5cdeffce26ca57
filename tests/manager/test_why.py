"""Each way in which requests can fail to reach an intercept is named as that, with what to do.

What is printed for each is in `golden/why.txt`; BYWAY_REWRITE_GOLDENS=1 writes it anew.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from xds.api.byway.manager import v1
from xds.client.cli.why import why_text
from xds.manager.counts import Counts, counts
from xds.manager.recent import Ended
from xds.manager.service.why import stage_message
from xds.manager.why import Facts, LastRequest, SidecarFacts, State, stages
from xds.registry.intercept import Displacement, Disposition, Intercept, InterceptSpec, PortMapping, Target, WhenDown
from xds.registry.session import Session, TargetHealth, TargetReport, Tunnel
from xds.registry.workload import WorkloadId

ORDERS = WorkloadId("dev", "deployment", "orders")
TARGET = Target("localhost", 9101)
SPEC = InterceptSpec("orders", ORDERS, (PortMapping(8080, TARGET),))
INTERCEPT = Intercept("i-1", "s-1", "alice@laptop", SPEC, 1, Disposition.ACTIVE)
LISTENING = TargetReport(TargetHealth.LISTENING, "python (4711)")
SESSION = Session("s-1", "alice", "laptop", "", "192.0.2.1", present=True, targets={TARGET: LISTENING})
SEEN = Counts(routed=True, total=3, statuses={"200": 2, "503": 1})
NONE_SEEN = Counts(routed=True)
ONE, TWO = SidecarFacts("orders-1", counts=SEEN), SidecarFacts("orders-2", counts=NONE_SEEN)
LATE = replace(TWO, lag="Route sent, not acknowledged")
FINE = Facts(INTERCEPT, SESSION, 100.0, sidecars=(ONE, TWO), curl="curl http://127.0.0.1:1/")
ABSENT = SidecarFacts("orders-2", connected=False, sent=False, counts=Counts(obstacle="no sidecar is connected"))


def of(**changed: object) -> Facts:
    return replace(FINE, intercept=replace(INTERCEPT, **changed))  # type: ignore[arg-type]


def targets(health: TargetHealth, detail: str) -> Facts:
    return replace(FINE, session=replace(SESSION, targets={TARGET: TargetReport(health, detail)}))


STORIES: dict[str, tuple[Facts, str]] = {
    "all is well": (FINE, ""),
    "the laptop answered": (replace(FINE, last=LastRequest(7.0, "laptop", 3)), ""),
    "the app answered": (replace(FINE, last=LastRequest(150.0, "cluster", 3)), ""),
    "nobody could answer": (replace(FINE, last=LastRequest(0.2, "none", 3)), ""),
    "at a breakpoint": (replace(FINE, last=LastRequest(0.4, "", 3)), ""),
    "Envoy elsewhere": (
        replace(
            FINE,
            sidecars=(replace(ONE, counts=Counts(obstacle="its admin interface is elsewhere")),),
            last=LastRequest(7.0, "laptop", 12),
        ),
        "",
    ),
    "no request yet": (replace(FINE, sidecars=(TWO,)), "requests"),
    "revoked": (replace(FINE, ended=Ended(INTERCEPT, "the administrator", "revoked: load test", 40.0)), "registered"),
    "displaced": (
        of(
            disposition=Disposition.DISPLACED,
            reason="displaced by bob@tower",
            displaced=Displacement("i-2", "bob", 40.0),
        ),
        "registered",
    ),
    "a tunnel": (replace(FINE, session=replace(SESSION, tunnel=Tunnel("envoy", frozenset({"gw-1", "gw-2"})))), ""),
    "no tunnel": (
        replace(FINE, session=replace(SESSION, tunnel=Tunnel("python", detail="gw-1: connection refused"))),
        "laptop",
    ),
    "the workload is gone": (replace(FINE, lost=str(ORDERS), compiled=False, sidecars=()), "compiled"),
    "one of its ports is gone": (replace(FINE, lost=f"port 9090 of {ORDERS}"), "compiled"),
    "held back": (replace(FINE, compiled=False), "compiled"),
    "no instance": (replace(FINE, sidecars=()), "sent"),
    "no sidecar": (replace(FINE, sidecars=(ABSENT,)), "sent"),
    "one of two sidecars": (replace(FINE, sidecars=(ONE, ABSENT)), "sent"),
    "not sent yet": (
        replace(FINE, sidecars=(ONE, replace(TWO, sent=False, lag="Route sent, not acknowledged"))),
        "sent",
    ),
    "not acknowledged": (replace(FINE, sidecars=(replace(TWO, lag="Route sent, not acknowledged"),)), "acknowledged"),
    "refused": (of(disposition=Disposition.REJECTED, reason="RE2 program size of 99 > 20"), "acknowledged"),
    "something else is refused": (replace(FINE, sidecars=(replace(TWO, nack="bad cluster"),)), "acknowledged"),
    "another intercept wins": (
        replace(FINE, rival=replace(INTERCEPT, id="i-2", owner="bob@tower"), example="GET / with x-user: a"),
        "routed",
    ),
    "its port is taken": (
        replace(FINE, sidecars=(ONE, replace(TWO, unbound="dev/deployment/orders/8080: cannot bind '127.0.0.1:1'"))),
        "routed",
    ),
    "acknowledged without routes": (replace(FINE, sidecars=(replace(ONE, counts=Counts()),)), "routed"),
    "sidecars elsewhere": (replace(FINE, sidecars=(replace(ONE, counts=Counts(obstacle="not on this machine")),)), ""),
    "the laptop is away": (replace(FINE, session=replace(SESSION, present=False, present_since=95.0)), "laptop"),
    "nothing listens": (targets(TargetHealth.NOT_LISTENING, "nothing listens on localhost:9101"), "process"),
    "the process is stopped": (
        targets(TargetHealth.STOPPED, "process 7 (python) is stopped; continue it with fg"),
        "process",
    ),
    "nobody has looked": (targets(TargetHealth.UNKNOWN, ""), ""),
    "503 while nothing listens": (
        replace(
            targets(TargetHealth.NOT_LISTENING, ""),
            intercept=replace(INTERCEPT, spec=replace(SPEC, when_down=WhenDown.FAIL)),
        ),
        "process",
    ),
    "a TCP port": (replace(FINE, http=False), ""),
}


NAMES = ("registered", "compiled", "sent", "acknowledged", "routed", "laptop", "process", "requests")


def printed(facts: Facts) -> str:
    found = [stage_message(one) for one in stages(facts)]
    return why_text(v1.WhyReply(stages=found), wide=False)


@pytest.mark.parametrize("story", STORIES)
def test_the_first_stage_that_is_missing_is_the_cause(story: str) -> None:
    facts, cause = STORIES[story]
    found = stages(facts)
    assert tuple(one.name for one in found) == NAMES
    first = next((one for one in found if one.state is State.MISSING), None)
    assert (first.name if first else "") == cause
    for one in found:
        assert bool(one.advice) == (one.state is State.MISSING), one


def test_what_is_printed_of_each_cause() -> None:
    text = "\n".join(f"## {story}\n{printed(facts)}" for story, (facts, _) in STORIES.items())
    path = Path(__file__).parent / "golden" / "why.txt"
    if os.environ.get("BYWAY_REWRITE_GOLDENS") == "1":
        path.write_text(text)
    assert text == path.read_text(), "BYWAY_REWRITE_GOLDENS=1 writes it anew"


def test_one_sidecar_that_is_missing_does_not_hide_what_the_others_do() -> None:
    states = {one.name: one.state for one in stages(STORIES["one of two sidecars"][0])}
    assert (states["sent"], states["acknowledged"], states["routed"]) == (State.MISSING, State.DONE, State.DONE)
    states = {one.name: one.state for one in stages(STORIES["no sidecar"][0])}
    assert (states["acknowledged"], states["routed"]) == (State.NOT_REACHED, State.NOT_REACHED)


def test_counters_are_read_from_envoys_page() -> None:
    page = """\
vhost.all.route.i-1.upstream_rq_200: 17
vhost.all.route.i-1.upstream_rq_2xx: 17
vhost.all.route.i-1.upstream_rq_503: 1
vhost.all.route.i-1.upstream_rq_total: 18
vhost.all.route.i-12.upstream_rq_total: 99
vhost.all.route.i-1.upstream_rq_time: P0(nan,1.0) P100(nan,1.05)
"""
    assert counts(page, "i-1") == Counts(routed=True, total=18, statuses={"200": 17, "503": 1})
    assert counts("", "i-1") == Counts(routed=False)
