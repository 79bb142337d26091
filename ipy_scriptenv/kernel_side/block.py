"""Find the block of inline script metadata (PEP 723) in a text or in a cell.

Standard library alone: the kernel reads the cells it executes with the very code with which the
host reads files. The rule is PEP 723's, made exact where uv and the reference expression differ:

- An *opening line* is exactly ``# /// TYPE``, at the start of a line that ends in LF or CRLF. A
  byte-order mark before the first line is ignored.
- Its *run* is the lines after it that are ``#`` or begin with ``# ``. The run also ends before an
  opening line that stands directly below a closing line.
- The block ends at the last *closing line*, ``# ///``, of its run.
- A ``script`` opening whose run has no closing line is an error, unless a whole ``script`` block
  came before it; two whole ``script`` blocks are an error.

Python's own syntax is not consulted: a block inside a docstring is a block.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = [
    "Block",
    "BlockError",
    "block_of_cell",
    "code_of_quarto",
    "find_block",
    "is_only_our_magics",
    "render_block",
]

_OPENING = "# /// script"
_CLOSING = "# ///"
_ANY_OPENING = re.compile(r"# /// [A-Za-z0-9-]+")
_FENCE = re.compile(r"[\ufeff \t]*(`{3,}|~{3,})[ \t]*(.*)", re.DOTALL)
_PYTHON_CELL = re.compile(r"\{python(?:[ ,][^}]*)?\}\s*")


class Block(NamedTuple):
    """A block, as it stands in a text.

    :param toml: the content: each line without its ``# `` (or ``#``), ended by LF
    :param line: the opening line, counted from 1 in the text that was given
    :param end_line: the closing line, counted in the same way
    """

    toml: str
    line: int
    end_line: int


class BlockError(ValueError):
    """A text has a block that is never closed, or more than one.

    :param code: ``unclosed`` or ``duplicate``
    :param lines: the opening lines at fault, counted from 1; for ``duplicate`` those of all blocks
    """

    def __init__(self, code: str, lines: tuple[int, ...]) -> None:
        super().__init__(code, lines)
        self.code = code
        self.lines = lines

    def __str__(self) -> str:
        numbers = ", ".join(map(str, self.lines))
        if self.code == "unclosed":
            return f"The block that is opened in line {numbers} is never closed."
        return f"There is more than one block, in lines {numbers}."


def find_block(text: str) -> Block | None:
    """Give the ``script`` block of *text*, or ``None`` where there is none.

    The time taken grows linearly with the text.

    :raises BlockError: if the block is never closed, or is not the only one
    """
    if _OPENING not in text:
        return None
    lines = _lines(text)
    blocks: list[Block] = []
    index = 0
    while index < len(lines):
        if not _ANY_OPENING.fullmatch(lines[index]):
            index += 1
            continue
        end, closing = _run(lines, index)
        if closing is None:
            # All openings inside the run are as unclosed as the first one.
            if not blocks and _OPENING in lines[index:end]:
                raise BlockError("unclosed", (lines.index(_OPENING, index) + 1,))
            index = end
            continue
        if lines[index] == _OPENING:
            content = "".join(line[2:] + "\n" for line in lines[index + 1 : closing])
            blocks.append(Block(content, index + 1, closing + 1))
        index = closing + 1
    if len(blocks) > 1:
        raise BlockError("duplicate", tuple(block.line for block in blocks))
    return blocks[0] if blocks else None


def block_of_cell(code: str) -> Block | None:
    """Give the block of a code cell; a cell that begins with a cell magic (``%%``) has none.

    :raises BlockError: as :func:`find_block`
    """
    return None if code.lstrip().startswith("%%") else find_block(code)


def code_of_quarto(text: str) -> str:
    """Give the Python cells of a Quarto document in their places: all other lines are empty.

    A Python cell is fenced with backticks and ``{python}``. One that begins with a cell magic
    (``%%``), after its option lines (``#|``), is left out.
    """
    lines = text.split("\n")
    code = [""] * len(lines)
    fence = ""
    cell = None
    for number, line in enumerate(lines):
        found = _FENCE.match(line)
        if not fence:
            if found and not (found[1][0] == "`" and "`" in found[2]):
                fence = found[1]
                is_cell = fence[0] == "`" and _PYTHON_CELL.fullmatch(found[2])
                cell = number + 1 if is_cell else None
        elif found and found[1].startswith(fence) and not found[2].strip():
            if cell is not None and not _has_cell_magic(lines[cell:number]):
                code[cell:number] = lines[cell:number]
            fence = ""
    return "\n".join(code)


def render_block(toml: str) -> str:
    """Write *toml* as a block, in lines that end in LF.

    :func:`find_block` gives *toml* back if it is empty or ends in LF, except for texts that cannot
    stand in a block: a line that ends in CR loses it (the line then ends in CRLF), and a line
    ``///`` with a line such as ``/// TYPE`` directly below it ends the block there. The content
    of a block that was found holds no such pair of lines.
    """
    lines = toml.split("\n")
    if not lines[-1]:
        lines.pop()
    body = "".join(f"# {line}\n" if line else "#\n" for line in lines)
    return f"{_OPENING}\n{body}{_CLOSING}\n"


def is_only_our_magics(code: str) -> bool:
    """Tell whether *code* is nothing but ``%scriptenv …`` and ``%load_ext ipy_scriptenv`` lines.

    Blank lines and comments may stand between them, the opening line of a block may not. A line
    that is continued with a backslash is not joined to the next one.
    """
    found = False
    # IPython splits cells with `splitlines`, so code behind a form feed is a line of its own.
    for line in code.splitlines():
        words = line.split()
        if words[:1] == ["%scriptenv"] or words == ["%load_ext", "ipy_scriptenv"]:
            found = True
        elif line == _OPENING or (words and not words[0].startswith("#")):
            return False
    return found


def _has_cell_magic(lines: list[str]) -> bool:
    code = (line for line in lines if line.strip() and not line.startswith("#|"))
    return next(code, "").lstrip().startswith("%%")


def _lines(text: str) -> list[str]:
    """Split *text* at LF and CRLF alone; a CR that no LF follows belongs to its line."""
    *whole, last = text[text.startswith("\ufeff") :].split("\n")
    return [*(line.removesuffix("\r") for line in whole), last]


def _run(lines: list[str], opening: int) -> tuple[int, int | None]:
    """Give the index behind the run of an opening line, and that of its last closing line."""
    closing = None
    index = opening + 1
    while index < len(lines):
        line = lines[index]
        if line != "#" and not line.startswith("# "):
            break
        if closing == index - 1 and _ANY_OPENING.fullmatch(line):
            break
        if line == _CLOSING:
            closing = index
        index += 1
    return index, closing
