"""What front ends do by themselves when a notebook is opened, and what that may change."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import Home
from tests.hostile.ears import Ears, our_processes
from tests.hostile.pictures import changed, picture
from tests.kernels import Kernel
from tests.stage import commented

__all__ = ["assert_untouched", "by_itself", "debugger"]

# What VS Code sends on every connect, in kind.
_START_UP = (
    "import os, sys\ntry:\n    import ipykernel\nexcept ImportError:\n    pass",
    "%config Completer.use_jedi = False",
    "def __probe():\n    import builtins\n    return dir(builtins)\n__probe()\ndel __probe",
)
_BEGUN = ("import js", "import json; json.", "import mine; mine.", "from jedi import ", "import ")
_BEGUN_TOO = ("import numpy as np; np.", "from mine import ", "%scri", "%load_ext ipy_", "open('")
_NAMES = ("json", "print", "seen", "mine", "jedi", "numpy", "str.join")
_INCOMPLETE = ("import json\njson.", "def f():", "%scriptenv sync")
_INSTALLING = commented('dependencies = ["alpha", "evil-sdist"]', "seen = 1")
_DEBUGGING = {
    "clientID": "test",
    "adapterID": "",
    "pathFormat": "path",
    "linesStartAt1": True,
    "columnsStartAt1": True,
    "supportsVariableType": True,
}
_HISTORY = {"hist_access_type": "tail", "n": 9, "output": False, "raw": True}


def by_itself(kernel: Kernel, *, shortly: bool = False) -> None:
    """Send what front ends and variable inspectors send while no user has run a cell.

    :param shortly: one request of each kind that could run something
    """
    if shortly:
        assert kernel.execute("seen = 1", silent=True).status == "ok"
        assert kernel.execute(_START_UP[0], store_history=False).status == "ok"
        kernel.complete("import mine; mine.")
        kernel.inspect("mine")
        return
    assert kernel.request("kernel_info_request", {})["status"] == "ok"
    for code in _INCOMPLETE:
        assert kernel.request("is_complete_request", {"code": code})["status"] != "error"
    assert kernel.request("comm_info_request", {"target_name": "x"})["status"] == "ok"
    assert kernel.request("history_request", _HISTORY)
    for silent, history in ((True, True), (True, False), (False, False)):
        done = kernel.execute(_INSTALLING, silent=silent, store_history=history)
        assert (done.status, done.shown) == ("ok", []), done.traceback
    for code in _START_UP:
        assert kernel.execute(code, store_history=False).status == "ok"
    for code in (*_BEGUN, *_BEGUN_TOO, "seen.", "print(seen.bit_"):
        kernel.complete(code)
    for name in _NAMES:
        kernel.inspect(name)


_ENVIRONMENT = (
    # A virtual environment without packages, as uv makes it, with ours beside it.
    r"bin(/[\w.-]+)?|lib64|include|lib(/python3\.\d+(/site-packages)?)?"
    r"|lib/python3\.\d+/site-packages/_virtualenv\.(py|pth)"
    r"|lib/python3\.\d+/site-packages/__pycache__(/_virtualenv\.[\w-]+\.pyc)?"
    r"|pyvenv\.cfg|CACHEDIR\.TAG|\.gitignore|\.lock|scriptenv\.json|kernel\.py"
)
_NAME = r"[a-z0-9-]*[0-9a-f]{16}"
_ALLOWED = re.compile(
    rf"""
    scriptenv
    | scriptenv/(environments-v1|building-v1|kernels-v1|kernel-side-v1|locks|work-v1)
    | scriptenv/environments-v1/{_NAME}(/({_ENVIRONMENT}))?
    | scriptenv/kernel-side-v1/[^/]+(/.*)?
    | scriptenv/kernels-v1/.*/__pycache__(/.*)?
    | scriptenv/locks/kernelspecs\.done
    | scriptenv/locks/({_NAME}|kernel-side)\.(lock|starting|kernels(/[0-9a-f]{{32}})?)
    | scriptenv/work-v1/uv\.toml
    | jupyter-data(/kernels)?
    | jupyter-data/kernels/scriptenv(/.*)?
    | jupyter-data/kernels/scriptenv-{_NAME}(/(kernel\.json|logo-[\w-]+\.(png|svg)))?
    | jupyter-runtime(/kernel-.*)?
    | ipython(/.*)?
    """,
    re.VERBOSE,
)
"""What the contract lets a start write, the files of IPython and Jupyter for a kernel included."""


def debugger(kernel: Kernel) -> None:
    """Send what a front end sends whose debugger is open; it has a process that stays."""
    assert kernel.debug("debugInfo", 1)["success"]
    assert kernel.debug("initialize", 2, **_DEBUGGING)["success"]
    kernel.debug("disconnect", 3, restart=False, terminateDebuggee=False)


@contextmanager
def assert_untouched(home: Home, folder: Path, marks: Path, ears: Ears) -> Iterator[None]:
    """Check that between here and the end nothing ran, nothing was installed, nothing left behind.

    The folder of temporary files is ``TMPDIR``; uv's cache is one of the test's own.

    :param folder: the source's, with everything beside it
    """
    watched = (home.path, folder, Path(os.environ["TMPDIR"]))
    cache = Path(os.environ["UV_CACHE_DIR"])
    layers = home.scriptenv / "kernels-v1"
    before = picture(*watched, without=[layers])
    processes = our_processes(home.scriptenv)
    yield
    assert [mark.name for mark in marks.iterdir()] == []
    assert ears.code == []
    assert set(ears.uv) <= {"venv", "python list", "python find", "python"}, ears.commands
    by_name = [words for words in ears.commands if not Path(words[0]).is_absolute()]
    # The kernelspec's argv, which is the client's; and what the debugger asks about the machine.
    assert all(words[0] == "python" or words == ["uname", "-p"] for words in by_name), by_name
    assert [words for words in ears.commands if Path(words[0]).is_relative_to(folder)] == []
    # What an earlier test has left, such as its debugger, may end in between.
    assert our_processes(home.scriptenv) <= processes
    after = picture(*watched, without=[layers])
    prefix = f"{home.path}{os.sep}"
    assert (
        changed(before, after, lambda path: bool(_ALLOWED.fullmatch(path.removeprefix(prefix))))
        == []
    )
    # uv makes the folders of its cache at any call; what is in them is its own `.git*`.
    built = ("archive-", "built-", "builds-", "git-", "sdists-", "simple-", "wheels-")
    folders = [each for each in cache.glob("*") if each.name.startswith(built)]
    inside = [path for folder in folders for path in folder.iterdir()]
    assert [path for path in inside if not path.name.startswith(".git")] == []
