"""What may happen before a user runs a cell, and which executions complete the environment.

Everything beside a notebook is hostile here: opening it, and all that clients do by themselves,
runs nothing of it and installs nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.conftest import Home
from tests.kernels import (
    GENERIC,
    Kernel,
    block,
    environment_of,
    install_generic,
    kernelspec_of,
    launched,
    opened,
    pip_list,
    record_of,
    started,
    write_notebook,
)

MODULES = (
    # Of the standard library, some of them imported late, by completions and inspections.
    "ast",
    "asyncio",
    "builtins_",
    "code",
    "cProfile",
    "doctest",
    "json",
    "pdb",
    "pydoc",
    "random",
    "site",
    "sitecustomize",
    "socket",
    "sqlite3",
    "tempfile",
    "token",
    "tokenize",
    "types",
    "usercustomize",
    "xml",
    # Of the kernel and what it needs.
    "IPython",
    "comm",
    "debugpy",
    "ipykernel",
    "jedi",
    "jupyter_client",
    "matplotlib_inline",
    "nest_asyncio",
    "nest_asyncio2",
    "parso",
    "psutil",
    "tornado",
    "traitlets",
    "zmq",
    # Of ours and of the tools we use.
    "filelock",
    "ipy_scriptenv",
    "kernel",
    "packaging",
    "pip",
    "scriptenv_kernel",
    "setuptools",
    "start",
    "uv",
    "virtualenv",
    # Nobody's: only a completion could have an interest.
    "mine",
)


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """Give the folder in which everything hostile leaves a mark."""
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


def mark(marks: Path, name: str) -> str:
    """Write Python that leaves a mark, and tells it which program ran it."""
    return f"import sys\nopen({str(marks / name)!r}, 'a').write(repr(sys.argv) + '\\n')\n"


def program(path: Path, text: str) -> None:
    """Write an executable file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def hostile_folder(folder: Path, marks: Path) -> None:
    """Fill a folder with everything that could be taken for an order."""
    folder.mkdir(parents=True)
    for name in MODULES:
        (folder / f"{name}.py").write_text(mark(marks, name), encoding="utf-8")
    package = folder / "numpy"
    package.mkdir()
    (package / "__init__.py").write_text(mark(marks, "numpy"), encoding="utf-8")
    for name in ("python", "python3", "python3.11", "python3.12", "uv", "git", "which"):
        shell = f'#!/bin/sh\necho "$0 $@" >> "{marks}/program-{name}"\nexit 1\n'
        for place in (folder / ".venv" / "bin", folder / "bin", folder):
            program(place / name, shell)
    (folder / ".venv" / "pyvenv.cfg").write_text(f"home = {folder / 'bin'}\n", encoding="utf-8")
    (folder / ".python-version").write_text(f"{folder / 'python'}\n", encoding="utf-8")
    (folder / ".python-versions").write_text(f"{folder / 'python'}\n", encoding="utf-8")
    index = f'[[index]]\nurl = "file://{folder}/index"\ndefault = true\n'
    (folder / "uv.toml").write_text(f"offline = false\n{index}", encoding="utf-8")
    (folder / "setup.py").write_text(mark(marks, "setup.py"), encoding="utf-8")
    (folder / "setup.cfg").write_text("[metadata]\nname = hostile\n", encoding="utf-8")
    (folder / "backend.py").write_text(mark(marks, "backend"), encoding="utf-8")
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "hostile"\nversion = "1"\n',
        encoding="utf-8",
    )
    (folder / ".env").write_text(f"PYTHONSTARTUP={folder / 'mine.py'}\n", encoding="utf-8")
    (folder / ".pdbrc").write_text("import mine\n", encoding="utf-8")
    (folder / "ipython_config.py").write_text(mark(marks, "ipython_config"), encoding="utf-8")
    (folder / "ipython_kernel_config.py").write_text(
        mark(marks, "ipython_kernel_config"), encoding="utf-8"
    )
    (folder / "jupyter_config.py").write_text(mark(marks, "jupyter_config"), encoding="utf-8")


def hostile_block() -> str:
    """Write a block that installs what runs code when it is built."""
    source = '[tool.uv.sources]\nhostile = { path = "." }'
    return block("alpha", "evil-sdist", "hostile", more=source)


def everything_in(environment: Path) -> list[str]:
    """List what stands in the folder of packages, but for byte code."""
    (site,) = environment.glob("lib/python*/site-packages")
    return sorted(path.name for path in site.iterdir() if path.name != "__pycache__")


class Watch:
    """Sees the processes of uv that are there at any moment, by looking often."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def look(self) -> None:
        for process in psutil.process_iter(["name", "cmdline"]):
            words = process.info["cmdline"] or []
            if process.info["name"] == "uv" and os.environ["SCRIPTENV_HOME"] in " ".join(words):
                self.seen.add(" ".join(words))


HISTORY = {"hist_access_type": "tail", "n": 9, "output": False, "raw": True}

# What VS Code sends on every connect, in kind.
START_UP_CODE = (
    "import os, sys\ntry:\n    import ipykernel\nexcept ImportError:\n    pass",
    "%config Completer.use_jedi = False",
    "def __probe():\n    import builtins\n    return dir(builtins)\n__probe()\ndel __probe",
)


def everything_a_client_does_by_itself(kernel: Kernel) -> None:
    """Send what front ends, variable inspectors and debuggers send while no user has run a cell."""
    assert kernel.request("kernel_info_request", {})["status"] == "ok"
    for code in ("x = 1", "def f():", "import json\njson.", "%scriptenv sync"):
        assert kernel.request("is_complete_request", {"code": code})["status"] != "error"
    assert kernel.request("comm_info_request", {"target_name": "x"})["status"] == "ok"
    assert kernel.request("history_request", HISTORY)
    assert kernel.execute("1 + 1", silent=True).status == "ok"
    assert kernel.execute(hostile_block() + "silent = 1", silent=True).status == "ok"
    assert kernel.execute("", silent=True, store_history=False).status == "ok"
    for code in START_UP_CODE:
        assert kernel.execute(code, store_history=False).status == "ok"
    seen = kernel.execute(hostile_block() + "seen = 1", store_history=False)
    assert (seen.status, seen.shown) == ("ok", [])
    for code in (
        "import js",
        "import json; json.",
        "import mine; mine.",
        "from jedi import ",
        "from mine import ",
        "import numpy as np; np.",
        "import ",
        "%scri",
        "%load_ext ipy_",
        "open('",
        "seen.",
        "print(seen.bit_",
    ):
        kernel.complete(code)
    for code in ("json", "print", "seen", "mine", "jedi", "numpy", "str.join"):
        kernel.inspect(code)
    assert kernel.debug("debugInfo", 1)["success"]
    answer = kernel.debug(
        "initialize",
        2,
        clientID="test",
        adapterID="",
        pathFormat="path",
        linesStartAt1=True,
        columnsStartAt1=True,
        supportsVariableType=True,
    )
    assert answer["success"], answer
    kernel.debug("disconnect", 3, restart=False, terminateDebuggee=False)


@contextmanager
def untouched(home: Home, path: Path, marks: Path) -> Iterator[Watch]:
    """Check that between here and the end nothing hostile ran and nothing was installed."""
    watch = Watch()
    environment = environment_of(home, path)
    before = everything_in(environment)
    yield watch
    watch.look()
    assert [entry.name for entry in marks.iterdir()] == []
    assert everything_in(environment) == before
    assert not list(environment.glob("lib/python*/site-packages/*.dist-info"))
    assert record_of(environment)["fingerprint"] is None
    assert not list((home.scriptenv / "work-v1").glob("*.py")), "nothing was staged for uv"
    assert not watch.seen


def test_whatever_a_client_does_by_itself_runs_and_installs_nothing_of_a_hostile_folder(
    offline_home: Home, tmp_path: Path, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "work"
    hostile_folder(folder, marks)
    path = write_notebook(folder / "nb.ipynb", hostile_block() + "import mine", "import json")
    monkeypatch.setenv("EVIL_MARKER", str(marks / "evil-sdist"))
    # Relative entries mean the folder that a process happens to run in.
    monkeypatch.setenv("PATH", os.pathsep.join([".", "bin", os.environ["PATH"]]))
    monkeypatch.chdir(folder)
    with opened(offline_home, path) as kernel:
        assert [entry.name for entry in marks.iterdir()] == []
        with untouched(offline_home, path, marks) as watch:
            everything_a_client_does_by_itself(kernel)
            watch.look()
            # What is started in the background would be seen by now.
            time.sleep(0.5)
        kernel.restart()
        with untouched(offline_home, path, marks):
            kernel.execute("1", silent=True)
            kernel.complete("import json; json.")

        # So far by itself; this is the user, and it shows that the marks work.
        first = kernel.execute(block("alpha==1.0") + "import alpha\nimport mine")
        assert first.status == "ok", first.traceback
        assert [entry.name for entry in marks.iterdir()] == ["mine"]
        assert pip_list(environment_of(offline_home, path)) == {"alpha": "1.0"}


def test_a_hostile_folder_is_as_powerless_without_a_provisioner(
    offline_home: Home, tmp_path: Path, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "work"
    hostile_folder(folder, marks)
    path = write_notebook(folder / "nb.ipynb", hostile_block())
    with opened(offline_home, path):
        """Make the environment and its kernelspec."""
    monkeypatch.setenv("EVIL_MARKER", str(marks / "evil-sdist"))
    with (
        launched(kernelspec_of(path), cwd=folder) as kernel,
        untouched(offline_home, path, marks),
    ):
        everything_a_client_does_by_itself(kernel)
    # A changed file makes the launcher ask a host before the kernel stands.
    write_notebook(path, hostile_block(), "import mine")
    with launched(kernelspec_of(path), cwd=folder) as kernel:
        with untouched(offline_home, path, marks):
            everything_a_client_does_by_itself(kernel)

        # So far by itself; this is the user, and it shows that the marks work.
        first = kernel.execute(block("alpha==1.0") + "import alpha\nimport mine")
        assert first.status == "ok", first.traceback
        assert [entry.name for entry in marks.iterdir()] == ["mine"]
        assert pip_list(environment_of(offline_home, path)) == {"alpha": "1.0"}


def test_the_folder_is_importable_and_its_modules_complete_once_a_user_has_run_a_cell(
    offline_home: Home, tmp_path: Path
) -> None:
    path = write_notebook(tmp_path / "work" / "nb.ipynb", "")
    (path.parent / "beside.py").write_text("NUMBER_OF_MINE = 5\n", encoding="utf-8")
    with opened(offline_home, path) as kernel:
        unasked = kernel.execute("import beside", store_history=False)
        assert unasked.ename == "ModuleNotFoundError"
        assert kernel.execute("import beside\nbeside.NUMBER_OF_MINE").result == "5"
        assert "NUMBER_OF_MINE" in " ".join(kernel.complete("from beside import NUMBER_OF"))
        assert kernel.execute("import sys; sys.path[0]").result == "''"


def test_only_an_execution_of_a_user_syncs(offline_home: Home, tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "work" / "nb.ipynb", block("alpha==1.0"))
    environment = environment_of(offline_home, path)
    with opened(offline_home, path) as kernel:
        for silent, store_history in ((True, True), (True, False), (False, False)):
            done = kernel.execute(
                block("beta") + "x = 1", silent=silent, store_history=store_history
            )
            assert done.status == "ok"
            assert pip_list(environment) == {}
        assert kernel.execute("import alpha\nalpha.__version__, x").result == "('1.0', 1)"
        assert pip_list(environment) == {"alpha": "1.0"}

        # Nor do they get our error.
        assert kernel.execute(block("conflict-a", "conflict-b")).ename == "ResolutionFailed"
        assert kernel.execute("1 + 1", silent=True).status == "ok"
        assert kernel.execute("1 + 1", store_history=False).status == "ok"
        assert kernel.execute("1 + 1").ename == "ResolutionFailed"


def test_a_client_that_keeps_no_history_syncs_where_it_says_so(
    offline_home: Home, tmp_path: Path
) -> None:
    """``SCRIPTENV_SYNC=always``: for a client that runs a user's cells otherwise."""
    path = write_notebook(tmp_path / "work" / "nb.ipynb", block("alpha==1.0"))
    variables = {"JPY_SESSION_NAME": str(path), "SCRIPTENV_SYNC": "always"}
    with started(install_generic(offline_home), env=variables, cwd=path.parent) as kernel:
        assert kernel.execute("x = 1", silent=True).status == "ok"
        assert pip_list(environment_of(offline_home, path)) == {}
        done = kernel.execute("import alpha\nalpha.__version__", store_history=False)
        assert done.result == "'1.0'", done.traceback


def test_a_cell_of_our_own_magics_alone_runs_without_a_sync(
    offline_home: Home, tmp_path: Path
) -> None:
    path = write_notebook(tmp_path / "work" / "nb.ipynb", block("conflict-a", "conflict-b"))
    environment = environment_of(offline_home, path)
    with opened(offline_home, path) as kernel:
        for code in (
            "%scriptenv",
            "%load_ext ipy_scriptenv",
            "# what is it?\n\n%load_ext ipy_scriptenv\n%scriptenv status\n",
            "%scriptenv list\n%scriptenv find",
        ):
            done = kernel.execute(code)
            assert (done.status, done.error) == ("ok", None), done.traceback
        assert record_of(environment)["fingerprint"] is None
        # It ran, but it was no cell of the user's, and code beside the magics makes it one.
        for code in ("%scriptenv status\nx = 1", "%scriptenv status\n!true", "x = %scriptenv find"):
            assert kernel.execute(code).ename == "ResolutionFailed", code
        assert kernel.execute(block("alpha==1.0") + "import alpha").status == "ok"


def test_the_first_execution_of_a_user_syncs_whatever_cell_it_is(
    offline_home: Home, tmp_path: Path
) -> None:
    """The block may stand in a later cell: the file tells what the notebook declares."""
    path = write_notebook(tmp_path / "work" / "nb.ipynb", "x = 1", block("alpha==1.0"))
    with opened(offline_home, path) as kernel:
        first = kernel.execute("x = 1")
        assert (first.status, first.shown) == ("ok", [])
        assert any("alpha" in text for text in first.progress)
        assert pip_list(environment_of(offline_home, path)) == {"alpha": "1.0"}
        assert kernel.execute("import alpha").stdout == ""


def test_a_notebook_without_a_block_runs_at_once_and_asks_nobody(
    offline_home: Home, tmp_path: Path
) -> None:
    path = write_notebook(tmp_path / "work" / "nb.ipynb", "x = 1")
    with opened(offline_home, path) as kernel:
        watch = Watch()
        done = kernel.execute("print(1)")
        watch.look()
        kinds = [message["header"]["msg_type"] for message in done.messages]
        assert "clear_output" not in kinds
        assert done.shown_text == "1\n"
        assert not watch.seen


def test_a_kernel_without_a_source_syncs_to_the_blocks_it_is_given(
    offline_home: Home, tmp_path: Path
) -> None:
    install_generic(offline_home)
    with started(GENERIC, cwd=tmp_path) as kernel:
        assert kernel.execute("1 + 1").result == "2"
        done = kernel.execute(block("alpha==1.0") + "import alpha\nalpha.__version__")
        assert done.result == "'1.0'", done.traceback
