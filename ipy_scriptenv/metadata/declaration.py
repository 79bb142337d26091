"""Read what a block declares: the Python it needs, its dependencies, the settings of tools."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ipy_scriptenv.errors import BadBlock, BadRequirement, Problem
from ipy_scriptenv.metadata.positions import item_lines, key_line
from ipy_scriptenv.metadata.quoting import shown

__all__ = ["EMPTY", "Declaration", "read_declaration", "read_toml"]

_MOST_BYTES = 1 << 20
_MOST_DEPENDENCIES = 10_000
_MOST_LEVELS = 64

_KEYS = frozenset({"requires-python", "dependencies", "tool"})
_TOML_TYPES = {str: "a string", bool: "a boolean", int: "an integer", float: "a float"} | {
    list: "an array",
    dict: "a table",
}
_PLACE = re.compile(r" \(at (?:line (?P<line>\d+), column \d+|end of document)\)\Z")
# `tomllib` needs minutes for one key of many thousand parts.
_LONG_KEY = re.compile(
    r"""(?:^|[{,\[]) [ \t]* (?: (?:[\w-]+ | "[^"\n]*" | '[^'\n]*') [ \t]*\.[ \t]* ){64}""",
    re.MULTILINE | re.VERBOSE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What a block declares (PEP 723).

    :param requires_python: versions of Python it runs on; ``None`` where it does not say
    :param dependencies: requirements as written, in order
    :param requirements: the same, parsed
    :param tools: the ``tool`` table
    :param warnings: sentences about what is ignored
    """

    requires_python: SpecifierSet | None = None
    dependencies: tuple[str, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    tools: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


EMPTY = Declaration()
"""What a source without a block declares."""


def read_declaration(toml: str, *, cell: int | None = None, line: int = 0) -> Declaration:
    """Read the content of a block.

    :param toml: the content, as ``find_block`` gives it
    :param cell: number of the notebook's cell, for the places of problems
    :param line: the block's opening line in the cell or file, so that problems tell the line there
    :raises BadBlock: if it is no TOML, is larger than 1 MiB, is nested in more than 64 levels,
        declares more than 10,000 dependencies, or a key has the wrong shape; all problems are told
    :raises BadRequirement: if only texts of requirements or specifiers are wrong
    """
    tables = read_toml(toml, cell=cell, line=line)
    findings = _Findings(toml=toml, cell=cell, line=line)
    requires_python = _requires_python(tables.get("requires-python"), findings)
    dependencies = tables.get("dependencies", [])
    requirements = _requirements(dependencies, findings)
    tools = tables.get("tool", {})
    if not isinstance(tools, dict):
        findings.shape("tool", f"it must be a table, not {_type_name(tools)}")
    findings.raise_if_any()
    return Declaration(
        requires_python=requires_python,
        dependencies=tuple(dependencies),
        requirements=tuple(requirements),
        tools=tools,
        warnings=tuple(
            f"`{shown(key)}` is no key of inline script metadata and is ignored."
            for key in tables
            if key not in _KEYS
        ),
    )


def read_toml(
    toml: str,
    *,
    cell: int | None = None,
    line: int = 0,
    most_bytes: int | None = _MOST_BYTES,
) -> dict[str, Any]:
    """Parse the content of a block; parameters as for :func:`read_declaration`.

    :param most_bytes: that are read; ``None``: any number, for a lock
    :raises BadBlock: if it is no TOML, is larger than that, or is nested in more than 64 levels
    """
    try:
        size = len(toml.encode())
    except UnicodeEncodeError as error:
        place = toml.count("\n", 0, error.start) + 1
        raise _no_toml("a character is half of a pair (a surrogate)", cell, line + place) from None
    if most_bytes is not None and size > most_bytes:
        raise BadBlock("The block is larger than 1 MiB.", hint="Declare less in it.")
    long_key = _LONG_KEY.search(toml)
    if long_key is not None:
        raise _too_deep(cell, line + toml.count("\n", 0, long_key.start()) + 1)
    try:
        tables = tomllib.loads(toml)
    except tomllib.TOMLDecodeError as error:
        message, place = _decode_error(str(error), toml)
        raise _no_toml(message, cell, line + place) from None
    except ValueError:
        raise _no_toml("an integer is too long to be read", cell, None) from None
    except RecursionError:
        raise _too_deep(cell, None) from None
    if _is_deeper(tables, _MOST_LEVELS):
        raise _too_deep(cell, None)
    return tables


@dataclass(slots=True, kw_only=True)
class _Findings:
    """The problems of one block, collected to be told together."""

    toml: str
    cell: int | None
    line: int
    shapes: list[Problem] = field(default_factory=list)
    texts: list[Problem] = field(default_factory=list)

    def shape(self, key: str, message: str, line: int | None = None) -> None:
        """Add that the value of *key* has the wrong shape."""
        self.shapes.append(self._problem(key, message, line))

    def text(self, key: str, message: str, line: int | None = None) -> None:
        """Add that the text of *key* cannot be read."""
        self.texts.append(self._problem(key, message, line))

    def raise_if_any(self) -> None:
        """Tell all problems.

        :raises BadBlock: if a shape is wrong
        :raises BadRequirement: if only texts are
        """
        problems = (*self.shapes, *self.texts)
        if self.shapes:
            raise BadBlock("The block is not as PEP 723 has it.", problems=problems)
        if self.texts:
            count = "A requirement" if len(problems) == 1 else f"{len(problems)} requirements"
            raise BadRequirement(f"{count} in the block cannot be read.", problems=problems)

    def _problem(self, key: str, message: str, line: int | None) -> Problem:
        place = line or key_line(self.toml, key)
        return Problem(
            message=message,
            cell=self.cell,
            line=None if place is None else self.line + place,
            key=key,
        )


def _requires_python(value: object, findings: _Findings) -> SpecifierSet | None:
    key = "requires-python"
    if value is None:
        return None
    if not isinstance(value, str):
        findings.shape(key, f"it must be a string, not {_type_name(value)}")
    elif _has_control_character(value):
        findings.text(key, f"`{shown(value)}` holds a control character")
    else:
        try:
            return SpecifierSet(value)
        except ValueError:
            findings.text(key, f"`{shown(value)}` is no version specifier")
    return None


def _requirements(value: object, findings: _Findings) -> list[Requirement]:
    key = "dependencies"
    if not isinstance(value, list):
        findings.shape(key, f"it must be an array of strings, not {_type_name(value)}")
        return []
    if len(value) > _MOST_DEPENDENCIES:
        findings.shape(key, f"it holds {len(value):,} items; 10,000 is the most that is read")
        return []
    requirements: list[Requirement] = []
    lines: list[int] | None = None
    for number, item in enumerate(value):
        read = _requirement(item) if isinstance(item, str) else None
        if isinstance(read, Requirement):
            requirements.append(read)
            continue
        if lines is None:
            lines = item_lines(findings.toml, key)
        # Another count means that another place was taken for the array.
        line = lines[number] if len(lines) == len(value) else key_line(findings.toml, key)
        if read is None:
            message = f"it must be a string, not {_type_name(item)}"
            findings.shape(f"{key}[{number}]", message, line)
        else:
            findings.text(f"{key}[{number}]", read, line)
    return requirements


def _requirement(text: str) -> Requirement | str:
    """Parse a requirement, or say what is wrong with it."""
    if _has_control_character(text):
        return f"`{shown(text)}` holds a control character"
    try:
        return Requirement(text)
    except ValueError as error:
        # The further lines show the text, which is shown here without its credentials.
        reason = str(error).partition("\n")[0]
        return f"`{shown(text)}` is no requirement: {shown(reason)}"
    except RecursionError:
        return f"`{shown(text)}` is nested too deeply to be read"


def _decode_error(message: str, toml: str) -> tuple[str, int]:
    """Split the line off a message of ``tomllib``."""
    place = _PLACE.search(message)
    if place is None:
        return shown(message), 1
    last = max(1, len(toml.removesuffix("\n").split("\n")))
    return shown(message[: place.start()]), int(place["line"] or last)


def _no_toml(message: str, cell: int | None, line: int | None) -> BadBlock:
    problem = Problem(message=message, cell=cell, line=line)
    return BadBlock("The block is no TOML.", problems=(problem,))


def _too_deep(cell: int | None, line: int | None) -> BadBlock:
    problem = Problem(message="this is nested in more than 64 levels", cell=cell, line=line)
    return BadBlock("The block is nested too deeply to be read.", problems=(problem,))


def _is_deeper(value: object, levels: int) -> bool:
    layer: list[object] = [value]
    for _ in range(levels):
        layer = [child for parent in layer for child in _children(parent)]
        if not layer:
            return False
    return True


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _type_name(value: object) -> str:
    return _TOML_TYPES.get(type(value), "a date or time")


def _has_control_character(text: str) -> bool:
    return any(unicodedata.category(character) == "Cc" for character in text)
