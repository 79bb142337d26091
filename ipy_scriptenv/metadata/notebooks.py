"""Write a block into a notebook's JSON: only the ``source`` of its cell changes.

``json`` would write the whole file anew. Here its scanner tells where things stand, and what is
new is put there, written as its surroundings are.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

from ipy_scriptenv.kernel_side.block import block_of_cell
from ipy_scriptenv.metadata.documents import read_document
from ipy_scriptenv.metadata.json_places import Json, Layout, Member, Span, layout_of
from ipy_scriptenv.metadata.splicing import Splice, block_splices, new_block_splice

__all__ = ["edited_notebook", "new_notebook"]

_INDENT = 1
"""As Jupyter indents notebooks."""

_FIRST_WITH_IDS = (4, 5)

_CHARACTER = re.compile(
    r"""
    \\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}
    | \\u[0-9a-fA-F]{4}
    | \\.
    | [^\\]
    """,
    re.VERBOSE | re.DOTALL,
)
# It begins with what it looks for, so that a long text is passed over quickly.
_ESCAPED = re.compile(r"\\(?<!\\\\)(?:\\\\)*u(?!00[0-7])[0-9a-fA-F]{4}")


def edited_notebook(data: bytes, toml: str, *, name: str = "notebook.ipynb") -> bytes:
    """Give the content of a notebook with *toml* as its block.

    Every byte outside the ``source`` of the block's cell stays; inside it, what does not change
    stays as it is escaped. A notebook without a block gets one in a new cell before its first code
    cell (at its end if it has none), written as its other cells are. The time grows linearly.

    :param data: the whole file
    :param name: of the file, for messages; it ends in ``.ipynb``
    :raises ScriptEnvError: as ``read_document``
    """
    document = read_document(data, name=name)
    cells = _Cells.of(data.decode())
    if document.cell is None:
        return _with_new_cell(cells, toml).encode()
    return _with_source(cells, document.cell - 1, toml).encode()


def new_notebook(toml: str, *, kernel_name: str = "scriptenv") -> bytes:
    """Give a notebook with a block and an empty cell, as Jupyter writes one.

    :param kernel_name: the kernelspec that it names
    """
    block = new_block_splice("", toml).text.rstrip("\n")
    cells: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": _cell_id(f"{number}{toml}", ()),
            "metadata": {},
            "outputs": [],
            "source": _lines(source),
        }
        for number, source in enumerate((block, ""))
    ]
    kernelspec = {
        "display_name": "Python (scriptenv)",
        "language": "python",
        "name": kernel_name,
    }
    metadata = {"kernelspec": kernelspec, "language_info": {"name": "python"}}
    notebook = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return f"{json.dumps(notebook, indent=_INDENT, ensure_ascii=False)}\n".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cells:
    """The cells of a notebook, and how they are written."""

    json: Json
    notebook: dict[str, Member]
    spans: list[Span]
    members: list[dict[str, Member]]

    @classmethod
    def of(cls, text: str) -> _Cells:
        """Find the cells in the text of a notebook that has been read."""
        json_text = Json(text=text)
        notebook = json_text.members(text.index("{"))
        spans = json_text.elements(notebook["cells"].value.start)
        members = [json_text.members(span.start) for span in spans]
        return cls(json=json_text, notebook=notebook, spans=spans, members=members)

    def value(self, index: int, key: str) -> Any:
        """Give what a cell has under *key*."""
        member = self.members[index].get(key)
        return None if member is None else self.json.value(member.value)

    def version(self) -> tuple[int, ...]:
        """Give the notebook's format; a minor number that is not said counts as the oldest."""
        told = (self.notebook.get(key) for key in ("nbformat", "nbformat_minor"))
        values = [0 if member is None else self.json.value(member.value) for member in told]
        return tuple(value if isinstance(value, int) else 0 for value in values)

    def strings(self, index: int) -> list[Span]:
        """Give the content of each string in a cell's source, without its quotes."""
        source = self.members[index]["source"].value
        is_list = self.json.text[source.start] == "["
        strings = self.json.elements(source.start) if is_list else [source]
        return [Span(span.start + 1, span.end - 1) for span in strings]


def _with_source(cells: _Cells, index: int, toml: str) -> str:
    """Write the block into the cell that holds one."""
    text = cells.json.text
    strings = cells.strings(index)
    characters, rest = _characters(text, strings)
    source = cells.value(index, "source")
    code = source if isinstance(source, str) else "".join(source)
    block = block_of_cell(code)
    if block is None:
        return text
    # Below the opening line there is always another one.
    second = sum(len(line) + 1 for line in code.split("\n", block.line)[: block.line])
    written = _rewritten(
        code,
        block_splices(code, block, toml),
        characters,
        glue=characters[second].glue,
        ascii_only=_is_ascii_only(text, text[strings[0].start : strings[-1].end]),
    )
    return f"{text[: strings[0].start]}{written}{rest}{text[strings[-1].end :]}"


class _Character(NamedTuple):
    """A character of a source as the JSON has it.

    :param glue: what stands before it if it is the first one of its string, quotes included
    """

    glue: str
    raw: str


def _characters(text: str, strings: list[Span]) -> tuple[list[_Character], str]:
    """Give the characters of strings, and what stands behind the last one, if empty ones do."""
    characters: list[_Character] = []
    glue, end = "", strings[0].start
    for start, next_end in strings:
        glue += text[end:start]
        for raw in _CHARACTER.findall(text, start, next_end):
            characters.append(_Character(glue, raw))
            glue = ""
        end = next_end
    return characters, glue


def _rewritten(
    code: str,
    splices: Iterable[Splice],
    characters: list[_Character],
    *,
    glue: str,
    ascii_only: bool,
) -> str:
    """Carry out *splices* on the JSON of *code*; each new line gets the *glue* of a line."""
    parts: list[str] = []
    position, begins = 0, False
    for splice in (*splices, Splice(len(code), len(code), "")):
        for index in range(position, splice.start):
            own, raw = characters[index]
            began = index > 0 and code[index - 1] == "\n"
            if began != begins:
                own = glue if begins else ""
            parts += (own, raw)
            begins = code[index] == "\n"
        for character in splice.text:
            escaped = json.dumps(character, ensure_ascii=ascii_only)[1:-1]
            parts += (glue if begins else "", escaped)
            begins = character == "\n"
        position = splice.end
    return "".join(parts)


def _is_ascii_only(text: str, part: str = "") -> bool:
    """Say whether characters beyond ASCII are escaped, by a part of a file or by all of it."""
    for written in (part, text.removeprefix("\ufeff")):
        if not written.isascii():
            return False
        if _ESCAPED.search(written):
            return True
    return False


def _with_new_cell(cells: _Cells, toml: str) -> str:
    """Put a cell with a block before the first code cell, or behind all others."""
    text, spans = cells.json.text, cells.spans
    array = cells.notebook["cells"].value
    if not spans:
        top = layout_of(text, cells.json.all, cells.json.entries(cells.json.all.start))
        layout = top.inside()
        cell = _new_cell(cells, {}, layout.inside(), toml)
        return f"{text[: array.start]}[{layout.around([cell])}]{text[array.end :]}"
    layout = layout_of(text, array, spans)
    types = [cells.value(index, "cell_type") for index in range(len(spans))]
    place = types.index("code") if "code" in types else len(types)
    like = place if place < len(types) else 0
    entries = cells.json.entries(spans[like].start)
    inner = layout_of(text, spans[like], entries) if entries else layout.inside()
    cell = _new_cell(cells, cells.members[like], inner, toml)
    if place < len(spans):
        return f"{text[: spans[place].start]}{cell}{layout.between}{text[spans[place].start :]}"
    return f"{text[: spans[-1].end]}{layout.between}{cell}{text[spans[-1].end :]}"


def _new_cell(cells: _Cells, like: dict[str, Member], layout: Layout, toml: str) -> str:
    """Write a cell with a block, its keys in the order of another cell's."""
    ids = [cells.value(index, "id") for index in range(len(cells.spans))]
    values = {
        "cell_type": '"code"',
        "execution_count": "null",
        "id": json.dumps(_cell_id(toml, ids)),
        "metadata": "{}",
        "outputs": "[]",
        "source": _new_source(cells, layout.inside(), toml),
    }
    if cells.version() < _FIRST_WITH_IDS:
        del values["id"]
    order = [key for key in like if key in values]
    if order != sorted(order):
        values = {key: values[key] for key in dict.fromkeys([*order, *values])}
    member = next(iter((like or cells.notebook).values()))
    colon = cells.json.colon(member)
    return f"{{{layout.around([f'{json.dumps(key)}{colon}{values[key]}' for key in values])}}}"


def _new_source(cells: _Cells, layout: Layout, toml: str) -> str:
    """Write the source of a cell with a block: a string, if those of all other cells are."""
    text = cells.json.text
    ascii_only = _is_ascii_only(text)
    code = new_block_splice("", toml).text.rstrip("\n")
    sources = [cell["source"].value for cell in cells.members if "source" in cell]
    lists = [span for span in sources if text[span.start] == "["]
    if sources and not lists:
        return json.dumps(code, ensure_ascii=ascii_only)
    filled = (span for span in lists if cells.json.elements(span.start))
    span = next(filled, None)
    if span is not None:
        layout = layout_of(text, span, cells.json.elements(span.start))
    lines = _lines(code)
    return f"[{layout.around([json.dumps(line, ensure_ascii=ascii_only) for line in lines])}]"


def _lines(code: str) -> list[str]:
    """Split at LF alone, as notebooks do."""
    return re.findall(r"[^\n]*\n|[^\n]+", code)


def _cell_id(seed: str, taken: Collection[object]) -> str:
    """Make an id for a cell that no other cell has; the same one for the same cells."""
    made = (hashlib.sha256(f"{number} {seed}".encode()).hexdigest()[:8] for number in count())
    return next(each for each in made if each not in taken)
