"""Notebooks and scripts as other tools write them (``tests/samples``): read, and left whole.

Each sample was made by its tool: ``juv init`` and ``juv add`` (juv 0.5.0), ``marimo convert``
(marimo 0.25.2), ``jupytext --to py:percent`` (jupytext 1.19.6), ``uv add --script`` (uv 0.13.9).
The Quarto document follows Quarto's documentation.
"""

from __future__ import annotations

import difflib
import json
import sys
from pathlib import Path

import pytest
from uv import find_uv_bin

from ipy_scriptenv import environments
from ipy_scriptenv.errors import Duplicate, Unclosed
from ipy_scriptenv.kernel_side.block import find_block, render_block
from ipy_scriptenv.kernel_side.check import block_of_source
from ipy_scriptenv.metadata import Kind, read_declaration, read_document
from ipy_scriptenv.metadata.editing import edited_source, edited_toml
from ipy_scriptenv.uv import Uv
from tests.conftest import Home

SAMPLES = Path(__file__).parent / "samples"

DECLARED = {
    "juv.ipynb": ("alpha>=2.0", "beta>=1.0"),
    "jupytext.py": ("alpha",),
    "marimo.py": ("alpha",),
    "quarto.qmd": ("alpha",),
    "shebang.py": ("alpha>=2.0",),
}
samples = pytest.mark.parametrize("name", DECLARED)


def toml_of(data: bytes, name: str) -> str:
    block = read_document(data, name=name).block
    assert block is not None
    return block.toml


def lines_that_differ(before: bytes, after: bytes) -> list[str]:
    diff = difflib.ndiff(before.decode().splitlines(), after.decode().splitlines())
    return [line for line in diff if line[0] in "+-"]


def test_every_sample_is_known() -> None:
    assert {path.name for path in SAMPLES.iterdir()} == set(DECLARED)


@samples
def test_a_sample_is_read_by_host_and_kernel(name: str) -> None:
    path = SAMPLES / name
    assert environments.can_be_source(str(path))
    toml = toml_of(path.read_bytes(), name)
    assert read_declaration(toml).dependencies == DECLARED[name]
    assert block_of_source(str(path)) == toml


@samples
def test_adding_to_a_sample_changes_its_block_and_removing_gives_it_back(
    name: str,
    home: Home,
    offline: Path,  # noqa: ARG001 - it sets the stage
) -> None:
    before = (SAMPLES / name).read_bytes()
    toml = toml_of(before, name)
    uv = Uv(binary=Path(find_uv_bin()), work=home.path)
    script = home.path / "x.py"
    data = before
    for verb in ("add", "remove"):
        script.write_text(render_block(toml_of(data, name)), "utf-8")
        uv.script(verb, script, "--", "with-entry-point", python=Path(sys.executable))
        block = find_block(script.read_text("utf-8"))
        assert block is not None
        data = edited_source(data, edited_toml(toml_of(data, name), block.toml), name=name)
        if verb == "add":
            differ = lines_that_differ(before, data)
            assert any("with-entry-point" in line for line in differ)
            assert all("with-entry-point" in line or "alpha" in line for line in differ)
    assert toml_of(data, name) == toml
    assert data == before


def test_the_hidden_cell_of_juv_stays_hidden() -> None:
    before = (SAMPLES / "juv.ipynb").read_bytes()
    edited = edited_source(before, "dependencies = []\n", name="juv.ipynb")
    cell = json.loads(edited)["cells"][0]
    assert cell["metadata"] == {"jupyter": {"source_hidden": True}}
    assert "".join(cell["source"]) == "# /// script\n# dependencies = []\n# ///"


@pytest.mark.parametrize(
    ("name", "first"),
    [("jupytext.py", "# ---"), ("marimo.py", "# /// script"), ("shebang.py", "#!/usr/bin/env")],
)
def test_a_sample_without_its_block_gets_one_where_its_tool_bears_it(name: str, first: str) -> None:
    text = (SAMPLES / name).read_text("utf-8")
    block = find_block(text)
    assert block is not None
    lines = text.splitlines(keepends=True)
    bare = "".join(lines[: block.line - 1] + lines[block.end_line :]).replace("\n\n\n", "\n\n")
    edited = edited_source(bare.encode(), block.toml, name=name).decode()
    assert edited.startswith(first)
    assert toml_of(edited.encode(), name) == block.toml
    if name == "jupytext.py":
        # A block above the header would make the header a cell.
        assert "# ---\n\n# /// script\n" in edited


# Quarto


def qmd(*cells: str, fence: str = "```{python}") -> bytes:
    return "\n".join(f"# Title\n\n{fence}\n{cell}\n```\n" for cell in cells).encode()


BLOCK = '# /// script\n# dependencies = ["alpha"]\n# ///'


def test_the_lines_of_a_quarto_document_are_those_of_the_file() -> None:
    document = read_document(qmd("x = 1", f"#| echo: false\n{BLOCK}"), name="A.QMD")
    assert (document.kind, document.cell) == (Kind.QUARTO, None)
    assert document.block is not None
    assert (document.block.line, document.block.end_line) == (11, 13)


@pytest.mark.parametrize(
    ("fence", "is_read"),
    [
        ("```{python}", True),
        ("```{python} ", True),
        ("```{python, echo=FALSE}", True),
        ("``` {python}", True),
        ("````{python}", False),  # never closed
        ("```python", False),
        ("```{.python}", False),
        ("```{{python}}", False),
        ("```{r}", False),
        ("```{pythonic}", False),
        ("~~~{python}", False),
    ],
)
def test_only_cells_that_quarto_runs_in_python_are_read(fence: str, *, is_read: bool) -> None:
    block = read_document(qmd(BLOCK, fence=fence), name="a.qmd").block
    assert (block is not None) is is_read


def test_a_byte_order_mark_hides_no_cell_of_quarto(tmp_path: Path) -> None:
    path = tmp_path / "a.qmd"
    path.write_text(f"```{{python}}\n{BLOCK}\n```\n", "utf-8-sig")
    assert block_of_source(str(path)) == toml_of(path.read_bytes(), "a.qmd")


@pytest.mark.parametrize("magic", ["%%bash", "#| echo: false\n\n%%time"])
def test_a_cell_of_quarto_that_begins_with_a_cell_magic_has_no_block(magic: str) -> None:
    assert read_document(qmd(f"{magic}\n{BLOCK}"), name="a.qmd").block is None


def test_blocks_outside_the_cells_of_quarto_are_text() -> None:
    data = f"{BLOCK}\n\n````\n```{{python}}\n{BLOCK}\n```\n````\n".encode() + qmd(BLOCK)
    assert read_document(data, name="a.qmd").block is not None


def test_two_blocks_in_quarto_tell_both_places() -> None:
    with pytest.raises(Duplicate) as caught:
        read_document(qmd(BLOCK, BLOCK), name="a.qmd")
    assert [problem.line for problem in caught.value.problems] == [4, 12]
    with pytest.raises(Unclosed):
        read_document(qmd("# /// script\n# x"), name="a.qmd")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_quarto_gets_a_block_before_its_first_python_cell(end: str) -> None:
    text = "---\ntitle: x\n---\n\nHello\n\n```{python}\n#| a: b\nx\n```\n".replace("\n", end)
    toml = 'dependencies = ["alpha"]\n'
    cell = f"```{{python}}\n{BLOCK}\n```\n".replace("\n", end)
    edited = edited_source(text.encode(), toml, name="a.qmd").decode()
    assert edited == text.replace("```{python}", f"{cell}{end}```{{python}}", 1)
    bare = text.partition("```")[0]
    edited = edited_source(bare.encode(), toml, name="a.qmd").decode()
    assert edited == bare.replace(f"---{end}{end}", f"---{end}{end}{cell}{end}{end}", 1)
    assert edited_source(b"", toml, name="a.qmd").decode() == cell.replace("\r", "")
