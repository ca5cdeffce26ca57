from __future__ import annotations

import json
from dataclasses import fields
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.manager.store.samples import ANN, INTERCEPTS, MINE, SESSIONS
from xds.manager.store.codec import intercept_from_dict, intercept_to_dict, session_from_dict, session_to_dict
from xds.manager.store.errors import UnreadableError
from xds.registry.intercept import Displacement, Intercept, InterceptSpec, PortMapping, Target
from xds.registry.match import Condition, Field, Match
from xds.registry.session import Session, TargetHealth, TargetReport
from xds.registry.workload import WorkloadId


@given(SESSIONS)
def test_a_session_comes_back_as_it_was(session: Session) -> None:
    assert session_from_dict(json.loads(json.dumps(session_to_dict(session)))) == session


@given(INTERCEPTS)
def test_an_intercept_comes_back_as_it_was(intercept: Intercept) -> None:
    assert intercept_from_dict(json.loads(json.dumps(intercept_to_dict(intercept)))) == intercept


def test_no_field_is_forgotten() -> None:
    """A new field has to be written down in the codec, and the stored schema has to be told of it."""
    spec = cast(dict[str, Any], intercept_to_dict(MINE)["spec"])
    displacement = sample()["displaced"]
    (mapping,), (condition,) = spec["ports"], spec["match"]
    written = [
        (Session, set(session_to_dict(ANN))),
        (Intercept, set(intercept_to_dict(MINE))),
        (InterceptSpec, set(spec)),
        (WorkloadId, set(spec["workload"])),
        (PortMapping, set(mapping)),
        (Target, set(mapping["target"])),
        (Condition, set(condition)),
        (Field, set(condition["field"])),
        (Displacement, set(displacement)),
    ]
    for kind, names in written:
        assert {one.name for one in fields(kind)} == names
    assert [one.name for one in fields(Match)] == ["conditions"]


def test_what_the_laptop_said_of_its_targets_is_kept_with_the_count_of_their_returns() -> None:
    report = TargetReport(TargetHealth.STOPPED, "process 7 (python) is stopped", returns=3, since=12.5)
    session = Session("s", "u", "h", "t", "a", targets={Target("localhost", 1): report})
    assert session_from_dict(session_to_dict(session)).targets == session.targets
    (written,) = cast("list[dict[str, object]]", session_to_dict(session)["targets"])
    assert set(written) == {"target", *(one.name for one in fields(TargetReport))}


def objects(data: Any) -> list[dict[str, Any]]:
    """Every object in a JSON value, itself first."""
    children = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return [*([data] if isinstance(data, dict) else []), *(found for child in children for found in objects(child))]


def sample() -> dict[str, Any]:
    displaced = Intercept(MINE.id, MINE.session, MINE.owner, MINE.spec, 1, displaced=Displacement("i", "o", 1.0))
    data: dict[str, Any] = json.loads(json.dumps(intercept_to_dict(displaced)))
    return data


PLACES = [(index, name) for index, one in enumerate(objects(sample())) for name in one]


@pytest.mark.parametrize(("index", "name"), PLACES)
def test_a_missing_field_is_unreadable_wherever_it_is(index: int, name: str) -> None:
    data = sample()
    del objects(data)[index][name]
    with pytest.raises(UnreadableError, match=f"has no '{name}'"):
        intercept_from_dict(data)


@pytest.mark.parametrize("index", range(len(objects(sample()))))
def test_an_unknown_field_is_unreadable_wherever_it_is(index: int) -> None:
    data = sample()
    objects(data)[index]["weight"] = 1
    with pytest.raises(UnreadableError, match="has 'weight', which this version does not know"):
        intercept_from_dict(data)


@pytest.mark.parametrize(("index", "name"), PLACES)
@given(wrong=st.sampled_from([[], {}, 1.5, True, "~?", float("nan"), [1], {"a": 1}]))
def test_a_value_of_another_type_never_raises_anything_else(index: int, name: str, wrong: object) -> None:
    data = sample()
    objects(data)[index][name] = wrong
    before = json.dumps(data)
    try:
        read = intercept_from_dict(data)
    except UnreadableError:
        return
    # What is readable after all (a list may be empty, a flag be true) means just what is written.
    assert json.dumps(intercept_to_dict(read), sort_keys=True) == json.dumps(json.loads(before), sort_keys=True)


def test_an_unknown_word_is_named() -> None:
    data = sample()
    data["disposition"] = "asleep"
    with pytest.raises(UnreadableError, match="'disposition' of the intercept: 'asleep'"):
        intercept_from_dict(data)


def test_a_session_that_is_no_object_or_has_a_number_for_a_flag_is_unreadable() -> None:
    with pytest.raises(UnreadableError, match="no object"):
        session_from_dict([])
    with pytest.raises(UnreadableError, match="'present' of the session: is neither true nor false"):
        session_from_dict({**session_to_dict(ANN), "present": 1})
