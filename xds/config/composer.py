"""Composes the tree of a YAML document from the parser's events.

`yaml.compose` would do that too, but: a key that a mapping has twice is an error here, with both lines (YAML 1.2.2
section 3.2.1.3 demands unique keys, PyYAML keeps the last); a deep nesting ends in a message instead of a
RecursionError; and the fast C parser can be used without its recursive composer.

No object is ever constructed, so no tag can do harm: tags other than YAML's own simple ones are reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import yaml
from yaml.resolver import Resolver

from xds.config.nodes import Context, Entry, Mapping, Mark, Node, Scalar, Sequence, StopReadingError, joined
from xds.config.problems import shown

MAX_DEPTH: Final = 32
FAST_FROM: Final = 100_000
"""Characters from which on speed counts for more than the wording of syntax errors."""

_TAG: Final = "tag:yaml.org,2002:"
_SCALAR_TAGS: Final = frozenset(f"{_TAG}{name}" for name in ("str", "int", "float", "bool", "null"))
_RESOLVER: Final = Resolver()
_C_PARSER: Final[type[yaml.CSafeLoader] | None] = getattr(yaml, "CSafeLoader", None)


def compose(text: str, context: Context) -> Node | None:
    """The tree of the only document in `text`; None where there is none, or not one (then a problem says why).

    Raises yaml.YAMLError where the text isn't YAML; ValueError and OverflowError for some impossible escapes.
    """
    composer = _Composer(context)
    try:
        for event in _events(text):
            composer.feed(event)
    except StopReadingError:
        return None
    return composer.root


def _events(text: str) -> Iterator[yaml.Event]:
    # libyaml is twenty times as fast, PyYAML's own parser says what is wrong more precisely.
    if _C_PARSER is None or len(text) < FAST_FROM:
        return yaml.parse(text, Loader=yaml.SafeLoader)
    return yaml.parse(text, Loader=_C_PARSER)


@dataclass(slots=True)
class _Frame:
    """A collection that isn't complete yet. `key` is the key whose value comes next."""

    node: Sequence | Mapping
    path: str
    key: Scalar | None = None
    awaits_value: bool = False
    merges: list[Node] = field(default_factory=list)

    @property
    def child_path(self) -> str:
        if isinstance(self.node, Sequence):
            return f"{self.path}[{len(self.node.items)}]"
        return joined(self.path, self.key.text) if self.key is not None else self.path


class _Composer:
    """Takes events, keeps the collections that are open on a stack of its own."""

    def __init__(self, context: Context) -> None:
        self.root: Node | None = None
        self._context = context
        self._frames: list[_Frame] = []
        self._anchors: dict[str, Node] = {}

    def feed(self, event: yaml.Event) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self._document(event)
            case yaml.AliasEvent():
                self._alias(event)
            case yaml.ScalarEvent():
                self._scalar(event)
            case yaml.CollectionStartEvent():
                self._begin(event)
            case yaml.CollectionEndEvent():
                self._end()
            case _:
                pass  # the stream's and the document's ends say nothing new

    def _document(self, event: yaml.Event) -> None:
        if self.root is not None:
            self._context.report(_mark(event), "", "one document", "a second one", "put everything into the first")
            raise StopReadingError

    def _alias(self, event: yaml.AliasEvent) -> None:
        node = self._anchors.get(event.anchor or "")
        if node is None:
            hint = f"name a value earlier in the file with &{event.anchor}"
            self._context.report(_mark(event), self._path, "the name of an anchor", f"*{event.anchor}", hint)
            raise StopReadingError
        self._attach(node, _mark(event))

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        tag: str = event.tag or _RESOLVER.resolve(yaml.ScalarNode, event.value, event.implicit)  # type: ignore[no-untyped-call]
        kind = tag.removeprefix(_TAG) if tag in _SCALAR_TAGS else "str"
        if event.tag not in {None, "!"} and tag not in _SCALAR_TAGS:
            self._context.report(_mark(event), self._path, "a plain value", _tagged(event.tag), "leave it out")
        node = Scalar(_mark(event), event.value, kind, quoted=bool(event.style))
        self._keep(event.anchor, node)
        self._attach(node, _mark(event))

    def _begin(self, event: yaml.CollectionStartEvent) -> None:
        is_list = isinstance(event, yaml.SequenceStartEvent)
        mark, path = _mark(event), self._path
        if event.tag not in {None, "!", _TAG + ("seq" if is_list else "map")}:
            self._context.report(mark, path, "a plain value", _tagged(event.tag), "leave it out")
        if len(self._frames) == MAX_DEPTH:
            self._context.report(mark, path, f"at most {MAX_DEPTH} levels", "more")
            raise StopReadingError
        node = Sequence(mark) if is_list else Mapping(mark)
        self._keep(event.anchor, node)
        self._attach(node, mark)
        self._frames.append(_Frame(node, path))

    def _end(self) -> None:
        frame = self._frames.pop()
        for source in frame.merges:
            self._merge(frame, source)

    @property
    def _path(self) -> str:
        return self._frames[-1].child_path if self._frames else ""

    def _keep(self, anchor: str | None, node: Node) -> None:
        if anchor is not None:
            self._anchors[anchor] = node

    def _attach(self, node: Node, mark: Mark) -> None:
        if not self._frames:
            self.root = node
            return
        frame = self._frames[-1]
        if isinstance(frame.node, Sequence):
            frame.node.items.append(node)
        elif frame.awaits_value:
            self._attach_value(frame, frame.node, node)
            frame.key, frame.awaits_value = None, False
        else:
            frame.awaits_value = True
            if isinstance(node, Scalar):
                frame.key = Scalar(mark, node.text, node.kind, node.quoted)
            else:
                kind = "a list" if isinstance(node, Sequence) else "a mapping"
                hint = "put quotes around a value that begins with a bracket or a brace"
                self._context.report(mark, frame.path, "a text as the key", kind, hint)

    def _attach_value(self, frame: _Frame, mapping: Mapping, node: Node) -> None:
        key = frame.key
        if key is None:
            return
        earlier = mapping.entries.get(key.text)
        if key.text == "<<" and not key.quoted:
            frame.merges.append(node)
        elif earlier is None:
            mapping.entries[key.text] = Entry(key.mark, node)
        else:
            hint = f"line {earlier.mark.line} has it already"
            self._context.report(key.mark, joined(frame.path, key.text), "each key once", "it again", hint)

    def _merge(self, frame: _Frame, source: Node) -> None:
        """Take over what `<<: *name` names (https://yaml.org/type/merge.html): own keys win, then earlier sources."""
        assert isinstance(frame.node, Mapping)
        open_nodes = {id(open_frame.node) for open_frame in self._frames} | {id(frame.node)}
        for node in source.items if isinstance(source, Sequence) else (source,):
            if not isinstance(node, Mapping):
                self._context.report(source.mark, joined(frame.path, "<<"), "an alias to a mapping", "something else")
            elif id(node) in open_nodes:
                self._context.report(
                    frame.node.mark, joined(frame.path, "<<"), "another mapping", "one that holds this"
                )
            else:
                self._context.spend(len(node.entries), frame.node.mark, frame.path)
                for key, entry in node.entries.items():
                    frame.node.entries.setdefault(key, entry)


def _tagged(tag: str | None) -> str:
    text = tag or ""
    return f"the tag {shown('!!' + text.removeprefix(_TAG) if text.startswith(_TAG) else text)}"


def _mark(event: yaml.Event) -> Mark:
    assert event.start_mark is not None
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)
