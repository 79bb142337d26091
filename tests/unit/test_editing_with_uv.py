"""What uv makes of a block, written back: `add` and then `remove` give the bytes from before."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from uv import find_uv_bin

from ipy_scriptenv.kernel_side.block import find_block, render_block
from ipy_scriptenv.metadata import read_document
from ipy_scriptenv.metadata.editing import edited_source, edited_toml
from ipy_scriptenv.uv import Uv
from tests.conftest import Home
from tests.notebook_shapes import SHAPES

pytestmark = pytest.mark.usefixtures("offline")

TOMLS = [
    "dependencies = []\n",
    "dependencies = [\n]\n",
    'dependencies = ["alpha"]\n',
    "dependencies = [ 'alpha' , 'gamma' ] # mine\n",
    'requires-python = ">=3.9"\ndependencies = [\n    "alpha<2",\n    "gamma",\n]\n',
    'dependencies = [\n  "alpha", # why\n  # and\n  "gamma" # too\n]\n\n[tool.x]\ny = "é"\n',
    '\n# first\nrequires-python = ">=3.9"\n\ndependencies = [\n\t"gamma",\n\t"alpha",\n]\n\n',
    'dependencies = ["alpha",\n                "gamma"]\n[tool.uv]\nprerelease = "allow"\n',
    'dependencies = [\n    "alpha", "gamma",\n    # "beta",\n]\n',
    "dependencies = [\n    \"alpha; python_version > '3'\",\n    'gamma',]\ntool.x.y = 1\n",
]


@pytest.fixture
def uv(home: Home) -> Uv:
    """Give uv, in an empty folder."""
    work = home.path / "work"
    work.mkdir()
    (work / "uv.toml").touch()
    return Uv(binary=Path(find_uv_bin()), work=work)


def edited(uv: Uv, verb: str, toml: str, package: str) -> str:
    """Have uv edit a block, and take over what it changed."""
    script = uv.work / "x.py"
    script.write_text(render_block(toml), "utf-8")
    uv.script(verb, script, "--", package, python=Path(sys.executable))
    block = find_block(script.read_text("utf-8"))
    assert block is not None
    return edited_toml(toml, block.toml)


@pytest.mark.parametrize("toml", TOMLS)
def test_add_and_remove_give_the_same_bytes_in_every_notebook_and_script(uv: Uv, toml: str) -> None:
    longer = edited(uv, "add", toml, "beta")
    assert '"beta>=1.0"' in longer.replace("'", '"')
    assert edited(uv, "remove", longer, "beta") == toml
    files = {"a.py": f"#!/bin/x\n{render_block(toml)}\n'é'".encode()}
    files |= {f"{name}.ipynb": shape(toml) for name, shape in SHAPES.items()}
    for name, data in files.items():
        added = edited_source(data, longer, name=name)
        block = read_document(added, name=name).block
        assert block is not None
        assert block.toml == longer
        assert added != data
        assert edited_source(added, toml, name=name) == data, name


def test_an_upgraded_bound_takes_the_place_of_the_old_one(uv: Uv) -> None:
    toml = "dependencies = [\n  'gamma', # one\n  'alpha<2', # two\n]\n"
    assert edited(uv, "add", toml, "alpha>=1.1") == toml.replace("alpha<2", "alpha>=1.1")


def test_a_package_with_a_source_is_written_as_uv_has_it(uv: Uv, tmp_path: Path) -> None:
    project = tmp_path / "helpers"
    project.mkdir()
    text = '[project]\nname = "helpers"\nversion = "1"\n[tool.uv]\npackage = false\n'
    (project / "pyproject.toml").write_text(text, "utf-8")
    longer = edited(uv, "add", 'dependencies = ["alpha"]\n', str(project))
    assert "[tool.uv.sources]\nhelpers = {" in longer
