"""Sessions, intercepts and changes for the tests of the store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import strategies as st

from xds.manager.store import Loaded, SqliteStore
from xds.registry.change import Change
from xds.registry.intercept import (
    Displacement,
    Disposition,
    Intercept,
    InterceptSpec,
    Kind,
    PortMapping,
    Target,
    WhenDown,
)
from xds.registry.match import Condition, Field, FieldKind, Match, Op
from xds.registry.session import Session
from xds.registry.workload import WorkloadId

NOW = 1000.0
ANN = Session("s-ann", "ann", "lap", "hash-a", "10.0.0.1:7000", last_activity=NOW, present=True, present_since=NOW)
BOB = replace(ANN, id="s-bob", user="bob", token_hash="hash-b")
SPEC = InterceptSpec(
    "orders",
    WorkloadId("dev", "deployment", "orders"),
    (PortMapping(8080, Target("localhost", 3000)),),
    Match.of([Condition(Field(FieldKind.HEADER, "x-user"), Op.EXACT, "ann")]),
)
MINE = Intercept("i-1", ANN.id, ANN.owner, SPEC, sequence=1)

# Lone surrogates too: they get into an argument on the command line that is not UTF-8.
TEXT = st.text(st.characters(), max_size=12)
TIMES = st.floats(allow_nan=False, allow_infinity=False)
SESSIONS = st.builds(
    Session,
    id=TEXT,
    user=TEXT,
    host=TEXT,
    token_hash=TEXT,
    address=TEXT,
    epoch=st.integers(),
    last_activity=TIMES,
    present=st.booleans(),
    present_since=TIMES,
    returns=st.integers(),
)
FIELDS = st.builds(Field, kind=st.sampled_from(FieldKind), name=TEXT)
MATCHES = st.lists(
    st.builds(Condition, field=FIELDS, op=st.sampled_from(Op), value=TEXT), max_size=4, unique_by=lambda one: one.field
).map(Match.of)
SPECS = st.builds(
    InterceptSpec,
    name=TEXT,
    workload=st.builds(WorkloadId, namespace=TEXT, kind=TEXT, name=TEXT),
    ports=st.lists(
        st.builds(PortMapping, port=st.integers(), target=st.builds(Target, host=TEXT, port=st.integers())), max_size=3
    ).map(tuple),
    match=MATCHES,
    kind=st.sampled_from(Kind),
    shared=st.booleans(),
    when_down=st.sampled_from(WhenDown),
)
INTERCEPTS = st.builds(
    Intercept,
    id=TEXT,
    session=TEXT,
    owner=TEXT,
    spec=SPECS,
    sequence=st.integers(),
    disposition=st.sampled_from(Disposition),
    reason=TEXT,
    displaced=st.none() | st.builds(Displacement, intercept=TEXT, owner=TEXT, since=TIMES),
)


def intercept(number: int, *, session: Session = ANN, reason: str = "") -> Intercept:
    """The intercept of that number."""
    spec = replace(SPEC, name=f"orders-{number}")
    return Intercept(f"i-{number}", session.id, session.owner, spec, sequence=number, reason=reason)


def change(*values: Session | Intercept, sequence: int = 0) -> Change:
    """A change that sets these values."""
    return Change(
        sessions={one.id: one for one in values if isinstance(one, Session)},
        intercepts={one.id: one for one in values if isinstance(one, Intercept)},
        sequence=sequence,
    )


def reopen(path: Path, *, now: float = NOW) -> Loaded:
    """What another manager would load."""
    store, loaded = SqliteStore.open(path, now=now)
    store.close()
    return loaded
