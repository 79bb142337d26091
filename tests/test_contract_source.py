"""The contract, *Which source?*: rows that no other test names (``test_launching.py`` has most)."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import papermill
import pytest
from nbclient import NotebookClient

from ipy_scriptenv import environments
from ipy_scriptenv.environments import EPHEMERAL
from ipy_scriptenv.provisioner import source_of
from tests.conftest import Home
from tests.kernels import (
    GENERIC,
    block,
    environment_of,
    install_generic,
    kernelspec_of,
    launched,
    pip_list,
    started,
    write_notebook,
)
from tests.stage import sync

PREFIX = "import sys\nprint(sys.prefix)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a notebook that asks where it runs."""
    return write_notebook(tmp_path / "work" / "nb.ipynb", block("alpha==1.0") + PREFIX)


# 1 and 3: a path that the client passes


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("variable", ["JPY_SESSION_NAME", "SCRIPTENV_SOURCE"])
def test_which_source_1_and_3_only_if_it_is_the_absolute_path_of_an_existing_file(
    home: Home, tmp_path: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_notebook(tmp_path / "a.ipynb", "")
    write_notebook(home.path / "b.ipynb", "")
    monkeypatch.chdir(tmp_path)
    assert source_of({variable: str(path)}, {}) == environments.locate(path)
    for other in ("a.ipynb", "./a.ipynb", "~/b.ipynb", str(tmp_path), str(tmp_path / "c.ipynb")):
        assert source_of({variable: other}, {}) == EPHEMERAL, other


def test_which_source_1_and_3_none_of_the_two_reaches_another_kernel_by_way_of_this_one(
    offline_home: Home, path: Path
) -> None:
    """A notebook that is run from inside a notebook's kernel, by the host's nbclient."""
    program = (
        "import nbformat, nbclient\n"
        f"cell = nbformat.v4.new_code_cell({PREFIX!r})\n"
        "notebook = nbformat.v4.new_notebook(cells=[cell])\n"
        f"nbclient.NotebookClient(notebook, kernel_name={GENERIC!r}).execute()\n"
        "print(*(each['text'] for each in notebook.cells[0].outputs), sep='', end='')\n"
    )
    run = f"import subprocess\nsubprocess.check_output([{sys.executable!r}, '-c', {program!r}])"
    variables = {"JPY_SESSION_NAME": str(path), "SCRIPTENV_SOURCE": str(path)}
    with started(install_generic(offline_home), env=variables, cwd=path.parent) as kernel:
        assert kernel.execute(PREFIX).shown_text == f"{environment_of(offline_home, path)}\n"
        inner = kernel.execute(run)
        assert inner.status == "ok", inner.traceback
        assert "ephemeral-" in (inner.result or "")


# 2: the kernelspec


def test_which_source_2_the_kernelspec_s_also_if_the_file_is_gone(
    offline_home: Home, path: Path, tmp_path: Path
) -> None:
    """Before ``SCRIPTENV_SOURCE``, and at a first start as well as at a restart."""
    environment = sync(path).path
    other = write_notebook(tmp_path / "other.ipynb", "")
    variables = {"JPY_SESSION_NAME": str(path), "SCRIPTENV_SOURCE": str(other)}
    path.unlink()
    with started(kernelspec_of(path), env=variables, cwd=tmp_path) as kernel:
        done = kernel.execute(f"import alpha\n{PREFIX}")
        assert done.shown_text == f"{environment}\n", done.traceback
        kernel.restart()
        assert kernel.execute(PREFIX).shown_text == f"{environment}\n"
    assert not environment_of(offline_home, other).exists()


def text_of(cell: nbformat.NotebookNode) -> str:
    """Give what a cell has printed; a line may come in two pieces."""
    return "".join(output["text"] for output in cell.outputs)


def with_nbclient(copy: Path, name: str) -> str:
    notebook = nbformat.read(copy, as_version=4)
    NotebookClient(
        notebook,
        kernel_name=name,
        timeout=100,
        resources={"metadata": {"path": str(copy.parent)}},
    ).execute()
    return text_of(notebook.cells[0])


def with_papermill(copy: Path, name: str) -> str:
    result = copy.with_name("result.ipynb")
    papermill.execute_notebook(copy, result, kernel_name=name, progress_bar=False, cwd=copy.parent)
    return text_of(nbformat.read(result, as_version=4).cells[0])


def with_argv(copy: Path, name: str) -> str:
    with launched(name, cwd=copy.parent) as kernel:
        return kernel.execute(json.loads(copy.read_text())["cells"][0]["source"]).shown_text


@pytest.mark.parametrize("client", [with_nbclient, with_papermill, with_argv])
def test_which_source_2_a_copy_under_a_client_that_tells_no_path_takes_the_kernelspec_s_word(
    offline_home: Home, path: Path, tmp_path: Path, client: Callable[[Path, str], str]
) -> None:
    """As nbclient, papermill and whoever starts an argv; Jupyter's servers tell the path."""
    environment = sync(path).path
    copy = tmp_path / "elsewhere" / "copy.ipynb"
    copy.parent.mkdir()
    shutil.copy(path, copy)
    assert client(copy, kernelspec_of(path)) == f"{environment}\n"
    assert pip_list(environment) == {"alpha": "1.0"}
    assert not environment_of(offline_home, copy).exists()
