"""The list `users` of the standalone file: names, or a name with the namespaces that this user may reach."""

from __future__ import annotations

import re
from typing import Final

from xds.config.reader import Value
from xds.config.workloads import Once

USER: Final = {
    "name": "a user's name",
    "namespaces": "a list of namespaces such as [dev, test]",
}

# A user's name is part of a file's name (its token) and of the messages to others.
USER_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,63}")


def read_users(value: Value) -> dict[str, tuple[str, ...] | None]:
    """By name, the namespaces whose services each user may reach; None: all of them."""
    once = Once("a name")
    users: dict[str, tuple[str, ...] | None] = {}
    items = value.items("a list of names such as [alice, bob]")
    for item in items:
        fields = item.fields(USER, required=("name",)) if item.is_mapping else {"name": item}
        name = _name(fields["name"]) if "name" in fields else None
        namespaces = _namespaces(fields["namespaces"]) if "namespaces" in fields else None
        if name is not None:
            # On a file system that ignores letter case, Bob's token would overwrite bob's.
            once.add(name.lower(), fields["name"])
            users[name] = namespaces
    if value.is_list and not items:
        value.fail("at least one name", found="an empty list", hint="without a user nobody could connect")
    return users


def _name(value: Value) -> str | None:
    expected = "a user's name: at most 64 ASCII letters, digits or any of . _ @ + -"
    name = value.text(expected)
    if name is not None and not USER_NAME.fullmatch(name):
        value.fail(expected, hint="it is part of the name of the user's token file")
        return None
    return name


def _namespaces(value: Value) -> tuple[str, ...]:
    """An empty list is none at all: this user only intercepts."""
    once = Once("a name")
    found: list[str] = []
    for item in value.items(USER["namespaces"]):
        name = item.label("a namespace")
        if name is not None and once.add(name, item):
            found.append(name)
    return tuple(found)
