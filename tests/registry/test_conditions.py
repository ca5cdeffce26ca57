from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds.registry.conditions import ConditionError, HttpFlags, parse_match, to_flags
from xds.registry.match import Condition, Field, FieldKind, Match, Op

KEY = Condition(Field(FieldKind.KEY, "x-telepresence-id"), Op.EXACT, "bob-4711")


def parse(**flags: object) -> Match | None:
    return parse_match(HttpFlags(**flags), key_name="X-Telepresence-Id", key_value="bob-4711")  # type: ignore[arg-type]


def header(text: str) -> Condition:
    match = parse(headers=(text,))
    assert match is not None
    (condition,) = match.conditions
    return condition


def refusal(**flags: object) -> str:
    with pytest.raises(ConditionError) as refused:
        parse(**flags)
    return str(refused.value)


def test_no_flag_at_all_means_a_global_intercept() -> None:
    assert parse() is None


@pytest.mark.parametrize(
    ("text", "name", "op", "value"),
    [
        ("x-user=bob", "x-user", Op.EXACT, "bob"),
        ("X-User=Bob", "x-user", Op.EXACT, "Bob"),
        ("x-user=a.b@c.d", "x-user", Op.EXACT, "a.b@c.d"),
        ("x-user=^a.*$", "x-user", Op.EXACT, "^a.*$"),
        ("x-user=a=b,c: d", "x-user", Op.EXACT, "a=b,c: d"),
        ("x-user=", "x-user", Op.EXACT, ""),
        ("x-user~=^dev::(qa|test)$", "x-user", Op.REGEX, "^dev::(qa|test)$"),
        ("x-user^=dev::", "x-user", Op.PREFIX, "dev::"),
        ("x-user=~=a", "x-user", Op.EXACT, "~=a"),
        ("x~user=a", "x~user", Op.EXACT, "a"),
        ("x-user", "x-user", Op.PRESENT, ""),
    ],
)
def test_a_header_is_split_at_its_first_operator(text: str, name: str, op: Op, value: str) -> None:
    assert header(text) == Condition(Field(FieldKind.HEADER, name), op, value)


@pytest.mark.parametrize("text", [":authority=shop.test", "Host=shop.test"])
def test_the_authority_is_asked_for_under_either_name(text: str) -> None:
    assert header(text) == Condition(Field(FieldKind.AUTHORITY), Op.EXACT, "shop.test")


def test_auto_is_the_users_own_value_of_the_key_field() -> None:
    assert header("auto") == KEY


@pytest.mark.parametrize(
    "flags", [{"path_prefix": "/api"}, {"method": "GET"}, {"queries": ("a=b",)}, {"path_regex": "x"}]
)
def test_auto_is_implied_by_another_http_flag_without_header(flags: dict[str, object]) -> None:
    match = parse(**flags)
    assert match is not None
    assert KEY in match.conditions
    assert len(match.conditions) == 2


@pytest.mark.parametrize("flags", [{"headers": ("x-user=bob",)}, {"headers": ("all",)}, {"baggage": ("team=x",)}])
def test_auto_is_not_implied_beside_a_header_all_or_baggage(flags: dict[str, object]) -> None:
    match = parse(path_prefix="/api", **flags)
    assert match is not None
    assert KEY not in match.conditions


def test_all_alone_is_the_match_without_conditions() -> None:
    assert parse(headers=("all",)) == Match()


def test_baggage_keys_keep_their_case() -> None:
    match = parse(baggage=("Team=x y", "env^=dev-", "session"))
    assert match is not None
    assert set(match.conditions) == {
        Condition(Field(FieldKind.BAGGAGE, "Team"), Op.EXACT, "x y"),
        Condition(Field(FieldKind.BAGGAGE, "env"), Op.PREFIX, "dev-"),
        Condition(Field(FieldKind.BAGGAGE, "session"), Op.PRESENT),
    }


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"headers": ("Coder: Bob",)}, "--http-header Coder: Bob: did you mean Coder=Bob?"),
        ({"headers": ("Cookie: a=b",)}, "did you mean Cookie=a=b?"),
        ({"headers": ("=bob",)}, "the header name is empty"),
        ({"headers": ("",)}, "the header name is empty"),
        ({"headers": ("x user=bob",)}, "' ' can't be part of a header name"),
        ({"headers": ("x-user=a\nb",)}, r"--http-header x-user=a\nb: control character '\n' at position 1"),
        ({"headers": ("x-user=\udcff",)}, "not UTF-8"),
        ({"headers": (":path=/a",)}, "use --http-path-equal"),
        ({"headers": (":method=GET",)}, "use --http-method"),
        ({"headers": (":scheme=http",)}, "only :authority can be asked for"),
        ({"headers": ("X-Forwarded-For=1.2.3.4",)}, "set by proxies on every request"),
        ({"headers": ("x-envoy-attempt-count=1",)}, "set by proxies on every request"),
        ({"headers": ("x-request-id",)}, "set by proxies on every request"),
        ({"headers": ("Connection=close",)}, "hop-by-hop"),
        ({"headers": ("transfer-encoding",)}, "hop-by-hop"),
        ({"headers": ("x-byway-intercept=1",)}, "Byway's own"),
        ({"headers": ("baggage=team=x",)}, "--baggage KEY=VALUE"),
        ({"headers": ("x-user^=",)}, "write the name alone for “present”"),
        ({"headers": ("x-user~=",)}, "the regular expression is empty"),
        ({"headers": ("x-user~=(bob",)}, "--http-header x-user~=(bob: not a valid RE2 expression: missing )"),
        ({"headers": ("x-user= bob",)}, "never begins or ends with a blank"),
        ({"headers": ("all", "x-user=bob")}, "leave out the other"),
        ({"headers": ("all",), "baggage": ("a=b",)}, "leave out the other"),
        ({"baggage": ("team~=x",)}, "use team=VALUE or team^=PREFIX"),
        ({"baggage": ("=x",)}, "the baggage key is empty"),
        ({"baggage": ("a b=x",)}, "' ' can't be part of a baggage key"),
        ({"baggage": (f"team={'x' * 5000}",)}, "too long"),
        ({"path_equal": "api"}, "a path begins with a slash; did you mean --http-path-equal /api?"),
        ({"path_prefix": "/api?x=1"}, "the query string never takes part in the path; leave out '?x=1'"),
        ({"path_prefix": "/a#b"}, "fragment"),
        ({"path_equal": "/a b"}, "%20"),
        ({"path_equal": "/café"}, "did you mean --http-path-equal /caf%C3%A9?"),
        ({"path_regex": "a)(b"}, "--http-path-regex a)(b: not a valid RE2 expression: unexpected ) at position 1"),
        ({"path_regex": "^api/"}, "no request can match this; a path begins with a slash"),
        ({"path_regex": r"^/api\?x=1"}, "no request can match this; a path begins with a slash, and the query never"),
        ({"headers": ("x-user~=bob^",)}, "--http-header x-user~=bob^: no request can match this; look at its anchors"),
        ({"path_equal": "/a", "path_regex": "b"}, "--http-path-equal and --http-path-regex: give at most one"),
        ({"method": "get"}, "did you mean GET?"),
        ({"method": ""}, "the method is empty"),
        ({"method": "A B"}, "can't be part of a method"),
        ({"queries": ("=1",)}, "the query key is empty"),
        ({"queries": ("a=1&b=2",)}, "'&' is never part of a query key or value"),
    ],
)
def test_what_could_never_work_is_refused_with_the_reason(flags: dict[str, object], says: str) -> None:
    assert says in refusal(**flags)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("x-user=a.b", "X-User=c"),
        ("x-user=a", "x-user~=^b+$"),
        ("x-user^=a|", "x-user=b"),
        (":authority=a", "host=b"),
    ],
)
def test_the_same_header_twice_is_refused_with_the_flag_that_says_or(one: str, two: str) -> None:
    message = refusal(headers=(one, two))
    flag, text = shlex.split(message.partition("to say “or”, use one: ")[2])
    assert flag == "--http-header"
    either = parse(headers=(text,))
    assert either is not None
    from xds.registry.matcher import compare

    for single in (header(one), header(two)):
        literal = single.value if single.op is not Op.REGEX else "b"
        assert compare(either.conditions[0], literal)
    assert not compare(either.conditions[0], "zzz")


def test_the_same_baggage_member_or_query_key_twice_is_refused() -> None:
    assert "make two intercepts" in refusal(baggage=("team=a", "team=b"))
    assert "--http-query 'a~=^1$|^2$'" in refusal(queries=("a=1", "a=2"))


NAMES = st.sampled_from(["x-user", "x-team", "session"])
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="&#"), max_size=6)
LITERALS = st.one_of(
    st.tuples(st.just("="), VALUES), st.tuples(st.just("^="), VALUES.filter(bool)), st.just(("", ""))
).map("".join)
FLAGS = st.builds(
    HttpFlags,
    headers=st.lists(
        st.one_of(st.just("auto"), st.tuples(NAMES, st.one_of(LITERALS, st.just("~=^a|b$"))).map("".join)),
        max_size=3,
        unique_by=lambda text: text[:5],
    ).map(tuple),
    baggage=st.lists(st.tuples(NAMES, LITERALS).map("".join), max_size=2, unique_by=lambda text: text[:5]).map(tuple),
    path_prefix=st.one_of(st.none(), st.sampled_from(["/", "/api"])),
    method=st.one_of(st.none(), st.sampled_from(["GET", "FOO"])),
    queries=st.lists(st.tuples(NAMES, LITERALS).map("".join), max_size=1).map(tuple),
)


@given(FLAGS)
def test_a_match_printed_as_flags_is_read_back_as_the_same_match(flags: HttpFlags) -> None:
    match = parse_match(flags, key_name="x-telepresence-id", key_value="bob-4711")
    if match is None:
        return
    words = to_flags(match)
    pairs = list(zip(words[::2], words[1::2], strict=True))
    values = {flag: tuple(text for key, text in pairs if key == flag) for flag, _ in pairs}
    again = parse(
        headers=values.get("--http-header", ()),
        baggage=values.get("--baggage", ()),
        queries=values.get("--http-query", ()),
        method=next(iter(values.get("--http-method", ())), None),
        path_prefix=next(iter(values.get("--http-path-prefix", ())), None),
    )
    assert again == match


def test_a_match_without_conditions_prints_as_all() -> None:
    assert to_flags(Match()) == ["--http-header", "all"]
