from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipy_scriptenv.errors import Duplicate, NotANotebook, NotASource, ScriptEnvError, Unclosed
from ipy_scriptenv.kernel_side.block import find_block
from ipy_scriptenv.metadata import Document, Kind, read_document

BLOCK = '# /// script\n# dependencies = ["rich"]\n# ///\n'
OPENING = "# /// script\n"


def code(source: object) -> dict[str, Any]:
    return {"cell_type": "code", "source": source, "outputs": [], "metadata": {}}


def markdown(source: object) -> dict[str, Any]:
    return {"cell_type": "markdown", "source": source, "metadata": {}}


def notebook(*cells: object, **fields: object) -> bytes:
    return json.dumps({"cells": cells, "nbformat": 4, "nbformat_minor": 5, **fields}).encode()


def read(data: bytes) -> Document:
    return read_document(data, name="plot.ipynb")


def outcome(data: bytes, name: str) -> Document | ScriptEnvError:
    try:
        return read_document(data, name=name)
    except ScriptEnvError as error:
        return error


def places(error: ScriptEnvError) -> list[tuple[int | None, int | None]]:
    return [(problem.cell, problem.line) for problem in error.problems]


@pytest.mark.parametrize("name", ["plot.py", "plot", "https://example.org/plot.py", "a.ipynb.py"])
def test_any_other_name_is_a_script(name: str) -> None:
    document = read_document(b"import os\n" + BLOCK.encode(), name=name)
    assert document.kind is Kind.SCRIPT
    assert document.cell is None
    assert document.block == find_block("import os\n" + BLOCK)


@pytest.mark.parametrize("name", ["plot.ipynb", "plot.IPYNB", "/home/ada/plot.iPynb"])
def test_a_notebook_is_known_by_its_name_in_any_case(name: str) -> None:
    assert read_document(notebook(), name=name).kind is Kind.NOTEBOOK


def test_an_empty_script_has_no_block() -> None:
    assert read_document(b"", name="x.py") == Document(kind=Kind.SCRIPT, block=None, cell=None)


def test_a_script_may_begin_with_a_byte_order_mark() -> None:
    assert read_document(b"\xef\xbb\xbf" + BLOCK.encode(), name="x.py").block == find_block(BLOCK)


@pytest.mark.parametrize("data", [b"\x7fELF\x00\x01", BLOCK.encode() + b"\0"])
def test_a_binary_file_is_no_source(data: bytes) -> None:
    with pytest.raises(NotASource, match=r"`x\.py` is binary"):
        read_document(data, name="x.py")


def test_a_script_that_is_not_utf_8_names_byte_and_line() -> None:
    with pytest.raises(NotASource, match="no UTF-8 text") as caught:
        read_document("x = 1\ny = 'é'\n".encode("latin-1"), name="x.py")
    assert places(caught.value) == [(None, 2)]
    assert "0xe9" in caught.value.problems[0].message


def test_two_blocks_in_a_script_name_both_lines() -> None:
    with pytest.raises(Duplicate, match=r"`x\.py` has 2 blocks") as caught:
        read_document(f"{BLOCK}\n{BLOCK}".encode(), name="x.py")
    assert places(caught.value) == [(None, 1), (None, 5)]


def test_an_unclosed_block_in_a_script_names_its_line() -> None:
    with pytest.raises(Unclosed, match=r"`x\.py` has a block that is never closed") as caught:
        read_document(f"\n{OPENING}".encode(), name="x.py")
    assert places(caught.value) == [(None, 2)]


@pytest.mark.parametrize(
    "source",
    [
        "import os\n" + BLOCK,
        ["import os\n", *BLOCK.splitlines(keepends=True)],
        ["import os\n" + BLOCK],
    ],
)
def test_the_block_of_a_notebook_is_told_with_its_cell(source: object) -> None:
    document = read(notebook(markdown("# Title"), code("1 + 1"), code(source), code([])))
    assert document.cell == 3
    assert document.block == find_block("import os\n" + BLOCK)


def test_a_notebook_without_a_block_has_none() -> None:
    empty = Document(kind=Kind.NOTEBOOK, block=None, cell=None)
    assert read(notebook()) == empty
    assert read(notebook(code("import os"))) == empty


def test_only_code_cells_are_read() -> None:
    cells = [
        markdown(BLOCK),
        {"cell_type": "raw", "source": BLOCK},
        {"source": 1},
        code("%%sh\n" + BLOCK),
    ]
    assert read(notebook(*cells)).block is None


def test_two_blocks_in_two_cells_name_both_cells() -> None:
    with pytest.raises(Duplicate, match=r"`plot\.ipynb` has 2 blocks") as caught:
        read(notebook(code(BLOCK), markdown(""), code("\n" + BLOCK)))
    assert places(caught.value) == [(1, 1), (3, 2)]


def test_blocks_in_one_cell_and_another_are_counted_together() -> None:
    with pytest.raises(Duplicate, match="has 3 blocks") as caught:
        read(notebook(code(BLOCK), code(f"{BLOCK}\n{BLOCK}")))
    assert places(caught.value) == [(1, 1), (2, 1), (2, 5)]


def test_every_unclosed_block_is_told_and_a_whole_one_is_no_problem() -> None:
    with pytest.raises(Unclosed) as caught:
        read(notebook(code(OPENING), code(BLOCK), code("\n" + OPENING)))
    assert places(caught.value) == [(1, 1), (3, 2)]


def test_duplicates_are_told_beside_an_unclosed_block() -> None:
    with pytest.raises(Unclosed) as caught:
        read(notebook(code(BLOCK), code(OPENING), code(BLOCK)))
    assert places(caught.value) == [(2, 1), (1, 1), (3, 1)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b" \n", "is no JSON"),
        (b"{", "is no JSON"),
        (b"print(1)\n", "is no JSON"),
        ("é".encode("utf-16"), "is no UTF-8 text"),
        (b"[]", "no notebook"),
        (b"null", "no notebook"),
        (b'{"cells": []}', "does not say its `nbformat`"),
        (notebook(nbformat="4"), "does not say its `nbformat`"),
        (notebook(nbformat=True), "does not say its `nbformat`"),
        (
            b'{"nbformat": 3, "worksheets": []}',
            "has nbformat 3; notebooks are read from nbformat 4",
        ),
        (b'{"nbformat": 4}', "has no list of `cells`"),
        (notebook(cells={}), "has no list of `cells`"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"nbformat": ' + b"4" * 5_000 + b"}", "too long"),
    ],
)
def test_what_is_no_notebook_is_refused_with_the_reason(data: bytes, message: str) -> None:
    with pytest.raises(NotANotebook, match=message):
        read(data)


def test_broken_json_names_its_line() -> None:
    with pytest.raises(NotANotebook) as caught:
        read(b'{"cells": [],\n "nbformat": }')
    assert places(caught.value) == [(None, 2)]


def test_malformed_cells_are_told_together() -> None:
    with pytest.raises(NotANotebook, match="malformed cells") as caught:
        read(notebook(code(""), 1, code(None), code(["a", 1]), {"cell_type": "code"}))
    assert places(caught.value) == [(2, None), (3, None), (4, None), (5, None)]


def test_a_notebook_may_begin_with_a_byte_order_mark() -> None:
    assert read(b"\xef\xbb\xbf" + notebook(code(BLOCK))).cell == 1


def test_a_later_format_is_read() -> None:
    assert read(notebook(code(BLOCK), nbformat=5)).cell == 1


def test_a_name_is_shown_on_one_line() -> None:
    with pytest.raises(NotANotebook, match=r"`a\\nb\.ipynb` is empty"):
        read_document(b"", name="a\nb.ipynb")


def any_json() -> st.SearchStrategy[Any]:
    leaf = st.none() | st.integers() | st.text() | st.sampled_from([BLOCK, OPENING, "code"])
    key = st.sampled_from(["cell_type", "source", "cells", "x"])
    return st.recursive(
        leaf, lambda inner: st.lists(inner) | st.dictionaries(key, inner), max_leaves=8
    )


@given(st.lists(any_json() | any_json().map(code), max_size=5))
def test_any_json_gives_a_document_or_an_error_with_places(cells: list[Any]) -> None:
    result = outcome(notebook(*cells), "plot.ipynb")
    assert isinstance(result, Document) or places(result)


@given(st.binary())
def test_any_bytes_give_a_script_or_an_error_of_ours(data: bytes) -> None:
    assert isinstance(outcome(data, "x.py"), Document | NotASource | Unclosed | Duplicate)
    assert isinstance(outcome(data, "x.ipynb"), Document | NotANotebook)
