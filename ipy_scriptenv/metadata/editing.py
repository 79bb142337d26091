"""Write a block back into its source: what does not change stays, byte for byte.

uv edits the TOML of a block and lays its arrays out anew; here only what it changed is taken over.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Any

from packaging.utils import canonicalize_name

from ipy_scriptenv.errors import BadBlock
from ipy_scriptenv.kernel_side.block import code_of_quarto, find_block, render_block
from ipy_scriptenv.metadata.arrays import quoted, with_item, with_value, without_item
from ipy_scriptenv.metadata.declaration import read_toml
from ipy_scriptenv.metadata.documents import Kind, read_document
from ipy_scriptenv.metadata.notebooks import edited_notebook, new_notebook
from ipy_scriptenv.metadata.positions import string_array, value_span
from ipy_scriptenv.metadata.sources_table import other_tables, with_sources
from ipy_scriptenv.metadata.splicing import Splice, block_splices, new_block_splice, spliced

__all__ = [
    "edited_notebook",
    "edited_source",
    "edited_toml",
    "new_notebook",
    "new_script",
    "with_block",
]

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")

_MOST_STEPS = 1_000_000
"""Items that are looked at for all changes of one array; each change looks at every one."""

_DOUBLE = '"'
_FRONT_MATTER = re.compile(r"\ufeff?(?:---[ \t]*\r?\n(?:.*\n)*?---[ \t]*\r?(?:\n|\Z))?")


def edited_toml(old: str, new: str) -> str:
    """Give the text of a block that says what *new* says and changes as little of *old* as it can.

    Items of ``dependencies`` that stay keep quotes, layout and comments; others go with the comment
    on their line, and new ones come where *new* has them, in the array's own style; so does each
    line of ``[tool.uv.sources]``. Adding and then removing gives the same text. If anything else
    differs, or a key is written so that its place is not sure, *new* is given as it is.

    :param old: the content of the block as the user wrote it
    :param new: what uv made of it
    :raises BadBlock: if one of them is no TOML
    """
    before, after = read_toml(old), read_toml(new)
    if before == after:
        return old
    edited = _edited(old, new, before, after)
    if edited is None:
        return new
    try:
        return edited if read_toml(edited) == after else new
    except BadBlock:
        return new


def with_block(text: str, toml: str) -> str:
    """Give a script, or the text of a cell, with *toml* as its block.

    Lines end as they did, everything outside the block stays, and so do the block's own lines that
    do not change. A text without a block gets one behind shebang, coding line and the header of a
    jupytext script, before a docstring.

    :raises BlockError: if the text has a block that is never closed, or more than one
    """
    block = find_block(text)
    if block is None:
        return spliced(text, [new_block_splice(text, toml)])
    return spliced(text, block_splices(text, block, toml))


def edited_source(data: bytes, toml: str, *, name: str) -> bytes:
    """Give the content of a file with *toml* as its block.

    :param data: the whole file
    :param name: of the file, as for ``read_document``
    :raises ScriptEnvError: as ``read_document``
    """
    document = read_document(data, name=name)
    if document.kind is Kind.NOTEBOOK:
        return edited_notebook(data, toml, name=name)
    text = data.decode()
    if document.kind is Kind.SCRIPT:
        return with_block(text, toml).encode()
    block = document.block
    if block is None:
        return spliced(text, [_quarto_cell(text, toml)]).encode()
    return spliced(text, block_splices(text, block, toml)).encode()


def new_script(toml: str) -> bytes:
    """Give a script that is a block and nothing else."""
    return with_block("", toml).encode()


def _edited(old: str, new: str, before: dict[str, Any], after: dict[str, Any]) -> str | None:
    python, packages = "requires-python", "dependencies"
    rest, rest_after = (
        {key: value for key, value in tables.items() if key not in (python, packages)}
        for tables in (before, after)
    )
    if other_tables(rest) != other_tables(rest_after):
        return None
    text: str | None = old
    if before.get(packages) != after.get(packages):
        text = _with_items(old, packages, before.get(packages), after.get(packages))
    if text is not None and before.get(python) != after.get(python):
        text = _with_string(text, python, after.get(python))
    if text is not None and rest != rest_after:
        return with_sources(text, new)
    return text


def _with_string(toml: str, key: str, value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    span = value_span(toml, key)
    if span is not None:
        return with_value(toml, *span, value)
    return f"{key} = {quoted(value, _DOUBLE)}\n{toml}"


def _with_items(toml: str, key: str, written: Any, values: Any) -> str | None:
    """Change the items of an array from *written* to *values*, one by one."""
    if string_array(toml, key) is None or not isinstance(values, list):
        return None
    if not all(isinstance(value, str) for value in values):
        return None
    if (len(written) + len(values)) * (len(set(written) ^ set(values)) + 1) > _MOST_STEPS:
        return None
    text: str | None = toml
    for index, value, is_new in _steps(written, values):
        array = None if text is None else string_array(text, key)
        if text is None or array is None:
            return None
        if value is None:
            text = without_item(text, array, index)
        elif is_new:
            text = with_item(text, array, index, value)
        else:
            text = with_value(text, array.items[index].start, array.items[index].end, value)
    return text


def _steps(old: list[str], new: list[str]) -> Iterator[tuple[int, str | None, bool]]:
    """Give the steps from one list to another, from the last item to the first.

    Each is an index and the value to be there: put in before the item that is there, if it is new,
    or in its place. Without a value the item goes.
    """
    keys, new_keys = _keys(old, set(new)), _keys(new, set(old))
    opcodes = SequenceMatcher(None, keys, new_keys, autojunk=False).get_opcodes()
    for tag, i, i_end, j, j_end in reversed(opcodes):
        if tag == "equal":
            pairs = zip(range(i, i_end), new[j:j_end], strict=True)
            yield from ((index, value, False) for index, value in pairs if old[index] != value)
            continue
        # New ones first: an array that is empty for a moment would lose its layout.
        yield from ((i_end, value, True) for value in reversed(new[j:j_end]))
        yield from ((index, None, False) for index in reversed(range(i, i_end)))


def _keys(values: list[str], others: set[str]) -> list[tuple[str, str, int]]:
    """Give what each item is known by: its text if the other list has it, else its name."""
    keys: list[tuple[str, str, int]] = []
    seen: Counter[tuple[str, str]] = Counter()
    for value in values:
        if value in others:
            kind = ("text", value)
        else:
            name = _NAME.search(value)
            kind = ("name", canonicalize_name(name[0]) if name else value)
        keys.append((*kind, seen[kind]))
        seen[kind] += 1
    return keys


def _quarto_cell(text: str, toml: str) -> Splice:
    """Put a cell with a block before the first Python cell, or behind the front matter."""
    lines = text.split("\n")
    ending = "\r\n" if lines[0].endswith("\r") else "\n"
    code = code_of_quarto(text).split("\n")
    first = next((number for number, line in enumerate(code) if line), None)
    if first is None:
        front = _FRONT_MATTER.match(text)
        position = front.end() if front else 0
    else:
        while not lines[first].lstrip().startswith("```"):
            first -= 1
        position = sum(len(line) + 1 for line in lines[:first])
    cell = f"```{{python}}\n{render_block(toml)}```\n"
    before = "\n" if text[:position].rstrip("\ufeff") and first is None else ""
    behind = "\n" if text[position:] else ""
    return Splice(position, position, f"{before}{cell}{behind}".replace("\n", ending))
