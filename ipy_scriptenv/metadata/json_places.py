"""Where the parts of a JSON text stand, and how they are laid out.

``json`` passes over what is not asked for, so that outputs of any size cost little.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["Json", "Layout", "Member", "Span", "layout_of"]

_raw_decode = json.JSONDecoder().raw_decode


class Span(NamedTuple):
    """Where a value of the JSON stands."""

    start: int
    end: int


class Member(NamedTuple):
    """A key of an object: where it stands, and its value."""

    key: int
    value: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Json:
    """A text of JSON that is known to be sound; ``json`` passes over what is not asked for."""

    text: str

    @property
    def all(self) -> Span:
        """Where the object stands that is all of the text."""
        return Span(self.text.index("{"), self.text.rindex("}") + 1)

    def colon(self, member: Member) -> str:
        """Give what stands between a key and its value."""
        return self.text[self._end(member.key) : member.value.start]

    def members(self, start: int) -> dict[str, Member]:
        """Give the members of the object that begins at *start*.

        Of a key that is there twice the last one counts, as for ``json``.
        """
        return dict(self._entries(start))

    def entries(self, start: int) -> list[Span]:
        """Give the members of an object, each from its key to the end of its value."""
        return [Span(member.key, member.value.end) for _, member in self._entries(start)]

    def elements(self, start: int) -> list[Span]:
        """Give the elements of the array that begins at *start*."""
        elements: list[Span] = []
        position = self._space(start + 1)
        while self.text[position] != "]":
            elements.append(Span(position, self._end(position)))
            position = self._next(elements[-1].end)
        return elements

    def value(self, span: Span) -> Any:
        """Give a value."""
        return _raw_decode(self.text, span.start)[0]

    def _entries(self, start: int) -> Iterator[tuple[str, Member]]:
        position = self._space(start + 1)
        while self.text[position] != "}":
            key, end = _raw_decode(self.text, position)
            value = self._space(self._space(end) + 1)
            span = Span(value, self._end(value))
            yield key, Member(position, span)
            position = self._next(span.end)

    def _end(self, start: int) -> int:
        return _raw_decode(self.text, start)[1]

    def _next(self, end: int) -> int:
        position = self._space(end)
        return self._space(position + 1) if self.text[position] == "," else position

    def _space(self, position: int) -> int:
        while self.text[position] in " \t\r\n":
            position += 1
        return position


class Layout(NamedTuple):
    """What stands inside the brackets of an array or object, around what it holds."""

    lead: str
    between: str
    close: str

    def inside(self) -> Layout:
        """Give the layout of what is one level deeper."""
        if "\n" not in self.lead:
            return self
        unit = _margin(self.lead).removeprefix(_margin(self.close))
        return Layout(self.lead + unit, f",{self.lead}{unit}", self.lead)

    def around(self, values: Iterable[str]) -> str:
        """Lay out values, of which there is at least one."""
        return f"{self.lead}{self.between.join(values)}{self.close}"


def layout_of(text: str, outer: Span, inner: list[Span]) -> Layout:
    """See how an array or object is laid out that holds something.

    :param outer: with its brackets
    :param inner: what it holds: elements, or members from key to value, in order
    """
    lead = text[outer.start + 1 : inner[0].start]
    between = f",{lead}" if "\n" in lead else ", "
    if len(inner) > 1:
        between = text[inner[0].end : inner[1].start]
    return Layout(lead, between, text[inner[-1].end : outer.end - 1])


def _margin(space: str) -> str:
    return space.rpartition("\n")[2]
