"""``%%scriptenv`` and ``%scriptenv run``: a script of its own, its output in the cell."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from ipy_scriptenv.kernel_side.cells import ScriptFailed, run_line
from tests.conftest import Home
from tests.kernels import block, environment_of, opened, pip_list, unasked, wait_until
from tests.stage import block_of, commented, write_notebook, write_script

SLOW = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
print("begun", os.getpid(), child.pid, "to be continued", end="", flush=True)
time.sleep(300)
"""

PATIENT = """
import scriptenv_kernel.cells as cells
cells._GRACE = cells._LAST_WORDS = 100.0
"""
"""Has a kernel wait for the last words of a script on a machine that is busy too."""


def cell(*dependencies: str, code: str, line: str = "") -> str:
    return f"%%scriptenv {line}\n" + commented(block_of(*dependencies), code)


def test_a_cell_is_a_script_in_an_environment_of_its_own(
    offline_home: Home, tmp_path: Path
) -> None:
    """Its block is not the notebook's, and neither are its names."""
    notebook = write_notebook(tmp_path / "work" / "nb.ipynb", block("alpha==1.0"))
    with opened(offline_home, notebook) as kernel:
        assert kernel.execute(block("alpha==1.0") + "import alpha").status == "ok"
        environment = environment_of(offline_home, notebook)

        code = "import sys, beta, alpha\nname = 1\nprint(alpha.__version__, sys.argv)\n"
        code += "print('apart', file=sys.stderr)"
        done = kernel.execute(cell("beta", code=code, line="--a 'b c'"))
        assert done.status == "ok", done.traceback
        assert done.stdout == "2.0 ['-', '--a', 'b c']\n"
        assert done.stderr.endswith("apart\n")
        assert kernel.execute("name").ename == "NameError"
        assert kernel.execute("print(alpha.__version__)").stdout == "1.0\n"
        assert pip_list(environment) == {"alpha": "1.0"}

        # Without a block: an empty environment. Lines are counted in the cell.
        failed = kernel.execute("%%scriptenv\nimport sys\nimport beta")
        assert (failed.status, failed.ename) == ("error", "ScriptFailed")
        assert "line 3" in failed.stderr
        assert "No module named 'beta'" in failed.stderr
        assert "exit code 1" in failed.traceback
        failed = kernel.execute(cell("alpha>=3", code="print('ran')"))
        assert (failed.stdout, failed.ename) == ("", "ScriptFailed")
        assert "No set of packages satisfies" in failed.stderr

        # A file, named as from the notebook's folder, with the variables of the kernel's start.
        write_script(
            notebook.with_name("other.py"),
            code="import os, sys\nprint(sys.argv, "
            "os.environ['VIRTUAL_ENV'], os.environ.get('MPLBACKEND'))\nsys.exit(3)",
        )
        failed = kernel.execute("%scriptenv run other.py --json --yes")
        other = environment_of(offline_home, notebook.with_name("other.py"))
        assert failed.stdout == f"['other.py', '--json', '--yes'] {other} None\n"
        assert failed.traceback == "ScriptFailed: The script ended with exit code 3."


def test_a_cell_streams_and_an_interrupt_ends_all_that_it_started(
    offline_home: Home, tmp_path: Path
) -> None:
    notebook = write_notebook(tmp_path / "work" / "nb.ipynb", "1")
    with opened(offline_home, notebook) as kernel:
        assert unasked(kernel, PATIENT) == ""
        request = kernel.send_code("%%scriptenv" + SLOW)
        kernel.wait_for_text(request, "to be continued")
        words = kernel.outputs(request).stdout.split()
        kernel.interrupt()
        done = kernel.collect(request)
        assert done.ename == "KeyboardInterrupt"
        assert "KeyboardInterrupt" in done.stderr
        for pid in map(int, words[1:3]):
            wait_until(lambda pid=pid: is_gone(pid), what="the end of the script")  # type: ignore[misc]
        assert kernel.execute("print(1)").stdout == "1\n"


def test_what_is_printed_comes_as_utf_8_whatever_the_variables_say(
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv = (sys.executable, "-c", "print('h\u00e4?')")
    run_line([], lambda: (argv, {**os.environ, "PYTHONIOENCODING": "latin-1"}))
    assert capsys.readouterr().out == "h\u00e4?\n"


def test_a_script_whose_output_cannot_be_shown_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code of the user may have put anything in the place of standard output."""
    told = tmp_path / "pid"
    code = f"import os, time; open({str(told)!r}, 'w').write(str(os.getpid())); "
    code += "print('words', flush=True); time.sleep(1000)"
    monkeypatch.setattr(sys, "stdout", object())
    with pytest.raises(AttributeError):
        run_line([], lambda: ((sys.executable, "-c", code), os.environ))
    assert is_gone(int(told.read_text()))


def is_gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


# In the host's own IPython


@pytest.fixture
def shell(lean_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:  # noqa: ARG001 - it sets the stage
    monkeypatch.chdir(tmp_path)
    config = Config()
    config.HistoryManager.enabled = False
    kind: Any = InteractiveShell  # it has no types
    shell = kind(config=config)
    shell.run_cell("%load_ext ipy_scriptenv").raise_error()
    yield shell
    shell.restore_sys_module_state()


def test_the_host_s_ipython_has_both(
    shell: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    code = "import beta, os, sys\nprint(sys.argv, os.environ.get('MPLBACKEND'))"
    shell.run_cell(cell("beta", code=code, line="x")).raise_error()
    assert capsys.readouterr().out == "['-', 'x'] None\n"
    write_script(tmp_path / "a.py", code="import sys\nprint(sys.argv)\nsys.exit(2)")
    with pytest.raises(ScriptFailed, match="exit code 2"):
        shell.run_cell("%scriptenv run a.py --json").raise_error()
    assert capsys.readouterr().out.startswith("['a.py', '--json']\n")
    write_script(tmp_path / "a.py", code="import os\nos.kill(os.getpid(), 9)")
    with pytest.raises(ScriptFailed, match="signal 9"):
        shell.run_cell("%scriptenv run a.py").raise_error()
    assert "Options:" in shown(shell, capsys, "%scriptenv run --help")


def shown(shell: Any, capsys: pytest.CaptureFixture[str], line: str) -> str:
    capsys.readouterr()
    shell.run_cell(line).raise_error()
    return str(capsys.readouterr().out)


def test_half_a_character_ends_with_an_error_and_not_never(
    shell: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A front end may cut an emoji in two; the script cannot be read then."""
    with pytest.raises(ScriptFailed):
        shell.run_cell(cell(code="'\ud83d'")).raise_error()
    assert "UTF-8" in capsys.readouterr().err
