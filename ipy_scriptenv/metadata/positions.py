"""Where a key or an item stands in a TOML text that has been parsed.

``tomllib`` tells no positions. The lines are good for messages: a text that was written to mislead
them (such as a multi-line string that looks like the key) gets a wrong line and nothing worse. The
spans are exact, or there is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Array", "Item", "item_lines", "key_line", "string_array", "value_span"]

_TOKEN = re.compile(
    r"""
    \#[^\n]*
    | \"{3} (?:[^\\]|\\.)*? \"{3} (?!\")
    | '{3} .*? '{3} (?!')
    | \" (?:[^\"\\\n]|\\.)* \"
    | ' [^'\n]* '
    | [\[\]{},=]
    | [^\s\[\]{},=\#\"']+
    """,
    re.VERBOSE | re.DOTALL,
)
_PART = r"""(?: [\w-]+ | "[^"\\\n]*" | '[^'\n]*' )"""
_ASSIGNMENT = re.compile(
    rf"(?P<key> {_PART} (?: [ \t]*\.[ \t]* {_PART} )* ) [ \t]* = [ \t]*", re.VERBOSE
)
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")


class Item(NamedTuple):
    """A string in an array: its span with its quotes, and where the comma behind it is."""

    start: int
    end: int
    comma: int | None


class Array(NamedTuple):
    """An array of strings: its span with its brackets, and its items."""

    start: int
    end: int
    items: tuple[Item, ...]


def value_span(toml: str, key: str) -> tuple[int, int] | None:
    """Give the span of the value of a top-level *key*; ``None`` where it is not surely seen."""
    names = {key, f'"{key}"', f"'{key}'"}
    return next(((start, end) for name, start, end in _top_level(toml) if name in names), None)


def string_array(toml: str, key: str) -> Array | None:
    """Give the array that a top-level *key* is set to; ``None`` where it holds more than strings.

    ``None`` as well where the key or the array is not surely seen.
    """
    span = value_span(toml, key)
    if span is None or toml[span[0]] != "[":
        return None
    items: list[Item] = []
    for token in _TOKEN.finditer(toml, span[0] + 1, span[1] - 1):
        word = token[0]
        if word == ",":
            items[-1] = items[-1]._replace(comma=token.start())
        elif word[0] in "\"'":
            items.append(Item(token.start(), token.end(), None))
        elif word[0] != "#":
            return None
    return Array(*span, tuple(items))


def key_line(toml: str, key: str) -> int | None:
    """Give the line, counted from 1, that sets a top-level *key*; ``None`` where it is not seen."""
    match = _key(toml, key)
    return None if match is None else _line(toml, match.start())


def item_lines(toml: str, key: str) -> list[int]:
    """Give the line, counted from 1, of each item of the array that a top-level *key* is set to.

    The list is empty where the key is not seen.
    """
    match = _key(toml, key)
    if match is None:
        return []
    lines: list[int] = []
    line, position = _line(toml, match.start()), match.start()
    depth, awaited = 0, True
    for token in _TOKEN.finditer(toml, match.end()):
        word = token[0]
        if word.startswith("#"):
            continue
        line, position = line + toml.count("\n", position, token.start()), token.start()
        if depth == 1 and word == ",":
            awaited = True
        elif depth == 1 and word != "]" and awaited:
            lines.append(line)
            awaited = False
        depth += (word in {"[", "{"}) - (word in {"]", "}"})
        if depth == 0:
            break
    return lines


def _top_level(toml: str) -> Iterator[tuple[str, int, int]]:
    """Give each key above the first table, as written, with the span of its value."""
    position = 0
    while blank := _BLANK.match(toml, position):
        found = _ASSIGNMENT.match(toml, blank.end())
        if found is None:
            return
        position = _value_end(toml, found.end())
        yield found["key"], found.end(), position


def _value_end(toml: str, start: int) -> int:
    depth, end = 0, start
    for token in _TOKEN.finditer(toml, start):
        if depth == 0 and end > start and "\n" in toml[end : token.start()]:
            break
        word = token[0]
        if word.startswith("#"):
            if depth == 0:
                break
            continue
        depth += (word in {"[", "{"}) - (word in {"]", "}"})
        end = token.end()
    return end


def _key(toml: str, key: str) -> re.Match[str] | None:
    name = re.escape(key)
    return re.search(rf"""^[ \t]*(?:{name}|"{name}"|'{name}')[ \t]*=""", toml, re.MULTILINE)


def _line(toml: str, position: int) -> int:
    return toml.count("\n", 0, position) + 1
