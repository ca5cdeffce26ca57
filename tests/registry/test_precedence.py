from __future__ import annotations

from itertools import pairwise, permutations

from hypothesis import given
from hypothesis import strategies as st

from xds.registry.intercept import Intercept, InterceptSpec, Kind
from xds.registry.match import Condition, Field, FieldKind, Match, Op
from xds.registry.precedence import in_order, sort_key
from xds.registry.workload import WorkloadId

ORDERS = WorkloadId("dev", "deployment", "orders")
PATH = Field(FieldKind.PATH)
USER = Condition(Field(FieldKind.HEADER, "x-user"), Op.EXACT, "bob")
TEAM = Condition(Field(FieldKind.BAGGAGE, "team"), Op.EXACT, "x")
AUTO = Condition(Field(FieldKind.KEY, "x-telepresence-id"), Op.EXACT, "bob")
GET = Condition(Field(FieldKind.METHOD), Op.EXACT, "GET")
EXACT, PREFIX, REGEX = (Condition(PATH, op, "/api") for op in (Op.EXACT, Op.PREFIX, Op.REGEX))
LONGER = Condition(PATH, Op.PREFIX, "/api/v1")

MATCHES = st.lists(st.sampled_from([USER, TEAM, AUTO, GET, EXACT, PREFIX, REGEX, LONGER]), max_size=4).map(
    lambda conditions: Match.of({condition.field: condition for condition in conditions}.values())
)
ENTRIES = st.lists(
    st.tuples(MATCHES, st.sampled_from(list(Kind)), st.integers(0, 3)), max_size=8, unique_by=lambda entry: repr(entry)
)


def spec(*conditions: Condition, kind: Kind = Kind.PERSONAL) -> InterceptSpec:
    return InterceptSpec("x", ORDERS, (), Match.of(conditions), kind)


def key(*conditions: Condition, kind: Kind = Kind.PERSONAL, sequence: int = 1, id: str = "a") -> tuple[object, ...]:  # noqa: A002
    return sort_key(spec(*conditions, kind=kind), sequence, id)


def test_the_order_goes_rule_by_rule() -> None:
    expected = [
        key(USER, EXACT),
        key(AUTO, LONGER),
        key(USER, GET, PREFIX),
        key(TEAM, PREFIX, sequence=1),
        key(TEAM, PREFIX, sequence=2, id="a"),
        key(USER, PREFIX, sequence=2, id="b"),
        key(AUTO, REGEX),
        key(AUTO, USER),
        key(AUTO),
        key(EXACT),
        key(LONGER),
        key(PREFIX),
        key(REGEX),
        key(GET),
        key(),
        key(kind=Kind.GLOBAL, sequence=0),
    ]
    assert all(one < two for one, two in pairwise(expected))


def test_sequence_numbers_are_compared_as_numbers() -> None:
    assert key(USER, sequence=9) < key(USER, sequence=10)


@given(ENTRIES)
def test_the_order_is_total_and_does_not_depend_on_where_one_starts(entries: list[tuple[Match, Kind, int]]) -> None:
    intercepts = [
        Intercept(f"i{number}", "s", "o", InterceptSpec("x", ORDERS, (), match, kind), sequence)
        for number, (match, kind, sequence) in enumerate(entries)
    ]
    ordered = in_order(intercepts)
    keys = [sort_key(intercept.spec, intercept.sequence, intercept.id) for intercept in ordered]
    assert all(one < two for one, two in pairwise(keys))
    for shuffled in list(permutations(intercepts[:4]))[:6]:
        assert in_order([*shuffled, *intercepts[4:]]) == ordered
