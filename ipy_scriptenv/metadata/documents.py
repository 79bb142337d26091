"""Read a source, a script, a notebook or a Quarto document, as far as its block goes."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ipy_scriptenv.errors import Duplicate, NotANotebook, NotASource, Problem, Unclosed
from ipy_scriptenv.kernel_side.block import (
    Block,
    BlockError,
    block_of_cell,
    code_of_quarto,
    find_block,
)
from ipy_scriptenv.metadata.quoting import shown

__all__ = ["Document", "Kind", "read_document"]

_OLDEST_NBFORMAT = 4
"""The first format with its cells in one list; Jupyter itself converts older ones when it saves."""

_A_BLOCK = "a block begins here"


class Kind(enum.Enum):
    """What a source is."""

    SCRIPT = "script"
    NOTEBOOK = "notebook"
    QUARTO = "quarto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A source that was read.

    :param kind: what the source is
    :param block: the block, its lines counted in the file or in the cell; ``None`` without one
    :param cell: number of the cell that holds the block, counted from 1 over all cells of the
        notebook; ``None`` in other sources and without a block
    """

    kind: Kind
    block: Block | None
    cell: int | None


def read_document(data: bytes, *, name: str) -> Document:
    """Read the content of a source.

    :param data: the whole file
    :param name: file name or path; at its end, in any case, ``.ipynb`` makes it a notebook, and
        ``.qmd`` a Quarto document, whose Python cells are read. For an address give the last part
        of its path.
    :raises NotASource: if any other than a notebook is no UTF-8 text
    :raises NotANotebook: if a notebook cannot be read
    :raises Unclosed: if a block is never closed; every such place is told
    :raises Duplicate: if there is more than one block; every one is told
    """
    if name.lower().endswith(".ipynb"):
        return _read_notebook(data, shown(name))
    kind = Kind.QUARTO if name.lower().endswith(".qmd") else Kind.SCRIPT
    return _read_text(data, shown(name), kind)


def _read_text(data: bytes, name: str, kind: Kind) -> Document:
    if b"\0" in data:
        raise NotASource(f"`{name}` is binary.")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        problem = Problem(
            message=f"byte 0x{data[error.start]:02x} is no UTF-8",
            line=data.count(b"\n", 0, error.start) + 1,
        )
        raise NotASource(f"`{name}` is no UTF-8 text.", problems=(problem,)) from None
    findings = _Findings()
    findings.read(None, find_block, code_of_quarto(text) if kind is Kind.QUARTO else text)
    findings.raise_if_any(name)
    return Document(kind=kind, block=findings.block, cell=None)


def _read_notebook(data: bytes, name: str) -> Document:
    findings = _Findings()
    for number, code in _code_cells(data, name):
        findings.read(number, block_of_cell, code)
    findings.raise_if_any(name)
    return Document(kind=Kind.NOTEBOOK, block=findings.block, cell=findings.cell)


@dataclass(slots=True)
class _Findings:
    """The blocks of one source, and what is wrong with them, collected to be told together."""

    block: Block | None = None
    cell: int | None = None
    whole: list[Problem] = field(default_factory=list)
    unclosed: list[Problem] = field(default_factory=list)

    def read(self, cell: int | None, find: Callable[[str], Block | None], text: str) -> None:
        """Look for a block in one text."""
        try:
            block = find(text)
        except BlockError as error:
            if error.code == "unclosed":
                places, message = self.unclosed, "a block is opened here and never closed"
            else:
                places, message = self.whole, _A_BLOCK
            places += (Problem(message=message, cell=cell, line=line) for line in error.lines)
        else:
            if block is not None:
                self.block, self.cell = block, cell
                self.whole.append(Problem(message=_A_BLOCK, cell=cell, line=block.line))

    def raise_if_any(self, name: str) -> None:
        """Tell all that is wrong.

        :raises Unclosed: if a block is never closed
        :raises Duplicate: if all are closed, but there is more than one
        """
        several = tuple(self.whole) if len(self.whole) > 1 else ()
        if self.unclosed:
            problems = (*self.unclosed, *several)
            raise Unclosed(f"`{name}` has a block that is never closed.", problems=problems)
        if several:
            raise Duplicate(f"`{name}` has {len(several)} blocks.", problems=several)


def _code_cells(data: bytes, name: str) -> list[tuple[int, str]]:
    """Give number and text of all code cells; all malformed ones are told together."""
    codes: list[tuple[int, str]] = []
    problems: list[Problem] = []
    for number, cell in enumerate(_cells(data, name), 1):
        if not isinstance(cell, dict):
            problems.append(Problem(message="it is no JSON object", cell=number))
        elif cell.get("cell_type") == "code":
            code = _source(cell.get("source"))
            if code is None:
                message = "its `source` is neither a text nor a list of texts"
                problems.append(Problem(message=message, cell=number))
            else:
                codes.append((number, code))
    if problems:
        raise NotANotebook(f"`{name}` has malformed cells.", problems=tuple(problems))
    return codes


def _cells(data: bytes, name: str) -> list[Any]:
    if not data:
        raise NotANotebook(f"`{name}` is empty.")
    try:
        notebook = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise NotANotebook(f"`{name}` is no UTF-8 text.") from None
    except json.JSONDecodeError as error:
        problem = Problem(message=error.msg, line=error.lineno)
        raise NotANotebook(f"`{name}` is no JSON.", problems=(problem,)) from None
    except ValueError:
        # An integer with more digits than Python converts.
        raise NotANotebook(f"`{name}` holds a number that is too long to be read.") from None
    except RecursionError:
        raise NotANotebook(f"`{name}` is nested too deeply to be read.") from None
    if not isinstance(notebook, dict):
        raise NotANotebook(f"`{name}` holds JSON, but no notebook.")
    version = notebook.get("nbformat")
    if not isinstance(version, int) or isinstance(version, bool):
        raise NotANotebook(f"`{name}` does not say its `nbformat`, as every notebook does.")
    if version < _OLDEST_NBFORMAT:
        raise NotANotebook(
            f"`{name}` has nbformat {version}; notebooks are read from nbformat 4 on."
        )
    cells = notebook.get("cells")
    if not isinstance(cells, list):
        raise NotANotebook(f"`{name}` has no list of `cells`.")
    return cells


def _source(value: object) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "".join(value)
    return None
