"""A route's match in words, written like the flags of `byway intercept`.

    path^=/api; header x-user=alice; query debug; baggage team=blue; no header x-telepresence-id

The manager turns conditions on baggage members into regular expressions of a header line, in which every byte may be
percent-encoded. Those are read back here, and shown as conditions only where the same condition makes the very same
expression again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from xds.registry import baggage
from xds.registry.match import Condition, Field, FieldKind, Op
from xds.registry.regex import wrap

ANYTHING = "any request"

_PSEUDO = {":method": "method", ":authority": "authority"}
_PATHS = {"path": "=", "prefix": "^=", "path_separated_prefix": "^="}
_KNOWN = {"headers", "query_parameters", "safe_regex", *_PATHS}

_HEXIT = r"(?:[0-9]|\[[A-F][a-f]\])"
_ENCODED = re.compile(f"%({_HEXIT})({_HEXIT})")
"""A percent-encoded byte in an expression that takes hex digits in either case."""


def match_words(match: dict[str, Any]) -> str:
    """What a RouteMatch asks of a request."""
    parts = [*_path(match), *_headers(match.get("headers", [])), *_queries(match.get("query_parameters", []))]
    parts += [f"{key} {json.dumps(value)}" for key, value in match.items() if key not in _KNOWN]
    return "; ".join(parts) or ANYTHING


def _path(match: dict[str, Any]) -> Iterator[str]:
    for key, operator in _PATHS.items():
        # The empty prefix takes every path.
        if match.get(key):
            yield f"path{operator}{match[key]}"
    if "safe_regex" in match:
        yield f"path{_regex(match['safe_regex'])}"


def _headers(matchers: Iterable[dict[str, Any]]) -> Iterator[str]:
    absent: list[str] = []
    members: list[str] = []
    for matcher in matchers:
        name, inverted = matcher.get("name", ""), matcher.get("invert_match", False)
        if matcher.get("present_match") and inverted:
            absent.append(name)
        elif name == baggage.HEADER and (keys := _member_keys(_expression(matcher))) and inverted:
            members.extend(keys)
        else:
            yield f"not ({_header(matcher)})" if inverted else _header(matcher)
    if absent:
        yield f"no header {', '.join(absent)}"
    if members:
        yield f"no baggage {', '.join(members)}"


def _header(matcher: dict[str, Any]) -> str:
    name = matcher.get("name", "")
    if name == baggage.HEADER and (member := _member(_expression(matcher))):
        return f"baggage {member}"
    return f"{_PSEUDO.get(name) or f'header {name}'}{_value(matcher)}"


def _queries(matchers: Iterable[dict[str, Any]]) -> Iterator[str]:
    return (f"query {matcher.get('name', '')}{_value(matcher)}" for matcher in matchers)


def _value(matcher: dict[str, Any]) -> str:
    """The operator and what it compares with; nothing for "present"."""
    if matcher.get("present_match"):
        return ""
    string = matcher.get("string_match")
    if string is None:
        return f" {json.dumps({key: value for key, value in matcher.items() if key not in {'name', 'invert_match'}})}"
    for key, operator in (("exact", "="), ("prefix", "^=")):
        if key in string:
            return f"{operator}{string[key]}"
    return _regex(string["safe_regex"]) if "safe_regex" in string else f" {json.dumps(string)}"


def _regex(matcher: dict[str, Any]) -> str:
    """A regular expression as the user gave it, where it is one that finds."""
    expression = str(matcher.get("regex", ""))
    inner = expression.removeprefix(".*(?:").removesuffix(").*")
    return f"~={inner}" if wrap(inner) == expression else f"~=^(?:{expression})$"


def _expression(matcher: dict[str, Any]) -> str:
    return str(matcher.get("string_match", {}).get("safe_regex", {}).get("regex", ""))


def _condition(key: str, op: Op, value: str = "") -> Condition:
    return Condition(Field(FieldKind.BAGGAGE, key), op, value)


def _keys_and_rest(expression: str) -> tuple[str, str]:
    """The part of an expression that names keys, and what follows the equals sign; empty if it isn't one of ours."""
    before, after = baggage.member_regex("K", _condition("K", Op.PRESENT)).split("K")
    if not expression.startswith(before):
        return "", ""
    keys, _, rest = expression.removeprefix(before).partition(after.removesuffix(r"\C*"))
    return keys, rest


@lru_cache(maxsize=4096)
def _member(expression: str) -> str:
    """`KEY`, `KEY=VALUE` or `KEY^=VALUE`; empty if it isn't an expression for one member."""
    keys, rest = _keys_and_rest(expression)
    key = _unescape(keys)
    data = bytes(int(_hexit(high) + _hexit(low), 16) for high, low in _ENCODED.findall(rest))
    value = data.decode("utf-8", "surrogateescape")
    for op in (Op.PRESENT, Op.EXACT, Op.PREFIX):
        if key and baggage.member_regex(key, _condition(key, op, value)) == expression:
            shown = value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            return key if op is Op.PRESENT else f"{key}{op}{shown}"
    return ""


def _member_keys(expression: str) -> list[str]:
    """The keys of an expression that any of them satisfies; empty if it isn't one."""
    keys, _ = _keys_and_rest(expression)
    if not (keys.startswith("(?:") and keys.endswith(")")):
        return []
    found = [_unescape(key) for key in re.split(r"(?<!\\)\|", keys[3:-1])]
    return found if baggage.key_regex(found) == expression else []


def _hexit(part: str) -> str:
    return part.strip("[]")[0]


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
