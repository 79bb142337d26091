from __future__ import annotations

import json
from random import Random
from typing import Any

import nbformat
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ipy_scriptenv.errors import Duplicate, NotANotebook
from ipy_scriptenv.kernel_side.block import BlockError, block_of_cell, render_block
from ipy_scriptenv.metadata import read_document
from ipy_scriptenv.metadata.editing import edited_notebook, edited_source, new_notebook, with_block
from tests.notebook_shapes import SHAPES, Shape

OLD = 'requires-python = ">=3.1"\ndependencies = ["a"] # é\n\n[tool.x]\ny = "😀" # \u2028\n'
NEW = OLD.replace("3.1", "3.12").replace('["a"]', '["a", "ß"]')
LINES = ["# /// script\n", '# dependencies = ["a"]\n', "# ///"]


def code(source: object, **fields: object) -> dict[str, Any]:
    cell: dict[str, Any] = {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {},
        "outputs": [],
    }
    return cell | {"source": source} | fields


def markdown(source: object) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def notebook(*cells: object, minor: int = 5, **fields: object) -> dict[str, Any]:
    return {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": minor} | fields


def text_of(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def block_of(data: bytes) -> str | None:
    block = read_document(data, name="a.ipynb").block
    return None if block is None else block.toml


shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


@shapes
def test_only_the_source_of_the_block_changes(shape: Shape) -> None:
    before = shape(OLD)
    edited = edited_notebook(before, NEW)
    assert block_of(edited) == NEW
    old, new = json.loads(before.decode("utf-8-sig")), json.loads(edited.decode("utf-8-sig"))
    number = read_document(before, name="a.ipynb").cell or 0
    cell, new_cell = old["cells"][number - 1], new["cells"][number - 1]
    assert text_of(new_cell) == with_block(text_of(cell), NEW)
    assert type(new_cell["source"]) is type(cell["source"])
    new_cell["source"] = cell["source"]
    assert json.dumps(new) == json.dumps(old)


@shapes
def test_a_change_and_its_opposite_give_the_same_bytes(shape: Shape) -> None:
    before = shape(OLD)
    assert edited_notebook(edited_notebook(before, NEW), OLD) == before


@shapes
def test_a_block_that_says_the_same_is_not_written(shape: Shape) -> None:
    assert edited_notebook(shape(OLD), OLD) == shape(OLD)


def test_a_list_keeps_one_line_in_each_string() -> None:
    data = json.dumps(notebook(code(LINES)), indent=1).encode()
    edited = edited_notebook(data, "dependencies = [\n]\n")
    expected = ["# /// script\n", "# dependencies = [\n", "# ]\n", "# ///"]
    assert edited == json.dumps(notebook(code(expected)), indent=1).encode()


@pytest.mark.parametrize("escaped", [True, False])
def test_new_characters_are_escaped_as_the_file_does(*, escaped: bool) -> None:
    nb = notebook(markdown("é"), code(LINES))
    edited = edited_notebook(json.dumps(nb, ensure_ascii=escaped).encode(), 'x = "ü"\n')
    assert ("ü".encode() in edited) is not escaped
    assert (rb"\u00fc" in edited) is escaped


@pytest.mark.parametrize("indent", [None, 0, 1, 4, "\t"])
@pytest.mark.parametrize("cells", [0, 1, 2])
def test_a_notebook_without_a_block_gets_it_in_its_first_code_cell(
    indent: int | str | None, cells: int
) -> None:
    nb = notebook(*[code(["x = 1\n", "y"], id="a1"), code("z", id="a2")][:cells])
    before = json.dumps(nb, indent=indent)
    edited = edited_notebook(before.encode(), 'dependencies = ["a"]\n')
    new = json.loads(edited)
    made = new["cells"].pop(0)
    assert new == nb
    assert made.pop("id") not in {"a1", "a2", None}
    assert made == code(LINES)
    new = json.loads(edited)
    assert json.dumps(new, indent=indent).encode() == edited
    nbformat.validate(new)


def test_a_title_and_a_header_stay_above_the_new_block() -> None:
    raw = {"cell_type": "raw", "metadata": {}, "source": "---\ntitle: x\n---"}
    nb = notebook(raw, markdown(["# Title"]), code(["x"]), minor=4)
    edited = json.loads(edited_notebook(json.dumps(nb).encode(), 'dependencies = ["a"]\n'))
    assert [cell["cell_type"] for cell in edited["cells"]] == ["raw", "markdown", "code", "code"]
    assert text_of(edited["cells"][2]) == "".join(LINES)
    nb = notebook(raw, markdown(["# Title"]), minor=4)
    edited = json.loads(edited_notebook(json.dumps(nb).encode(), 'dependencies = ["a"]\n'))
    assert [cell["cell_type"] for cell in edited["cells"]] == ["raw", "markdown", "code"]


def test_a_new_cell_is_written_as_the_others_are() -> None:
    order = ("cell_type", "source", "metadata", "execution_count", "outputs")
    other = {key: code("x\ny")[key] for key in order}
    before = json.dumps(notebook(other, minor=2), indent=2)
    edited = edited_notebook(before.encode(), 'dependencies = ["a"]\n').decode()
    new = json.loads(edited)
    assert tuple(new["cells"][0]) == order
    assert new["cells"][0]["source"] == "".join(LINES)
    assert json.dumps(new, indent=2) == edited


@pytest.mark.parametrize(
    ("source", "has_block"), [(["%%bash\n", *LINES], False), (["x\n", *LINES], True)]
)
def test_a_cell_with_a_cell_magic_has_no_block(source: list[str], *, has_block: bool) -> None:
    edited = json.loads(edited_notebook(json.dumps(notebook(code(source))).encode(), "x = 1\n"))
    assert len(edited["cells"]) == (1 if has_block else 2)
    assert edited["cells"][-1]["source"] == source or has_block


@pytest.mark.parametrize(
    ("nb", "error"),
    [
        (notebook(code(LINES), code(LINES)), Duplicate),
        (notebook(code(1)), NotANotebook),
        ({"cells": []}, NotANotebook),
    ],
)
def test_what_cannot_be_read_is_not_written(nb: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        edited_notebook(json.dumps(nb).encode(), "x = 1\n")


def test_a_new_notebook_is_one_that_jupyter_would_write() -> None:
    data = new_notebook('dependencies = ["a"]\n')
    nb = nbformat.reads(data.decode(), as_version=nbformat.NO_CONVERT)
    nbformat.validate(nb)
    assert (nb.nbformat, nb.nbformat_minor) == (4, 5)
    assert [cell.source for cell in nb.cells] == ["".join(LINES), ""]
    assert nb.metadata.kernelspec == {
        "display_name": "Python (scriptenv)",
        "language": "python",
        "name": "scriptenv",
    }
    assert f"{nbformat.writes(nb)}\n".encode() == data
    assert b'"name": "other"' in new_notebook("", kernel_name="other")


SPACES = ["", "", " ", "\n", "\n  ", "\t", "\r\n "]
CHANCES = st.randoms(use_true_random=False)
WORDS = st.text(st.sampled_from('ab é😀\n"\\/#\u2028\ud83d\r'), max_size=8)


def written(value: object, chance: Random) -> str:
    """Write a value as JSON with any space and any escapes."""
    lead, between, colon, close = (chance.choice(SPACES) for _ in range(4))
    if isinstance(value, str):
        return f'"{"".join(_character(each, escaped=chance.random() < 0.1) for each in value)}"'
    if isinstance(value, list):
        items = [written(each, chance) for each in value]
        return f"[{lead}{f'{between},{lead}'.join(items)}{close}]"
    if isinstance(value, dict):
        pairs = [f"{written(k, chance)}{colon}:{written(v, chance)}" for k, v in value.items()]
        return f"{{{lead}{f'{between},{close}'.join(pairs)}{close}}}"
    return json.dumps(value)


def _character(character: str, *, escaped: bool) -> str:
    if escaped:
        return "".join(f"\\u{unit:04X}" for unit in _units(character))
    if 0xD800 <= ord(character) < 0xE000:
        return json.dumps(character)[1:-1]
    return json.dumps(character, ensure_ascii=False)[1:-1]


def _units(character: str) -> tuple[int, ...]:
    data = character.encode("utf-16-be", "surrogatepass")
    return tuple(int.from_bytes(data[n : n + 2]) for n in range(0, len(data), 2))


def _pieces(draw: st.DrawFn, text: str) -> object:
    """Give a source as a string, or cut anywhere."""
    if draw(st.booleans()):
        return text
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@st.composite
def notebooks(draw: st.DrawFn) -> tuple[str, str]:
    """Give a notebook with a block in any JSON, and the text of the block's cell."""
    text = draw(WORDS) + draw(st.sampled_from(["", "\n"])) + render_block(OLD) + draw(WORDS)
    try:
        block = block_of_cell(text)
    except BlockError:
        block = None
    assume(block is not None and block.toml == OLD)
    cells = [code(_pieces(draw, draw(WORDS))), code(_pieces(draw, text)), markdown(draw(WORDS))]
    return written(notebook(*draw(st.permutations(cells))), draw(CHANCES)), text


@settings(max_examples=50)
@given(notebooks())
def test_any_json_is_changed_in_the_blocks_source_alone(given: tuple[str, str]) -> None:
    text, source = given
    data = text.encode()
    edited = edited_notebook(data, NEW)
    before, after = json.loads(data), json.loads(edited)
    number = (read_document(data, name="a.ipynb").cell or 0) - 1
    assert text_of(after["cells"][number]) == with_block(source, NEW)
    after["cells"][number] = before["cells"][number]
    assert before == after
    assert edited_notebook(edited, OLD) == data
    assert edited_source(data, NEW, name="A.IPYNB") == edited


@given(st.data())
def test_any_json_without_a_block_gets_a_cell(data: st.DataObject) -> None:
    kinds = st.sampled_from([code(["x\n", "y"]), code("x"), code([]), markdown("x"), markdown([])])
    nb = notebook(*data.draw(st.lists(kinds, max_size=3)), minor=data.draw(st.integers(0, 5)))
    before = written(nb, data.draw(CHANCES)).encode()
    edited = edited_notebook(before, OLD)
    assert block_of(edited) == OLD
    after = json.loads(edited)
    place = (read_document(edited, name="a.ipynb").cell or 0) - 1
    made = after["cells"].pop(place)
    assert after == nb
    assert ("id" in made) is (nb["nbformat_minor"] == 5)
    assert all(cell["cell_type"] != "code" for cell in nb["cells"][:place])
    assert edited_notebook(edited, NEW).count(b"/// script") == 1
