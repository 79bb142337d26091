"""The clients that run notebooks without a front end, and the ones that are a terminal.

None of them tells the notebook's path: they take the kernelspec's word, and the generic kernelspec
gives an environment that goes with its kernel.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pexpect  # type: ignore[import-untyped]
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from papermill.exceptions import PapermillExecutionError

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Context
from ipy_scriptenv.identity import kernelspec_name
from tests.conftest import Home, Layers
from tests.kernels import GENERIC, launched, other_than_host
from tests.stage import write_notebook

BLOCK = '# /// script\n# dependencies = ["alpha<2"]\n# ///\n'
ALPHA = f"{BLOCK}import alpha\nalpha.__version__"
UNRESOLVABLE = '# /// script\n# dependencies = ["conflict-a", "conflict-b"]\n# ///\nprint("ran")'
PREFIX = "import sys\nsys.prefix"
PATIENCE = 100.0
"""Seconds for one step of a client."""

Outputs = list[list[str]]


@pytest.fixture(scope="module", autouse=True)
def home(module_home: Home) -> Home:
    return module_home


@pytest.fixture
def nothing_stays(home: Home) -> Iterator[None]:
    """Check that a test leaves neither environment nor kernelspec behind."""
    before = traces(home)
    yield
    # What an earlier test has left may be swept meanwhile.
    assert traces(home) <= before


def traces(home: Home) -> set[str]:
    folders = (home.scriptenv / "environments-v1", home.kernelspecs)
    return {each.name for folder in folders if folder.is_dir() for each in folder.iterdir()}


def registered(path: Path) -> tuple[str, Path]:
    """Open a notebook once; give its kernelspec's name and its environment."""
    started = environments.start(environments.locate(path), context=Context())
    return kernelspec_name(started.name), started.path


def run_with_nbclient(path: Path, kernel_name: str) -> Outputs:
    """Run a notebook, save it, and give what the saved file shows below each code cell."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(notebook, kernel_name=kernel_name, timeout=120, resources=resources)
    try:
        client.execute()
    finally:
        nbformat.write(notebook, path)
    return outputs(path)


def outputs(path: Path) -> Outputs:
    """Give what a saved notebook shows below each code cell; a stream's pieces are one."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [
        ["".join(map(_text, pieces)) for _, pieces in groupby(cell["outputs"], key=_stream)]
        for cell in cells
        if cell["cell_type"] == "code"
    ]


def _stream(output: dict[str, Any]) -> object:
    """Name the stream of an output; what is none stands alone."""
    return output.get("name") or id(output)


def _text(output: dict[str, Any]) -> str:
    if output["output_type"] == "error":
        return f"{output['ename']}: {output['evalue']}"
    text = output.get("text") or output["data"]["text/plain"]
    return "".join(text)


def run_program(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name(command[0])
    return subprocess.run(
        [program, *command[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


def test_nbclient_runs_a_notebook_on_its_own_kernel(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "own.ipynb", ALPHA, PREFIX)
    name, environment = registered(path)

    assert run_with_nbclient(path, name) == [["'1.1'"], [repr(str(environment))]]


@pytest.mark.usefixtures("nothing_stays")
def test_nbclient_on_the_generic_kernel_gets_an_environment_that_goes_with_it(
    home: Home, tmp_path: Path
) -> None:
    path = write_notebook(tmp_path / "generic.ipynb", PREFIX, ALPHA)

    (prefix,), version = run_with_nbclient(path, GENERIC)

    environments_folder = str(home.scriptenv / "environments-v1")
    assert prefix.startswith(f"'{environments_folder}{os.sep}ephemeral-")
    assert version == ["'1.1'"]


def test_nbclient_stops_at_the_cell_whose_block_cannot_be_resolved(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "bad.ipynb", UNRESOLVABLE, "print('after')")
    name, _ = registered(path)

    with pytest.raises(CellExecutionError) as caught:
        run_with_nbclient(path, name)

    assert caught.value.ename == "ResolutionFailed"
    assert "alpha" in str(caught.value)
    (error,), after = outputs(path)
    assert error.startswith("ResolutionFailed: ")
    assert after == []


@pytest.mark.parametrize("kernel", ["own", "generic"])
def test_a_notebook_that_runs_another_does_not_pass_its_own_name_on(
    home: Home, tmp_path: Path, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer = write_notebook(tmp_path / "outer.ipynb", "1")
    inner = write_notebook(tmp_path / "inner.ipynb", PREFIX)
    name, environment = registered(inner)
    before = traces(home)
    # What a kernel that JupyterLab has started for `outer` finds in its own variables.
    monkeypatch.setenv("JPY_SESSION_NAME", str(outer))
    monkeypatch.setenv("SCRIPTENV_SOURCE", str(outer))

    ((prefix,),) = run_with_nbclient(inner, name if kernel == "own" else GENERIC)

    if kernel == "own":
        assert prefix == repr(str(environment))
    else:
        assert "ephemeral-" in prefix
    assert traces(home) <= before


def test_a_client_that_names_the_source_gets_its_environment(tmp_path: Path) -> None:
    path = write_notebook(
        tmp_path / "named.ipynb", PREFIX, "import os\n'SCRIPTENV_SOURCE' in os.environ"
    )
    notebook = nbformat.read(path, as_version=4)

    client = NotebookClient(notebook, kernel_name=GENERIC, timeout=120)
    client.execute(env={**os.environ, "SCRIPTENV_SOURCE": str(path)})
    nbformat.write(notebook, path)

    _, environment = registered(path)
    assert outputs(path) == [[repr(str(environment))], ["False"]]


@pytest.mark.parametrize("kernel", ["own", "generic"])
def test_papermill_runs_a_notebook_with_parameters(tmp_path: Path, kernel: str) -> None:
    path = write_notebook(tmp_path / "report.ipynb", BLOCK, "number = 1", "import alpha\nnumber")
    tag_as_parameters(path, cell=1)
    name = registered(path)[0] if kernel == "own" else GENERIC

    result = tmp_path / "result.ipynb"
    papermill.execute_notebook(
        path, result, parameters={"number": 42}, kernel_name=name, progress_bar=False, cwd=tmp_path
    )

    assert outputs(result) == [[], [], [], ["42"]]  # the third is the one that papermill puts in
    assert outputs(path) == [[], [], []]


def tag_as_parameters(path: Path, *, cell: int) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    content["cells"][cell]["metadata"]["tags"] = ["parameters"]
    path.write_text(json.dumps(content), encoding="utf-8")


def test_papermill_tells_which_cell_has_a_block_that_cannot_be_resolved(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "bad.ipynb", "1 + 1", UNRESOLVABLE, "3")
    result = tmp_path / "result.ipynb"

    with pytest.raises(PapermillExecutionError) as caught:
        papermill.execute_notebook(path, result, kernel_name=GENERIC, progress_bar=False)

    assert (caught.value.ename, caught.value.exec_count) == ("ResolutionFailed", 2)
    assert any("alpha" in line for line in caught.value.traceback)
    assert [text for cell in outputs(result) for text in cell if "Failed" not in text] == ["2"]


def test_papermill_fails_at_the_first_cell_if_the_notebooks_block_cannot_be_resolved(
    tmp_path: Path,
) -> None:
    path = write_notebook(tmp_path / "bad.ipynb", "1 + 1", UNRESOLVABLE, "3")
    result = tmp_path / "result.ipynb"

    with pytest.raises(PapermillExecutionError) as caught:
        papermill.execute_notebook(
            path, result, kernel_name=registered(path)[0], progress_bar=False
        )

    assert (caught.value.ename, caught.value.exec_count) == ("ResolutionFailed", 1)
    assert [text for cell in outputs(result) for text in cell if "Failed" not in text] == []


def test_papermill_ends_at_a_cell_of_the_user_that_fails(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "fails.ipynb", ALPHA, "1 / 0", "3")
    result = tmp_path / "result.ipynb"

    with pytest.raises(PapermillExecutionError) as caught:
        papermill.execute_notebook(
            path, result, kernel_name=registered(path)[0], progress_bar=False, cwd=tmp_path
        )

    assert (caught.value.ename, caught.value.exec_count) == ("ZeroDivisionError", 2)
    assert ["'1.1'"] in outputs(result)
    assert outputs(result)[-1] == []


@pytest.mark.parametrize("kernel", ["own", "generic"])
def test_jupyter_execute_runs_a_notebook_in_place(tmp_path: Path, kernel: str) -> None:
    path = write_notebook(tmp_path / "nb.ipynb", ALPHA, "print('done')")
    name = registered(path)[0] if kernel == "own" else GENERIC

    done = run_program(
        "jupyter-execute", "--inplace", f"--kernel_name={name}", path.name, folder=tmp_path
    )

    assert done.returncode == 0, done.stderr
    assert outputs(path) == [["'1.1'"], ["done\n"]]


def test_nbconvert_runs_a_notebook_on_the_kernel_that_it_names(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "nb.ipynb", ALPHA)
    write_notebook(path, ALPHA, PREFIX, kernel_name=registered(path)[0])

    done = run_program(
        "jupyter-nbconvert",
        "--to=notebook",
        "--execute",
        "--output=out",
        path.name,
        folder=tmp_path,
    )

    assert done.returncode == 0, done.stderr
    _, environment = registered(path)
    assert outputs(tmp_path / "out.ipynb") == [["'1.1'"], [repr(str(environment))]]


@contextmanager
def console(kernel_name: str, folder: Path) -> Iterator[Any]:
    """Run ``jupyter console`` in a terminal of its own, ready for a first cell."""
    program = Path(sys.executable).with_name("jupyter-console")
    variables = {
        **os.environ,
        "PROMPT_TOOLKIT_NO_CPR": "1",  # this terminal answers no questions
        "TERM": "xterm",
    }
    terminal = pexpect.spawn(
        str(program),
        [f"--kernel={kernel_name}"],
        cwd=str(folder),
        env=variables,
        encoding="utf-8",
        timeout=PATIENCE,
        dimensions=(50, 200),
    )
    try:
        terminal.expect(r"In \[.*1.*\]: ")
        yield terminal
    finally:
        terminal.close(force=True)


def type_cell(terminal: Any, code: str) -> None:
    """Paste *code* as one cell, and have it run."""
    terminal.send(f"\x1b[200~{code}\x1b[201~")
    terminal.send("\x1b\r")  # Alt and Enter: run, whatever is there


def test_a_console_on_the_kernel_of_a_notebook_is_in_its_environment(
    home: Home, tmp_path: Path
) -> None:
    path = write_notebook(tmp_path / "nb.ipynb", ALPHA)
    name, environment = registered(path)

    with console(name, tmp_path) as terminal:
        type_cell(terminal, "import sys, alpha; print('<' + alpha.__version__, sys.prefix + '>')")
        terminal.expect(re.escape(f"<1.1 {environment}>"))
        assert home.scriptenv in environment.parents
        type_cell(terminal, "exit()")
        terminal.expect(pexpect.EOF)


def test_a_console_on_the_generic_kernel_is_completed_by_the_block(tmp_path: Path) -> None:
    with console(GENERIC, tmp_path) as terminal:
        type_cell(terminal, f"{BLOCK}import sys, alpha; print('<' + alpha.__version__, sys.prefix)")
        terminal.expect(r"<1\.1 \S+ephemeral-")
        type_cell(terminal, UNRESOLVABLE)
        terminal.expect("ResolutionFailed")
        type_cell(terminal, ALPHA.replace("<2", "<1.1"))
        terminal.expect("RestartNeeded")
        type_cell(terminal, f"{BLOCK}import alpha; print('<' + alpha.__version__ + '>')")
        terminal.expect("<1.1>")


def test_the_argv_of_a_notebooks_kernel_works_without_the_provisioner(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "nb.ipynb", ALPHA)
    name, environment = registered(path)

    with launched(name, cwd=tmp_path) as kernel:
        assert kernel.execute(PREFIX).result == repr(str(environment))
        assert kernel.execute("import alpha; alpha.__version__").result == "'1.1'"
        assert kernel.execute(UNRESOLVABLE).ename == "ResolutionFailed"


def test_the_argv_of_a_notebooks_kernel_takes_another_python_if_the_file_asks_for_it(
    home: Home, layers: Layers, pythons: dict[str, Path], tmp_path: Path
) -> None:
    minor, python = other_than_host(pythons)
    layers.link(home, python)
    path = write_notebook(tmp_path / "nb.ipynb", "1")
    name, environment = registered(path)
    write_notebook(path, f'# /// script\n# requires-python = "=={minor}.*"\n# ///')

    with launched(name, cwd=tmp_path) as kernel:
        # It is no user who asks, so nothing but the start has brought it there.
        version = kernel.execute(
            "import sys\n'%d.%d' % sys.version_info[:2]", store_history=False
        ).result
        assert version == f"'{minor}'"
        assert kernel.execute(PREFIX).result == repr(str(environment))


def test_the_argv_of_the_generic_kernel_gives_an_environment_that_the_block_completes(
    tmp_path: Path,
) -> None:
    with launched(GENERIC, cwd=tmp_path) as kernel:
        assert "ephemeral-" in (kernel.execute(PREFIX).result or "")
        assert kernel.execute(ALPHA).result == "'1.1'"


@pytest.mark.parametrize("searched", ["", os.pathsep, ".", f"{os.pathsep}/nowhere"])
def test_the_argv_of_the_generic_kernel_imports_nothing_that_lies_beside_the_notebook(
    tmp_path: Path, searched: str
) -> None:
    hostile = f"open({str(tmp_path / 'has run')!r}, 'a').write(__name__ + ' ')"
    for name in ("sitecustomize", "usercustomize", "ipy_scriptenv", "uv", "IPython", "ipykernel"):
        (tmp_path / f"{name}.py").write_text(hostile)

    with launched(GENERIC, cwd=tmp_path, env={"PYTHONPATH": searched}) as kernel:
        assert kernel.execute("1", silent=True).status == "ok"
    assert not (tmp_path / "has run").exists()
