"""Where a key or an item stands in a TOML text that has been parsed.

``tomllib`` tells no positions. These are good for messages: a text that was written to mislead
them (such as a multi-line string that looks like the key) gets a wrong line and nothing worse.
"""

from __future__ import annotations

import re

__all__ = ["item_lines", "key_line"]

_TOKEN = re.compile(
    r"""
    \#[^\n]*
    | \"{3} (?:[^\\]|\\.)*? \"{3}
    | '{3} .*? '{3}
    | \" (?:[^\"\\\n]|\\.)* \"
    | ' [^'\n]* '
    | [\[\]{},]
    | [^\s\[\]{},\#]+
    """,
    re.VERBOSE | re.DOTALL,
)


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


def _key(toml: str, key: str) -> re.Match[str] | None:
    name = re.escape(key)
    return re.search(rf"""^[ \t]*(?:{name}|"{name}"|'{name}')[ \t]*=""", toml, re.MULTILINE)


def _line(toml: str, position: int) -> int:
    return toml.count("\n", 0, position) + 1
