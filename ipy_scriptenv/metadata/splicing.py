"""Where a text changes when its block does: every character that may stay is left alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import accumulate
from typing import NamedTuple

from ipy_scriptenv.kernel_side.block import Block, render_block

__all__ = ["Splice", "block_splices", "new_block_splice", "spliced"]

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_HEAD = re.compile(
    r"""
    \ufeff?
    (?: \#! [^\n]* (?: \n | \Z ) )?
    (?: [ \t\f]* \# [^\n]*? coding [:=] [ \t]* [-\w.]+ [^\n]* (?: \n | \Z ) )?  # PEP 263
    (?P<header>
        \#[ ]--- [ \t]* \r?\n
        (?: \# (?! [ ]--- [ \t]* \r? $ ) [^\n]* \n )*+
        \#[ ]--- [ \t]* \r? (?: \n | \Z )
    )?
    """,
    re.VERBOSE | re.MULTILINE,
)

_MOST_COMPARED = 4_000_000
"""Pairs of lines that are compared to find those that stay; it is a matter of seconds."""


class Splice(NamedTuple):
    """The characters from *start* to *end* give way to *text*."""

    start: int
    end: int
    text: str


def block_splices(text: str, block: Block, toml: str) -> tuple[Splice, ...]:
    """Give what is to be done to *text* so that its block says *toml*, in order.

    Lines that stay keep how they are written, and new ones end as those in their place did.

    :param block: as it was found in *text*
    """
    lines = _LINE.findall(text)
    first = block.line
    places = list(accumulate(map(len, lines), initial=0))
    written = _LINE.findall(_written(toml))
    splices: list[Splice] = []
    for i, i_end, j, j_end in _changes(_lines_of(block.toml), _lines_of(toml)):
        like = lines[first + i] if i < i_end else lines[first + i - 1]
        old = "".join(lines[first + i : first + i_end])
        new = _ended("".join(written[1 + j : 1 + j_end]), like)
        splices += _narrowed(places[first + i], old, new)
    return tuple(splices)


def new_block_splice(text: str, toml: str) -> Splice:
    """Give what is to be done to a script or cell without a block so that it has one.

    It stands behind what must be first (shebang, coding line, the header of a jupytext script) and
    before all else; a blank line parts it from that.
    """
    head = _HEAD.match(text)
    position = head.end() if head else 0
    before, behind = text[:position].removeprefix("\ufeff"), text[position:]
    block = _written(toml)
    if head and head["header"]:
        # As jupytext parts its header from what follows.
        block = f"\n{block}"
    if before and not before.endswith("\n"):
        block = f"\n{block}".removesuffix("\n")
    if behind and not re.match(r"[ \t]*\r?\n", behind):
        block += "\n"
    return Splice(position, position, _ended(block, text.partition("\n")[0] + "\n"))


def spliced(text: str, splices: Iterable[Splice]) -> str:
    """Carry out what is to be done to *text*."""
    parts: list[str] = []
    done = 0
    for splice in splices:
        parts += (text[done : splice.start], splice.text)
        done = splice.end
    return "".join([*parts, text[done:]])


def _written(toml: str) -> str:
    return render_block(toml.replace("\r\n", "\n"))


def _ended(text: str, line: str) -> str:
    """Let the lines of *text* end as *line* does."""
    return text.replace("\n", "\r\n") if line.endswith("\r\n") else text


def _lines_of(toml: str) -> list[str]:
    return toml.replace("\r\n", "\n").removesuffix("\n").split("\n") if toml else []


def _changes(old: list[str], new: list[str]) -> Iterator[tuple[int, int, int, int]]:
    """Give each run of old lines that does not stay, and the run of new ones in its place."""
    head = _alike(old, new)
    tail = _alike(old[head:][::-1], new[head:][::-1])
    end, new_end = len(old) - tail, len(new) - tail
    if (end - head) * (new_end - head) > _MOST_COMPARED:
        yield head, end, head, new_end
        return
    matcher = SequenceMatcher(None, old[head:end], new[head:new_end], autojunk=False)
    for tag, i, i_end, j, j_end in matcher.get_opcodes():
        if tag == "replace" and i_end - i == j_end - j:
            for n in range(i_end - i):
                yield head + i + n, head + i + n + 1, head + j + n, head + j + n + 1
        elif tag != "equal":
            yield head + i, head + i_end, head + j, head + j_end


def _narrowed(position: int, before: str, after: str) -> tuple[Splice, ...]:
    head = _alike(before, after)
    tail = _alike(before[head:][::-1], after[head:][::-1])
    end, new_end = len(before) - tail, len(after) - tail
    if head == end and head == new_end:
        return ()
    return (Splice(position + head, position + end, after[head:new_end]),)


def _alike(one: Sequence[str], other: Sequence[str]) -> int:
    """Count the elements at the beginning that are the same in both."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))
