"""``run``: a source is a script, in its own environment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ipy_scriptenv import environments
from ipy_scriptenv.environments import Context, Kept
from ipy_scriptenv.layout import RECORD
from ipy_scriptenv.record import Record, SourceKind
from tests.conftest import Home
from tests.stage import (
    PROGRAM,
    block_of,
    call,
    commented,
    environment_of,
    installed,
    write_notebook,
    write_script,
)

pytestmark = pytest.mark.usefixtures("lean_home")

SHOW = """
import json, os, sys
import beta
print(json.dumps({
    "argv": sys.argv, "first": sys.path[0], "file": __file__, "prefix": sys.prefix,
    "environment": os.environ["VIRTUAL_ENV"], "path": os.environ["PATH"].split(os.pathsep)[0],
    "typed": sys.stdin.read(), "name": __name__, "folder": os.getcwd(),
}))
print("to the other", file=sys.stderr)
sys.exit(7)
"""


def test_a_script_runs_as_under_plain_python_in_its_environment(script: Path) -> None:
    """Whatever follows SOURCE is the script's, words of ours too."""
    write_script(script, "beta", code=SHOW)
    words = ["run", "work/a.py", "--json", "--python", "3.0", "-", "--", "--yes"]
    ended = call(*words, cwd=script.parent.parent, input="typed\n")
    environment = environment_of(script)
    assert ended.returncode == 7
    assert json.loads(ended.stdout) == {
        "argv": words[1:],
        "first": str(script.parent),
        "file": str(script.parent.parent / "work" / "a.py"),
        "prefix": str(environment),
        "environment": str(environment),
        "path": str(environment / "bin"),
        "typed": "typed\n",
        "name": "__main__",
        "folder": str(script.parent.parent),
    }
    assert ended.stderr.endswith("to the other\n")
    assert installed(environment) == {"alpha==2.0", "beta==1.0"}
    again = call("run", script, input="")
    assert again.stderr == "to the other\n"


def test_a_failing_sync_runs_nothing(script: Path) -> None:
    write_script(script, "alpha>=3", code="print('ran')")
    ended = call("run", script)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "No set of packages satisfies" in ended.stderr
    script.write_text("# /// script\n# dependencies = 1\n# ///\nprint('ran')\n")
    ended = call("run", script)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert call("run", script.with_name("none.py")).returncode == 2
    document = script.with_suffix(".qmd")
    document.write_text("```{python}\nprint('ran')\n```\n")
    ended = call("run", document)
    assert (ended.returncode, ended.stdout) == (2, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_script_and_until_then_it_counts_as_a_kernel(
    script: Path, number: signal.Signals
) -> None:
    write_script(script, code="import time\nprint('here', flush=True)\ntime.sleep(600)")
    argv = [*PROGRAM, "run", str(script)]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "here\n"
            assert " yes " in call("list").stdout
            refused = call("delete", script, "--yes")
            assert f"process {process.pid}" in refused.stderr
            process.send_signal(number)
            _, err = process.communicate(timeout=100)
        finally:
            process.kill()
    assert process.returncode == -number
    assert call("delete", script, "--yes").returncode == 0
    assert ("KeyboardInterrupt" in err) == (number == signal.SIGINT)


def test_what_was_installed_by_hand_stays_until_a_lock_is_the_law(script: Path) -> None:
    write_script(script, code="import os\nos.system('pip install --quiet alpha==1.0')")
    assert call("run", script).returncode == 0
    assert call("run", script).returncode == 0
    assert installed(environment_of(script)) == {"alpha==1.0"}
    assert call("lock", script).returncode == 0
    script.write_text(script.read_text().replace("os.system", "print"))
    ended = call("run", "--locked", script)
    assert ended.returncode == 0, ended.stderr
    assert installed(environment_of(script)) == set()


# Notebooks


def test_a_notebook_runs_as_a_script(script: Path) -> None:
    notebook = write_notebook(
        script.with_name("nb.ipynb"),
        commented(block_of("beta"), "import sys, asyncio, beta\nprint(sys.argv, sys.path[0])"),
        "%%bash\necho from bash",
        "'a value that is not shown'\n%pip install alpha\n%scriptenv add alpha\n!echo from a shell",
        "found = await asyncio.sleep(0, 'waited')\nprint(found, sys.stdin.read(), __name__)",
        "%load_ext ipy_scriptenv\nglobals().get('__file__')",
        "sys.exit(9)",
        "print('never')",
    )
    ended = call("run", notebook, "--one", input="typed")
    assert ended.returncode == 9
    assert ended.stdout.splitlines() == [
        f"['{notebook}', '--one'] {notebook.parent}",
        "from bash",
        "from a shell",
        "waited typed __main__",
    ]
    notes = [line for line in ended.stderr.splitlines() if line.startswith("note:")]
    assert notes == [
        "note: skipped in a script: %pip install alpha",
        "note: skipped in a script: %scriptenv add alpha",
    ]
    assert installed(environment_of(notebook)) == {"alpha==2.0", "beta==1.0"}


def test_a_traceback_of_a_notebook_names_cell_and_line(script: Path) -> None:
    """The lines are shown as they stand in the notebook."""
    notebook = write_notebook(
        script.with_name("nb.ipynb"), "def fail():\n    # why\n    return 1 / 0", "!true\n\nfail()"
    )
    ended = call("run", "nb.ipynb", cwd=notebook.parent)
    assert ended.returncode == 1
    lines = [line.strip() for line in ended.stderr.splitlines() if "~" not in line]
    assert lines[-6:] == [
        "Traceback (most recent call last):",
        'File "nb.ipynb, cell 2", line 3, in <module>',
        "fail()",
        'File "nb.ipynb, cell 1", line 3, in fail',
        "return 1 / 0",
        "ZeroDivisionError: division by zero",
    ]
    write_notebook(notebook, "print('before')", "1 +")
    ended = call("run", "nb.ipynb", cwd=notebook.parent)
    assert (ended.returncode, ended.stdout) == (1, "before\n")
    assert 'File "nb.ipynb, cell 2", line 1' in ended.stderr
    assert "SyntaxError" in ended.stderr


def test_what_lies_beside_a_notebook_is_not_imported_by_us(script: Path) -> None:
    """It is the notebook's to import: after IPython is."""
    notebook = write_notebook(script.with_name("nb.ipynb"), "import traitlets, json, mine")
    for name in ("traitlets", "json", "IPython", "linecache"):
        notebook.with_name(f"{name}.py").write_text("raise SystemExit('imported')\n")
    notebook.with_name("mine.py").write_text("print('mine')\n")
    ended = call("run", notebook)
    assert (ended.returncode, ended.stdout) == (0, "mine\n")


# Standard input


def test_standard_input_is_a_script_and_its_block_names_the_environment(lean_home: Home) -> None:
    code = "import sys, beta\nprint(sys.argv, repr(sys.path[0]), sys.prefix)"
    text = commented(block_of("beta"), code)
    first = call("run", "-", "--a", input=text)
    assert first.returncode == 0, first.stderr
    (environment,) = (lean_home.scriptenv / "environments-v1").iterdir()
    assert first.stdout == f"['-', '--a'] '' {environment}\n"
    call("run", "-", input=commented(block_of("beta"), "print(1)"))
    assert len(list(environment.parent.iterdir())) == 1
    ended = call("run", "-", input="import beta")
    assert ended.returncode == 1
    assert "No module named 'beta'" in ended.stderr
    assert len(list(environment.parent.iterdir())) == 2
    assert list((lean_home.scriptenv / "work-v1").glob("*.py")) == []


def test_of_standard_input_no_more_is_read_than_a_script_may_have() -> None:
    with Path("/dev/zero").open("rb") as endless:
        ended = subprocess.run(
            [*PROGRAM, "run", "-"],
            stdin=endless,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "larger than 10 MiB" in ended.stderr


@pytest.fixture
def of_a_text(lean_home: Home) -> Path:
    """Give the environment of a text."""
    call("run", "-", input="")
    (environment,) = (lean_home.scriptenv / "environments-v1").iterdir()
    return environment


def test_the_environment_of_a_text_is_listed_and_pruned_when_it_was_not_used_for_30_days(
    of_a_text: Path,
) -> None:
    listed = json.loads(call("list", "--json").stdout)["environments"]
    assert [(each["source"], each["state"]) for each in listed] == [("(text)", "in-sync")]
    assert superfluous() == []
    used_before(of_a_text, days=29)
    assert superfluous() == []
    used_before(of_a_text, days=31)
    assert superfluous() == [of_a_text]
    assert call("prune", "--yes").returncode == 0
    assert not of_a_text.exists()


def superfluous() -> list[Path]:
    return [item.path for item in environments.prunable(Kept(), context=Context())]


def used_before(environment: Path, *, days: int) -> None:
    record = Record.from_json((environment / RECORD).read_text())
    assert record.source.kind is SourceKind.TEXT
    used = datetime.now(UTC) - timedelta(days=days)
    text = json.loads(record.to_json()) | {"last_used": used.isoformat(timespec="seconds")}
    (environment / RECORD).write_text(json.dumps(text))
    lived = environment.parent.parent / "locks" / f"{environment.name}.kernels"
    for path in (*lived.iterdir(), lived):
        os.utime(path, (used.timestamp(), used.timestamp()))


# Completion


def test_a_shell_completes_verbs_and_sources(script: Path) -> None:
    """Sources are notebooks, scripts and folders; a folder that is alone is looked into."""
    folder = script.parent
    (folder / "sub").mkdir()
    for name in ("a.py", "b.ipynb", "c.txt", ".d.py", "sub/e.py", "sub/f.ipynb"):
        (folder / name).touch()
    assert completed(folder, "jupyter-scriptenv ru") == ["run"]
    assert completed(folder, "jupyter-scriptenv run ") == ["a.py", "b.ipynb", "sub/"]
    assert completed(folder, "jupyter-scriptenv sync s") == ["sub/e.py", "sub/f.ipynb"]
    assert completed(folder, f"jupyter-scriptenv find {folder}/b") == [f"{folder}/b.ipynb"]
    told = completing(folder, _JUPYTER_SCRIPTENV_COMPLETE="bash_source")
    assert "complete -o nosort -F _jupyter_scriptenv_completion jupyter-scriptenv" in told


def completed(folder: Path, line: str) -> list[str]:
    count = str(len(line.split()) - (not line.endswith(" ")))
    told = completing(
        folder, _JUPYTER_SCRIPTENV_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=count
    )
    return [each.removeprefix("plain,") for each in told.split()]


def completing(folder: Path, **variables: str) -> str:
    return call(cwd=folder, env={**os.environ, **variables}).stdout


def test_the_magic_of_the_host_hands_over_to_no_other_program(script: Path) -> None:
    """Its process is a kernel, or the user's terminal."""
    from ipy_scriptenv import magic_line
    from ipy_scriptenv.errors import WrongCall

    write_script(script)
    for verb in ("run", "console"):
        words = [verb, str(script)]
        with pytest.raises(WrongCall, match="process of its own"):
            magic_line.answer(words, default=None, folder=script.parent, context=Context())
