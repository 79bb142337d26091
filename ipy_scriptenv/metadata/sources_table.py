"""Change ``[tool.uv.sources]`` in a block by whole lines, as uv writes them."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["other_tables", "with_sources"]

_HEADER = re.compile(r"(?m)^[ \t]*\[tool\.uv\.sources\][ \t]*(?:#.*)?\n?")
_ANY_HEADER = re.compile(r"(?m)^[ \t]*\[")


def other_tables(tables: dict[str, Any]) -> dict[str, Any]:
    """Give what a block says beside ``tool.uv.sources``, without tables that are empty then."""
    rest = {key: value for key, value in tables.items() if key != "tool"}
    tool = dict(tables.get("tool") or {})
    uv = tool.get("uv")
    if isinstance(uv, dict):
        tool["uv"] = {key: value for key, value in uv.items() if key != "sources"}
        if not tool["uv"]:
            del tool["uv"]
    return {**rest, "tool": tool} if tool else rest


def with_sources(text: str, new: str) -> str | None:
    """Take the entries of the sources table in *new* over into *text*; ``None`` if that is unsure.

    Lines of entries that stay are not touched. A table that becomes empty goes, with the blank
    line above it; a new one comes last.

    :param text: the content of a block
    :param new: what uv made of it: one line for each entry
    """
    ours, theirs = _table(text), _table(new)
    wanted = {} if theirs is None else _entries(new[slice(*theirs)])
    if wanted is None:
        return None
    if ours is None:
        body = "".join(wanted.values())
        return f"{text.rstrip(chr(10))}\n\n[tool.uv.sources]\n{body}" if body else text
    found = _entries(text[slice(*ours)])
    if found is None:
        return None
    start, end = ours
    gone = {found[name] for name in found.keys() - wanted.keys()}
    kept = text[start:end].splitlines(keepends=True)
    # The last line of all may lack its end.
    body = "".join(line for line in kept if not {line, f"{line}\n"} & gone)
    lines = "".join(line for name, line in wanted.items() if name not in found)
    stripped = body.rstrip("\n")
    body = (f"{stripped}\n" if stripped else "") + lines + body[len(stripped) :].removeprefix("\n")
    if body.strip():
        return text[:start] + body + text[end:]
    header = _HEADER.search(text)
    before = "" if header is None else text[: header.start()].rstrip("\n")
    return (f"{before}\n" if before else "") + text[end:]


def _table(text: str) -> tuple[int, int] | None:
    """Give where the entries of the table stand; ``None`` without one."""
    header = _HEADER.search(text)
    if header is None:
        return None
    following = _ANY_HEADER.search(text, header.end())
    return header.end(), len(text) if following is None else following.start()


def _entries(body: str) -> dict[str, str] | None:
    """Give the line of each entry; ``None`` where one takes several, or is written otherwise."""
    found: dict[str, str] = {}
    for line in body.splitlines(keepends=True):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        entry = re.match(r"""[ \t]*(?:"([^"\n]+)"|([\w-]+))[ \t]*=.*\n?\Z""", line)
        if entry is None:
            return None
        found[entry[1] or entry[2]] = line if line.endswith("\n") else f"{line}\n"
    return found
