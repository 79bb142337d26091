"""Change one item of an array of strings in a TOML text, and no byte more than that takes.

An array keeps its own style: several lines or one, quotes, indentation, a comma behind the last
item or none. What was put in and is taken out again leaves the text as it was.
"""

from __future__ import annotations

import json
import re

from ipy_scriptenv.metadata.positions import Array, Item

__all__ = ["quoted", "with_item", "with_value", "without_item"]

_INDENT = "    "
"""As uv indents the first item of an array."""

_LINE_END = re.compile(r"[ \t]*,?[ \t]*(?:#[^\n]*)?\n")
_COMMENT = re.compile(r"^([ \t]*)#[^\n]*\n", re.MULTILINE)


def quoted(value: str, quote: str) -> str:
    """Write *value* as a TOML string, in single quotes if *quote* asks for them and they can."""
    if quote == "'" and "'" not in value and value.isprintable():
        return f"'{value}'"
    return json.dumps(value, ensure_ascii=False)


def with_value(toml: str, start: int, end: int, value: str) -> str:
    """Write *value* in place of the string that stands from *start* to *end*, in its quotes."""
    return f"{toml[:start]}{quoted(value, toml[start])}{toml[end:]}"


def with_item(toml: str, array: Array, index: int, value: str) -> str:
    """Put *value* into the array, before the item that is number *index* now, or at the end."""
    quotes = {toml[item.start] for item in array.items}
    text = quoted(value, "'" if quotes == {"'"} else '"')
    if not array.items:
        return _with_first(toml, array, text)
    if index:
        return _behind(toml, array, index - 1, text)
    first = array.items[0]
    line = _own_line(toml, first)
    if line is None:
        return _put(toml, first.start, text + (_gap(toml, array, 0) or ", "))
    indent = toml[line[0] : first.start]
    return _put(toml, toml.index("\n", array.start) + 1, f"{indent}{text},\n")


def without_item(toml: str, array: Array, index: int) -> str | None:
    """Take an item away, with the comment on its line if it has the line for itself.

    ``None`` where a comment stands so that it is not sure whose it is.
    """
    item = array.items[index]
    if len(array.items) == 1:
        return _without_last(toml, array)
    before = _gap(toml, array, index - 1) if index else None
    if before is not None and before == _gap(toml, array, index):
        return _cut(toml, array.items[index - 1].end, item.end)
    line = _own_line(toml, item)
    if line is not None:
        rest = _cut(toml, *line)
        comma = array.items[index - 1].comma if item.comma is None else None
        return rest if comma is None else _cut(rest, comma, comma + 1)
    if before:
        return _cut(toml, array.items[index - 1].end, item.end)
    if index + 1 < len(array.items) and _gap(toml, array, index):
        return _cut(toml, item.start, array.items[index + 1].start)
    return None


def _with_first(toml: str, array: Array, text: str) -> str:
    inner = toml[array.start + 1 : array.end - 1]
    if not inner:
        return _put(toml, array.start + 1, f"\n{_INDENT}{text},\n")
    if "\n" not in inner:
        return _put(toml, array.start + 1, f"{inner}{text}")
    comments = _COMMENT.findall(inner)
    # Without a comma behind its only item, an array is known to have had its lines before.
    comma = "," if "#" in inner else ""
    indent = comments[-1] if comments else _INDENT
    return _put(toml, toml.rindex("\n", 0, array.end) + 1, f"{indent}{text}{comma}\n")


def _without_last(toml: str, array: Array) -> str | None:
    (item,) = array.items
    line = _own_line(toml, item)
    if line is None:
        before, behind = toml[array.start + 1 : item.start], toml[item.end : array.end - 1]
        if "#" in before + behind:
            return None
        inner = before if before == behind else ""
    else:
        inner = toml[array.start + 1 : line[0]] + toml[line[1] : array.end - 1]
        if item.comma is not None and not inner.strip():
            inner = ""
    return f"{toml[: array.start + 1]}{inner}{toml[array.end - 1 :]}"


def _behind(toml: str, array: Array, index: int, text: str) -> str:
    item = array.items[index]
    line = _own_line(toml, item)
    if line is None:
        gaps = [_gap(toml, array, index - 1) if index else None, _gap(toml, array, index)]
        return _put(toml, item.end, next(filter(None, gaps), ", ") + text)
    indent = toml[line[0] : item.start]
    if item.comma is not None:
        return _put(toml, line[1], f"{indent}{text},\n")
    return _put(_put(toml, line[1], f"{indent}{text}\n"), item.end, ",")


def _own_line(toml: str, item: Item) -> tuple[int, int] | None:
    """Give the span of an item's line; ``None`` if more than a comma and a comment share it."""
    start = toml.rfind("\n", 0, item.start) + 1
    rest = _LINE_END.match(toml, item.end)
    if rest is None or toml[start : item.start].strip(" \t"):
        return None
    if item.comma is not None and item.comma >= rest.end():
        return None
    return start, rest.end()


def _gap(toml: str, array: Array, index: int) -> str | None:
    """Give what stands between an item and the next one; ``None`` if that holds a comment."""
    if index + 1 >= len(array.items):
        return None
    gap = toml[array.items[index].end : array.items[index + 1].start]
    return None if "#" in gap else gap


def _put(text: str, position: int, more: str) -> str:
    return f"{text[:position]}{more}{text[position:]}"


def _cut(text: str, start: int, end: int) -> str:
    return text[:start] + text[end:]
