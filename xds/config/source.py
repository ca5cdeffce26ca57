"""From a path to the tree of its YAML, with every way in which that can fail told as a problem."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import yaml

from xds.config.composer import compose
from xds.config.nodes import Context, Mark, Node, Scalar
from xds.config.problems import shown

MAX_BYTES: Final = 10 * 1024 * 1024

_HINTS: Final = (
    (r"'\\t'", "indent with spaces: YAML allows no tabs there"),
    (
        r"mapping values are not allowed",
        "put quotes around a value with a colon and a blank in it, or the line above lacks its colon",
    ),
    (r"character '[@`%]'", "put quotes around a value that begins with this character"),
    (
        r"expected <block end>|expected the node content|did not find expected",
        "look at the indentation, quotes and brackets",
    ),
    (r"could not find expected ':'", "write KEY: VALUE, with a blank after the colon"),
    (r"unknown escape character", "double the backslash, or use single quotes"),
)
# What YAML 1.1 section 4.1.1 allows, and a byte order mark in the midst, which libyaml refuses.
_UNPRINTABLE: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_IPV6: Final = re.compile(r"""(?<!["'])(\[[0-9a-fA-F:.]{2,45}\]:\d{1,5})""")


def read_tree(path: Path, context: Context) -> Node | None:
    """The document in a file, or None when the context's problems say why there is none. Raises nothing."""
    text = _read_text(path, context)
    if text is None:
        return None
    before = len(context.problems)
    root = None
    try:
        root = compose(text, context)
    except yaml.YAMLError as error:
        _report_syntax(error, text, context)
    except (ValueError, OverflowError):
        # PyYAML's scanner hands "\UFFFFFFFF" to chr() unchecked and leaves no mark.
        line = next((number for number, row in enumerate(text.splitlines(), 1) if _beyond_unicode(row)), 1)
        context.report(Mark(line, 1), "", "characters that Unicode has", "an escape \\U beyond 10FFFF")
    if len(context.problems) == before and (root is None or (isinstance(root, Scalar) and root.kind == "null")):
        context.report(Mark(), "", "at least the key “workloads”", "an empty file")
        return None
    return root


def _read_text(path: Path, context: Context) -> str | None:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except IsADirectoryError:
        context.report(Mark(), "", "a YAML file", "a directory", "name the file in it")
    except FileNotFoundError:
        context.report(Mark(), "", "a YAML file", "none of this name")
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        context.report(Mark(), "", "a file that can be read", f"an error: {reason}")
    else:
        return _decode(content, context)
    return None


def _decode(content: bytes, context: Context) -> str | None:
    if len(content) > MAX_BYTES:
        context.report(Mark(), "", f"at most {MAX_BYTES >> 20} MB", "more", "is it the right file?")
        return None
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        context.report(Mark(1, 1), "", "UTF-8", "UTF-16", "save the file as UTF-8")
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # `error.object` is what was decoded: without the byte order mark, should there have been one.
        before = bytes(error.object[: error.start])
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8")) + 1
        mark = Mark(before.count(b"\n") + 1, column)
        context.report(mark, "", "UTF-8", f"the byte 0x{error.object[error.start]:02x}", "save the file as UTF-8")
        return None


def _report_syntax(error: yaml.YAMLError, text: str, context: Context) -> None:
    if isinstance(error, yaml.reader.ReaderError):
        # Not by the error's position: PyYAML counts characters, libyaml bytes.
        bad = _UNPRINTABLE.search(text)
        before = text[: bad.start()] if bad else ""
        mark = Mark(before.count("\n") + 1, len(before) - before.rfind("\n"))
        code = f"the character U+{ord(bad[0]) if bad else 0:04X}"
        context.report(mark, "", "printable characters", code, "write it as an escape in double quotes")
        return
    if not isinstance(error, yaml.MarkedYAMLError):
        context.report(Mark(), "", "YAML", f"a syntax error: {error}")
        return
    place = error.problem_mark or error.context_mark
    mark = Mark(place.line + 1, place.column + 1) if place is not None else Mark()
    found = f"a syntax error: {error.problem}" + (f" ({error.context})" if error.context else "")
    context.report(mark, "", "YAML", "".join(c if c.isprintable() else "?" for c in found), _hint(error, text))


def _hint(error: yaml.MarkedYAMLError, text: str) -> str:
    begin, end = error.context_mark, error.problem_mark
    rows = text.splitlines()
    if end is not None and end.line < len(rows) and (address := _IPV6.search(rows[end.line])):
        return f"put quotes around {shown(address[1])[1:-1]}"
    if begin is not None and re.search(r"end of stream|expected ',' or", error.problem or ""):
        return f"what begins on line {begin.line + 1} is never closed"
    return next((hint for pattern, hint in _HINTS if re.search(pattern, error.problem or "")), "")


def _beyond_unicode(row: str) -> bool:
    return any(int(digits, 16) > 0x10FFFF for digits in re.findall(r"\\U([0-9a-fA-F]{8})", row))
