"""A value of the file together with its path of keys: asks for a shape, and reports where the shape is another.

Every question answers with the value, or with None (or nothing in it) after a problem was reported, so that a caller
reads on and never reports the same thing twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from xds.config.nodes import Context, Mark, Node, Scalar, Sequence, joined
from xds.config.nodes import Mapping as MappingNode
from xds.config.problems import closest, did_you_mean, shown

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,4}")
_TRUE: Final = frozenset({"true", "yes", "on"})
_FALSE: Final = frozenset({"false", "no", "off"})


@dataclass(frozen=True, slots=True)
class Value:
    """One value of the file. `key` is its path, `word` the last key of that; `mark` is where its key stands, or it
    itself in a list."""

    context: Context
    key: str
    node: Node
    mark: Mark
    word: str = ""

    @classmethod
    def root(cls, context: Context, node: Node) -> Value:
        """The document."""
        return cls(context, "", node, node.mark)

    def fail(self, expected: str, *, found: str = "", hint: str = "") -> None:
        """Report this value."""
        self.context.report(self.node.mark, self.key, expected, found or describe(self.node), hint)

    def fail_key(self, expected: str, *, found: str, hint: str = "") -> None:
        """Report the key of this value."""
        self.context.report(self.mark, self.key, expected, found, hint)

    def items(self, expected: str) -> list[Value]:
        """The elements of a list."""
        if not isinstance(self.node, Sequence):
            self.fail(expected)
            return []
        self.context.spend(len(self.node.items), self.node.mark, self.key)
        return [
            Value(self.context, f"{self.key}[{index}]", node, node.mark) for index, node in enumerate(self.node.items)
        ]

    def entries(self, expected: str) -> dict[str, Value]:
        """The entries of a mapping whose keys are the user's."""
        if not isinstance(self.node, MappingNode):
            self.fail(expected)
            return {}
        self.context.spend(len(self.node.entries), self.node.mark, self.key)
        return {
            key: Value(self.context, joined(self.key, key), entry.value, entry.mark, key)
            for key, entry in self.node.entries.items()
        }

    def fields(self, known: Mapping[str, str], *, required: Iterable[str] = ()) -> dict[str, Value]:
        """The entries of a mapping whose keys are ours; others, and missing ones, are reported.

        `known` says for each key what is expected there, for the message about a missing one.
        """
        entries = self.entries(f"a mapping with the keys {listed(known)}")
        if self.is_mapping:
            for key in [key for key in entries if key not in known]:
                unknown = entries.pop(key)
                meant = unknown.fail_unknown(known)
                # Read on as if it had been spelt right, or its absence would be reported too.
                if meant and meant not in entries:
                    entries[meant] = unknown
            for key in required:
                if key not in entries:
                    place = self.node.mark if self.key else Mark()
                    self.context.report(place, joined(self.key, key), known[key], "no such key", f"add “{key}:”")
        return entries

    def fail_unknown(self, known: Iterable[str], *, expected: str = "") -> str:
        """Report that nothing knows this value's key; answers with the one that was probably meant, or nothing."""
        meant = closest(self.word, known)
        expected = expected or f"one of {listed(known)}"
        self.fail_key(expected, found=f"the key {shown(self.word)}", hint=did_you_mean(self.word, known))
        return meant

    @property
    def is_mapping(self) -> bool:
        """Whether it is a mapping, without reporting anything."""
        return isinstance(self.node, MappingNode)

    @property
    def is_list(self) -> bool:
        """Whether it is a list, without reporting anything."""
        return isinstance(self.node, Sequence)

    def text(self, expected: str) -> str | None:
        """Any single value as it was written: `on` and `1.10` are the texts on and 1.10."""
        if not isinstance(self.node, Scalar) or (self.node.kind == "null"):
            self.fail(expected)
            return None
        return self.node.text

    def label(self, noun: str) -> str | None:
        """A DNS-1123 label, which Kubernetes demands of most names (RFC 1123 section 2.1)."""
        expected = f"{noun}: at most 63 lower-case letters, digits and inner hyphens"
        text = self.text(expected)
        if text is None:
            return None
        if len(text) > 63 or not _LABEL.fullmatch(text):
            lower = text.lower()
            fits = lower != text and len(lower) <= 63 and _LABEL.fullmatch(lower)
            self.fail(expected, hint=f"did you mean {shown(lower)}?" if fits else "")
            return None
        return text

    def port_number(self) -> int | None:
        """A TCP or UDP port, written in decimal digits."""
        expected = "a number from 1 to 65535"
        text = self.text(expected)
        if text is None:
            return None
        if isinstance(self.node, Scalar) and self.node.quoted:
            self.fail(expected, hint="leave out the quotes" if _NUMBER.fullmatch(text) else "")
            return None
        if not _NUMBER.fullmatch(text) or int(text) > 65535:
            self.fail(expected, hint="leave out the leading zeros" if re.fullmatch("0+[1-9][0-9]*", text) else "")
            return None
        return int(text)

    def boolean(self) -> bool | None:
        """`true` or `false`, or another word that YAML 1.1 has for them, quoted or not (a ConfigMap has only texts)."""
        expected = "true or false"
        text = self.text(expected)
        if text is None:
            return None
        if text.lower() not in _TRUE | _FALSE:
            self.fail(expected)
            return None
        return text.lower() in _TRUE


def describe(node: Node) -> str:
    """A value, for “found …”."""
    if isinstance(node, Scalar):
        return "nothing" if node.kind == "null" else shown(node.text)
    return "a list" if isinstance(node, Sequence) else "a mapping"


def listed(words: Iterable[str]) -> str:
    """Words with commas."""
    return ", ".join(words)
