"""Notebooks as other programs might write them, around one block: every byte of them is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from ipy_scriptenv.kernel_side.block import render_block

__all__ = ["SHAPES", "Shape"]

Shape = Callable[[str], bytes]
"""Gives a notebook whose block says a TOML text."""

_PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
_FAKE = ["# /// script\n", '# dependencies = ["not-this"]\n', "# ///\n"]
_WIDGETS = {
    "application/vnd.jupyter.widget-state+json": {
        "state": {"a1": {"model_name": "IntSliderModel", "state": {"value": 1.0e5, "min": -0.0}}},
        "version_major": 2,
    }
}


def _code(source: object, **fields: object) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": "code", "execution_count": None, "metadata": {}}
    return cell | {"outputs": [], "source": source} | fields


def _text(source: object, kind: str = "markdown", **fields: object) -> dict[str, Any]:
    return {"cell_type": kind, "metadata": {}, "source": source} | fields


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def _cells(toml: str) -> list[dict[str, Any]]:
    block = _lines(render_block(toml).removesuffix("\n"))
    stream = {"name": "stdout", "output_type": "stream", "text": ["é\u001b[0m\n", "\u2028"]}
    return [
        _text(["# Título — 😀\n", *_FAKE]),
        _text(_FAKE, kind="raw"),
        _code(block),
        _code(["# é\n", "print('é')"], execution_count=1, outputs=[stream]),
    ]


def _notebook(cells: list[dict[str, Any]], minor: int = 4, **fields: object) -> dict[str, Any]:
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": minor} | fields


def _plain(toml: str, **options: Any) -> bytes:
    options = {"indent": 1, "ensure_ascii": False} | options
    return (json.dumps(_notebook(_cells(toml)), **options) + "\n").encode()


def _keys_in_reverse(toml: str) -> bytes:
    notebook = json.loads(_plain(toml))
    return json.dumps(dict(reversed(notebook.items())), indent=1).encode()


def _of_minor(minor: int) -> Shape:
    def shape(toml: str) -> bytes:
        cells = _cells(toml)
        if minor >= 5:
            cells = [{**cell, "id": f"cell-{number}"} for number, cell in enumerate(cells)]
        return json.dumps(_notebook(cells, minor), indent=1, sort_keys=True).encode()

    return shape


def _around(before: str, behind: str, *, as_list: bool, end: str = "\n") -> Shape:
    """Put other text into the block's cell."""

    def shape(toml: str) -> bytes:
        source = before + render_block(toml).replace("\n", end) + behind
        lines = [line + "\n" for line in source.split("\n")[:-1]] + [source.split("\n")[-1]]
        cells = [_code(["x = 1"]), _code(lines if as_list else source)]
        return json.dumps(_notebook(cells), indent=2).encode()

    return shape


def _changed(change: Callable[[bytes], bytes], **options: Any) -> Shape:
    return lambda toml: change(_plain(toml, **options))


def _of_raw(write: Callable[[str], str]) -> Shape:
    """Write the source's own JSON by hand."""

    def shape(toml: str) -> bytes:
        notebook = json.dumps(_notebook([_code("HERE")]), indent=1)
        return notebook.replace('"HERE"', write(render_block(toml).removesuffix("\n"))).encode()

    return shape


def _escaped(text: str) -> str:
    """Escape as few programs do: slashes, quotes by number, upper-case digits."""
    raw = json.dumps(text)[1:-1].replace("/", r"\/").replace(r"\"", r"\u0022")
    return f'"{raw.replace("ff", "FF")}"'


def _tags_and_attachments(toml: str) -> bytes:
    cells = _cells(toml)
    cells[0]["attachments"] = {"a.png": {"image/png": _PICTURE * 50}}
    cells[2]["metadata"] = {"jupyter": {"source_hidden": True}, "tags": ["ünder", 1.50]}
    cells[3]["outputs"] += [
        {"output_type": "display_data", "metadata": {}, "data": {"image/png": _PICTURE * 200}}
    ]
    notebook = _notebook(cells, metadata={"widgets": _WIDGETS, "x": {"cells": [{"source": "y"}]}})
    return json.dumps(notebook, indent=1, ensure_ascii=False).encode()


def _twice_the_same_keys(toml: str) -> bytes:
    cell = json.dumps(_code(_lines(render_block(toml))))
    cell = cell.replace('{"cell_type"', '{"source": "not this", "cell_type": "raw", "cell_type"', 1)
    return f'{{"cells": [1], "nbformat": 3, "cells": [{cell}], "nbformat": 4}}'.encode()


def _shapes() -> Iterator[tuple[str, Shape]]:
    for indent in (0, 1, 2, 4, "\t", None):
        yield f"indent {indent!r}", partial(_plain, indent=indent)
    yield "compact", partial(_plain, indent=None, separators=(",", ":"))
    yield "spaced", partial(_plain, indent=3, separators=(" , ", " : "))
    yield "escaped", partial(_plain, ensure_ascii=True)
    yield "keys in reverse", _keys_in_reverse
    for minor in range(6):
        yield f"nbformat 4.{minor}", _of_minor(minor)
    yield "mark", _changed(lambda data: b"\xef\xbb\xbf" + data)
    yield "lines of Windows", _changed(lambda data: data.replace(b"\n", b"\r\n"))
    yield "space around", _changed(lambda data: b"\n \t" + data + b"\n\n ")
    yield "no last line end", _changed(bytes.rstrip)
    for as_list in (True, False):
        kind = "list" if as_list else "string"
        yield f"alone, {kind}", _around("", "", as_list=as_list)
        yield f"text around, {kind}", _around("é = 1\n\n", "\nx = 'ü'", as_list=as_list)
        yield f"CRLF, {kind}", _around("x\r\n", "\r\ny\r\n", as_list=as_list, end="\r\n")
        yield f"half a pair, {kind}", _around("x = '\ud83d'\n", "\n'\ude00'", as_list=as_list)
        yield f"pairs, {kind}", _around("x = '😀'\n", "\n'😀'", as_list=as_list)
    yield "escapes by hand", _of_raw(_escaped)
    yield (
        "escapes by hand in a list",
        _of_raw(lambda text: "[" + ",".join(_escaped(line) for line in _lines(text)) + "]"),
    )
    yield "one string in a list", _of_raw(lambda text: f"[ {json.dumps(text)} ]")
    yield (
        "halves of lines",
        _of_raw(lambda text: json.dumps([text[:5], "", text[5:20], text[20:], ""], indent=2)),
    )
    yield (
        "empty strings",
        _of_raw(
            lambda text: json.dumps(["", *(part for line in _lines(text) for part in (line, ""))])
        ),
    )
    yield "attachments and widgets", _tags_and_attachments
    yield "keys twice", _twice_the_same_keys


SHAPES: dict[str, Shape] = dict(_shapes())
