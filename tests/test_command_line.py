"""The command line: fields, codes and exit codes as ``docs/contract.md`` has them."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.connect import LocalPortCache

from ipy_scriptenv import __version__, cli, environments
from ipy_scriptenv.environments import EPHEMERAL, Context
from ipy_scriptenv.layout import CHANGING, RECORD
from ipy_scriptenv.record import Record
from tests.conftest import Home
from tests.index import build
from tests.stage import (
    PROGRAM,
    block_of,
    call,
    commented,
    environment_of,
    exclusively_held,
    running_kernel,
    start,
    sync,
    write_notebook,
    write_script,
)

HOST = "{}.{}.{}".format(*sys.version_info)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
VERBS = ("sync", "find", "status", "list", "execute")


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Give the one object on standard output."""
        assert self.out.endswith("\n")
        assert self.out.count("\n") == 1
        found = json.loads(self.out)
        assert isinstance(found, dict)
        assert found["schema"] == 1
        return found


Run = Callable[..., Called]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Give the command line, called in this process, which is faster."""

    def run(*words: str | Path) -> Called:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main([str(word) for word in words])
        out, err = capfd.readouterr()
        return Called(code=int(ended.value.code or 0), out=out, err=err)

    return run


@pytest.fixture
def script(lean_home: Home, script: Path) -> Path:  # noqa: ARG001 - it sets the stage
    return write_script(script, "beta")


# Fields


def test_sync_tells_what_it_did(run: Run, script: Path) -> None:
    first = run("sync", script, "--json")
    environment = environment_of(script)
    assert first.code == 0
    assert first.json == {
        "schema": 1,
        "source": str(script),
        "environment": {
            "name": environment.name,
            "path": str(environment),
            "python": str(environment / "bin" / "python"),
            "python_version": HOST,
        },
        "action": "created",
        "changes": [
            {"name": "alpha", "version": "2.0", "action": "installed"},
            {"name": "beta", "version": "1.0", "action": "installed"},
        ],
        "kernelspec": f"scriptenv-{environment.name}",
        "kernel_mode": "layer",
        "warnings": [],
    }
    again = run("sync", script, "--json")
    assert again.json == first.json | {"action": "kept", "changes": []}
    write_script(script, "alpha<2")
    updated = run("sync", script, "--json").json
    assert updated["action"] == "updated"
    assert {"name": "beta", "version": "1.0", "action": "removed"} in updated["changes"]
    (environment / "pyvenv.cfg").unlink()
    assert run("sync", script, "--json").json["action"] == "rebuilt"


def test_sync_warns_of_keys_that_are_ignored(run: Run, script: Path) -> None:
    script.write_text(commented('dependencies = []\n\nname = "x"'))
    (warning,) = run("sync", script, "--json").json["warnings"]
    assert "`name`" in warning
    assert f"warning: {warning}" in run("sync", script).out


def test_sync_takes_a_python(run: Run, script: Path) -> None:
    minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert run("sync", script, "--python", minor, "--json").code == 0
    record = Record.from_json((environment_of(script) / RECORD).read_text())
    assert record.python.request == minor


def test_sync_takes_a_relative_path_of_a_python(
    run: Run, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = Path(getattr(sys, "_base_executable", sys.executable))
    monkeypatch.chdir(base.parent.parent)
    assert run("sync", script, "--python", f"bin/{base.name}", "--json").code == 0
    record = Record.from_json((environment_of(script) / RECORD).read_text())
    assert record.python.request == str(base)


def test_find_tells_where_the_environment_is(run: Run, script: Path) -> None:
    synced = run("sync", script, "--json").json
    found = run("find", script, "--json")
    assert found.code == 0
    assert found.json == {key: synced[key] for key in ("schema", "source", "environment")}
    assert run("find", script).out == f"{environment_of(script)}/bin/python\n"


def test_status_tells_all_about_a_source(run: Run, script: Path) -> None:
    write_script(script, "alpha<2", "nspkg-one", requires_python=">=3.9")
    missing = run("status", script, "--json")
    assert missing.code == 0
    assert missing.json == {
        "schema": 1,
        "source": str(script),
        "state": "missing",
        "reason": missing.json["reason"],
        "environment": None,
        "declared": {
            "requires_python": ">=3.9",
            "dependencies": ["alpha<2", "nspkg-one"],
            "installed": [None, None],
        },
        "installed": [],
        "drift": [],
        "undeclared_imports": [],
        "pending": None,
        "kernelspec": None,
        "kernel_mode": None,
        "in_use": False,
        "warnings": [],
    }
    synced = run("sync", script, "--json").json
    assert run("status", script, "--json").json == missing.json | {
        "state": "in-sync",
        "reason": "",
        "environment": synced["environment"],
        "declared": missing.json["declared"] | {"installed": ["1.1", "1.0"]},
        "installed": [
            {"name": "alpha", "version": "1.1"},
            {"name": "nspkg-one", "version": "1.0"},
        ],
        "kernelspec": synced["kernelspec"],
        "kernel_mode": "layer",
    }


def test_status_and_list_tell_the_states(run: Run, lean_home: Home, script: Path) -> None:
    def state() -> str:
        found = run("status", script, "--json").json
        assert bool(found["reason"]) == (found["state"] != "in-sync")
        return str(found["state"])

    def listed() -> dict[str, Any]:
        (found,) = run("list", "--json").json["environments"]
        assert isinstance(found, dict)
        return found

    assert (state(), run("list", "--json").json["environments"]) == ("missing", [])
    start(script)
    assert (state(), listed()["state"]) == ("stale", "stale")
    synced = sync(script)
    assert (state(), listed()["state"]) == ("in-sync", "in-sync")
    write_script(script, "beta", code="print(1)\n")
    assert (state(), listed()["state"]) == ("in-sync", "changed")
    write_script(script, "alpha<2")
    assert (state(), listed()["state"]) == ("stale", "changed")
    with running_kernel(lean_home.scriptenv, synced.name, imported=["alpha/__init__.py"]):
        refused = run("sync", script, "--json")
        assert refused.json["error"]["code"] == "environment-in-use"
        assert (state(), listed()["state"]) == ("pending", "pending")
        assert run("status", script, "--json").json["in_use"] is True
        assert listed()["in_use"] is True
    assert "alpha<2" in run("status", script, "--json").json["pending"]
    (synced.path / CHANGING).touch()
    assert (state(), listed()["state"]) == ("broken", "broken")
    sync(script)
    script.unlink()
    assert listed()["state"] == "orphan"


def test_status_of_a_changed_requires_python_is_stale(run: Run, script: Path) -> None:
    sync(script)
    write_script(script, "beta", requires_python=">=3.99")
    assert run("status", script, "--json").json["state"] == "stale"


def test_list_tells_all_about_each_environment(run: Run, script: Path) -> None:
    synced = sync(script)
    other = start(write_script(script.with_name("b.py")))
    environments.start(EPHEMERAL, context=Context())
    listed = run("list", "--json")
    assert listed.code == 0
    assert [each["name"] for each in listed.json["environments"]] == sorted(
        [synced.name, other.name]
    )
    first = listed.json["environments"][0]
    assert first == {
        "name": synced.name,
        "path": str(synced.path),
        "source": str(script),
        "state": "in-sync",
        "python_version": HOST,
        "created": first["created"],
        "last_used": first["last_used"],
        "in_use": False,
        "kernelspec": f"scriptenv-{synced.name}",
        "packages": 2,
        "bytes": None,
    }
    assert TIME.fullmatch(first["created"])
    assert TIME.fullmatch(first["last_used"])


@pytest.mark.parametrize("text", ["{", '{"schema": 2}', ""])
def test_list_tells_of_records_that_cannot_be_read(run: Run, script: Path, text: str) -> None:
    environment = sync(script).path
    (environment / RECORD).write_text(text)
    (listed,) = run("list", "--json").json["environments"]
    assert listed["state"] == "broken"
    assert {listed[key] for key in ("source", "python_version", "created", "last_used")} == {None}
    assert environment.name in run("list").out


@pytest.mark.usefixtures("home")
def test_list_of_nothing(run: Run) -> None:
    assert run("list", "--json").json == {"schema": 1, "environments": []}
    assert run("list").out == "There are no environments yet.\n"


def test_texts_for_people_tell_the_same(run: Run, script: Path) -> None:
    synced = run("sync", script)
    environment = environment_of(script)
    assert " + alpha 2.0\n" in synced.out
    assert str(environment) in synced.out
    assert "Resolved 2 packages" in synced.err
    status = run("status", script).out
    assert re.search(r"^state +in-sync$", status, re.MULTILINE)
    assert re.search(r"^installed +alpha 2\.0, beta 1\.0$", status, re.MULTILINE)
    listed = run("list").out.splitlines()
    assert listed[0].split() == [
        "NAME",
        "STATE",
        "PYTHON",
        "PACKAGES",
        "LAST",
        "USED",
        "IN",
        "USE",
        "SOURCE",
    ]
    assert listed[1].split()[:4] == [environment.name, "in-sync", HOST, "2"]
    assert listed[1].split()[5:] == ["no", str(script)]


# execute


def executed(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def write_cells(path: Path, *cells: nbformat.NotebookNode) -> Path:
    nbformat.write(nbformat.v4.new_notebook(cells=[*cells]), path)
    return path


def code(source: str, **more: Any) -> Any:
    return nbformat.v4.new_code_cell(source, **more)


@pytest.fixture
def notebook(offline_home: Home, tmp_path: Path) -> Path:  # noqa: ARG001 - it sets the stage
    folder = tmp_path / "work"
    folder.mkdir()
    return folder / "a.ipynb"


def test_execute_runs_a_notebook_in_its_own_environment(run: Run, notebook: Path) -> None:
    write_cells(
        notebook,
        nbformat.v4.new_markdown_cell("# Title"),
        code(commented('dependencies = ["alpha<2"]')),
        code("import alpha, sys, os\nprint(alpha.__version__, sys.prefix, os.getcwd())"),
        code("import time\nprint('in', end='', flush=True)\ntime.sleep(0.5)\nprint(' pieces')"),
    )
    before = notebook.read_bytes()
    found = run("execute", notebook, "--json")
    assert found.code == 0, found
    assert found.json == {
        "schema": 1,
        "notebook": str(notebook),
        "output": None,
        "cells": 3,
        "failed_cell": None,
        "error": None,
    }
    assert notebook.read_bytes() == before
    assert [*notebook.parent.iterdir()] == [notebook]
    output = notebook.parent.parent / "out.ipynb"
    output.write_text("what stood there")
    shown = run("execute", notebook, "-o", output)
    assert (shown.code, notebook.read_bytes()) == (0, before)
    expected = f"1.1 {environment_of(notebook)} {notebook.parent}\n"
    assert shown.out == f"{expected}in pieces\n"
    told = [[each.text for each in cell.outputs] for cell in executed(output).cells[2:]]
    assert told == [[expected], ["in pieces\n"]]
    assert executed(output).cells[1].outputs == []


def test_execute_writes_into_the_notebook_itself_unless_it_was_saved_meanwhile(
    run: Run, notebook: Path
) -> None:
    write_cells(notebook, code("print(1)"))
    notebook.chmod(0o640)
    assert run("execute", notebook, "-o", notebook).code == 0
    assert executed(notebook).cells[0].outputs[0].text == "1\n"
    assert notebook.stat().st_mode & 0o777 == 0o640
    write_cells(notebook, code(f"open({str(notebook)!r}, 'a').write(' ')"))
    saved = notebook.read_bytes() + b" "
    refused = run("execute", notebook, "-o", notebook)
    assert refused.code == 1
    assert "was changed by somebody else" in refused.err
    assert notebook.read_bytes() == saved
    assert [*notebook.parent.iterdir()] == [notebook]


def test_execute_of_a_notebook_with_two_blocks_runs_no_cell(tmp_path: Path) -> None:
    block = commented(block_of())
    path = write_notebook(tmp_path / "nb.ipynb", f"{block}print('ran')", block)
    done = call("execute", path)
    assert done.returncode == 2
    assert "2 blocks" in done.stderr
    assert "ran" not in done.stdout


def test_execute_tells_which_cell_failed(run: Run, notebook: Path) -> None:
    """Cells are counted from 1 over all; what was saved by an earlier run does not count."""
    stale = nbformat.v4.new_output("error", ename="Stale", evalue="", traceback=[])
    write_cells(
        notebook,
        nbformat.v4.new_markdown_cell("# Title"),
        code("print('first')", execution_count=5, outputs=[stale]),
        code("1 / 0", execution_count=6),
        code("print('never')", execution_count=7),
    )
    output = notebook.with_name("out.ipynb")
    found = run("execute", notebook, "-o", output, "--json")
    assert found.code == 1
    assert "ZeroDivisionError" in found.json["error"]
    assert "\x1b" not in found.json["error"]
    told = {key: found.json[key] for key in ("output", "cells", "failed_cell")}
    assert told == {"output": str(output), "cells": 2, "failed_cell": 3}
    assert executed(output).cells[2].outputs[0].ename == "ZeroDivisionError"


def test_execute_keeps_what_ran_before_the_kernel_ended(run: Run, notebook: Path) -> None:
    write_cells(notebook, code("print('first')"), code("import os; os.kill(os.getpid(), 9)"))
    output = notebook.with_name("out.ipynb")
    found = run("execute", notebook, "-o", output)
    assert found.code == 1
    assert "The kernel ended" in found.err
    assert executed(output).cells[0].outputs[0].text == "first\n"


def test_execute_starts_its_kernel_again_where_a_port_was_taken_meanwhile(
    run: Run, notebook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the choice of the ports and the kernel's start, another program was quicker."""
    write_cells(notebook, code("print('ran')"))
    find, found, for_one = LocalPortCache.find_available_port, 0, 5

    def find_or_lose(cache: LocalPortCache, ip: str) -> int:
        nonlocal found
        found += 1
        return taken if found in lost else find(cache, ip)

    monkeypatch.setattr(LocalPortCache, "find_available_port", find_or_lose)
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken, lost = server.getsockname()[1], {1}
        assert run("execute", notebook).out == "ran\n"
        found, lost = 0, {1, 1 + for_one}
        failed = run("execute", notebook)
    assert failed.code == 1
    assert "ended before it could run a cell" in failed.err


def test_execute_runs_nothing_where_its_output_could_not_be_written(
    run: Run, notebook: Path
) -> None:
    write_cells(notebook, code("open('ran', 'w')"))
    refused = run("execute", notebook, "-o", notebook.parent / "no" / "out.ipynb")
    assert refused.code == 2
    assert f"The folder `{notebook.parent / 'no'}` does not exist." in refused.err
    assert not (notebook.parent / "ran").exists()


def test_execute_tells_which_cell_failed_behind_one_that_may(run: Run, notebook: Path) -> None:
    may_fail = code("1 / 0", metadata={"tags": ["raises-exception"]})
    write_cells(notebook, may_fail, code("'a' + 1"))
    found = run("execute", notebook, "--json").json
    assert "TypeError" in found["error"]
    assert found["failed_cell"] == 2


def test_execute_tells_a_failed_resolution_as_the_failure_of_its_cell(
    run: Run, notebook: Path
) -> None:
    write_cells(notebook, code(commented('dependencies = ["alpha>=3"]', "print('never')")))
    found = run("execute", notebook)
    assert found.code == 1
    assert "never" not in found.out.replace("print('never')", "")
    assert "No solution found" in found.out


# Errors


def not_found(script: Path) -> Sequence[str | Path]:
    script.unlink()
    return ("status", script)


def not_a_source(script: Path) -> Sequence[str | Path]:
    return ("sync", script.parent)


def a_device(_script: Path) -> Sequence[str | Path]:
    return ("sync", "/dev/null")


def a_binary(script: Path) -> Sequence[str | Path]:
    script.write_bytes(b"\x7fELF\0\0")
    return ("sync", script)


def no_text(script: Path) -> Sequence[str | Path]:
    script.write_bytes(b"print(1)\n\xff\n")
    return ("sync", script)


def no_json(script: Path) -> Sequence[str | Path]:
    path = script.with_suffix(".ipynb")
    path.write_text("print(1)")
    return ("sync", path)


def an_old_notebook(script: Path) -> Sequence[str | Path]:
    path = script.with_suffix(".ipynb")
    path.write_text('{"nbformat": 3, "worksheets": []}')
    return ("status", path)


def a_script_to_execute(script: Path) -> Sequence[str | Path]:
    return ("execute", script)


def unclosed(script: Path) -> Sequence[str | Path]:
    script.write_text("# /// script\n# dependencies = []\n")
    return ("sync", script)


def two_blocks(script: Path) -> Sequence[str | Path]:
    script.write_text(commented("", "\n") + commented(""))
    return ("sync", script)


def two_cells(script: Path) -> Sequence[str | Path]:
    path = script.with_suffix(".ipynb")
    return ("sync", write_notebook(path, commented("a = 1"), "1", commented("b = 1")))


def bad_toml(script: Path) -> Sequence[str | Path]:
    script.write_text(commented("dependencies = ["))
    return ("status", script)


def bad_shape(script: Path) -> Sequence[str | Path]:
    script.write_text(commented('dependencies = "alpha"'))
    return ("sync", script)


def bad_requirement(script: Path) -> Sequence[str | Path]:
    path = script.with_suffix(".ipynb")
    block = commented('dependencies = [\n  "alpha",\n  "1 2",\n]\nrequires-python = "x"')
    return ("status", write_notebook(path, "1", block))


def wrong_verb(_script: Path) -> Sequence[str | Path]:
    return ("no-such-verb",)


def no_argument(_script: Path) -> Sequence[str | Path]:
    return ("sync",)


def wrong_option(script: Path) -> Sequence[str | Path]:
    return ("sync", script, "--no-such-option")


def too_many_arguments(script: Path) -> Sequence[str | Path]:
    return ("find", script, script)


def empty_name(_script: Path) -> Sequence[str | Path]:
    return ("find", "")


def no_environment(script: Path) -> Sequence[str | Path]:
    return ("find", script)


def a_broken_environment(script: Path) -> Sequence[str | Path]:
    (sync(script).path / CHANGING).touch()
    return ("find", script)


def no_python(script: Path) -> Sequence[str | Path]:
    return ("sync", write_script(script, requires_python=">=3.99"))


def no_python_by_request(script: Path) -> Sequence[str | Path]:
    return ("sync", script, "--python", "3.99")


def resolution_failed(script: Path) -> Sequence[str | Path]:
    return ("sync", write_script(script, "conflict-a", "conflict-b"))


def offline(script: Path) -> Sequence[str | Path]:
    return ("sync", write_script(script, "no-such-package"))


def damaged_wheel(folder: Path) -> Path:
    """Write a wheel whose metadata can be read and whose content cannot."""
    damaged = build.Distribution(name="damaged", version="1.0")
    wheel = folder / damaged.wheel_name
    content = build._wheel(damaged)
    wheel.write_bytes(content.replace(b"__version__ =", b"__VERSION__ ="))
    return wheel


def install_failed(script: Path) -> Sequence[str | Path]:
    damaged_wheel(script.parent)
    return ("sync", write_script(script, "damaged", uv='find-links = ["."]'))


def install_failed_by_path(script: Path) -> Sequence[str | Path]:
    wheel = damaged_wheel(script.parent)
    return ("sync", write_script(script, f"damaged @ ./{wheel.name}"))


def engine(script: Path) -> Sequence[str | Path]:
    return ("sync", write_script(script, "alpha", uv="no-such-setting = 1"))


def newer_schema(script: Path) -> Sequence[str | Path]:
    (sync(script).path / RECORD).write_text('{"schema": 2}')
    return ("status", script)


def foreign(script: Path) -> Sequence[str | Path]:
    Context().store.prepare()
    environment_of(script).write_text("")
    return ("sync", script)


def foreign_home(script: Path) -> Sequence[str | Path]:
    Path(os.environ["SCRIPTENV_HOME"]).rename(script.with_name("elsewhere"))
    Path(os.environ["SCRIPTENV_HOME"]).write_text("")
    return ("sync", script)


def permission(script: Path) -> Sequence[str | Path]:
    """Root may do much, but not this: a link is never opened as a lock."""
    lock = Context().store.lock(environment_of(script).name)
    lock.symlink_to(script)
    return ("sync", script)


ERRORS = [
    ("not-found", 2, not_found),
    ("not-a-source", 2, not_a_source),
    ("not-a-source", 2, a_device),
    ("not-a-source", 2, a_binary),
    ("not-a-source", 2, no_text),
    ("not-a-notebook", 2, no_json),
    ("not-a-notebook", 2, an_old_notebook),
    ("not-a-notebook", 2, a_script_to_execute),
    ("unclosed", 2, unclosed),
    ("duplicate", 2, two_blocks),
    ("duplicate", 2, two_cells),
    ("bad-block", 2, bad_toml),
    ("bad-block", 2, bad_shape),
    ("bad-requirement", 2, bad_requirement),
    ("wrong-call", 2, wrong_verb),
    ("wrong-call", 2, no_argument),
    ("wrong-call", 2, wrong_option),
    ("wrong-call", 2, too_many_arguments),
    ("wrong-call", 2, empty_name),
    ("no-environment", 1, no_environment),
    ("no-environment", 1, a_broken_environment),
    ("no-python", 1, no_python),
    ("no-python", 1, no_python_by_request),
    ("resolution-failed", 1, resolution_failed),
    ("install-failed", 1, install_failed),
    ("install-failed", 1, install_failed_by_path),
    ("offline", 1, offline),
    ("newer-schema", 1, newer_schema),
    ("foreign", 1, foreign),
    ("foreign", 1, foreign_home),
    ("permission", 1, permission),
    ("engine", 1, engine),
]


@pytest.mark.parametrize(("name", "exit_code", "provoke"), ERRORS)
def test_every_error_has_its_code_and_exit_code(
    *,
    run: Run,
    script: Path,
    name: str,
    exit_code: int,
    provoke: Callable[[Path], Sequence[str | Path]],
) -> None:
    words = provoke(script)
    told = run(*words, "--json")
    assert told.code == exit_code
    assert told.json.keys() == {"schema", "error"}
    error = told.json["error"]
    assert error["code"] == name
    assert error.keys() == {"code", "message", "hint", "problems"}
    assert error["message"]
    assert isinstance(error["hint"], str)
    for problem in error["problems"]:
        assert problem.keys() == {"cell", "line", "key", "message"}
    shown = run(*words)
    assert (shown.code, shown.out) == (exit_code, "")
    assert "\x1b" not in shown.err
    if name != "wrong-call":
        assert f"error: {error['message']}" in shown.err
        assert f"hint: {error['hint']}" in shown.err or not error["hint"]
        assert error["hint"] or name == "engine"


def test_all_problems_of_a_block_are_told_with_their_places(run: Run, script: Path) -> None:
    told = run(*bad_requirement(script), "--json").json["error"]["problems"]
    places = [(problem["cell"], problem["line"], problem["key"]) for problem in told]
    assert sorted(places) == [(2, 4, "dependencies[1]"), (2, 6, "requires-python")]
    assert "cell 2, line 4, dependencies[1]: " in run(*bad_requirement(script)).err


def test_two_blocks_are_told_by_their_cells(run: Run, script: Path) -> None:
    told = run(*two_cells(script), "--json").json["error"]["problems"]
    assert [problem["cell"] for problem in told] == [1, 3]


def test_an_environment_in_use_is_an_error_that_names_the_process(
    run: Run, lean_home: Home, script: Path
) -> None:
    synced = sync(script)
    write_script(script, "alpha<2")
    with running_kernel(lean_home.scriptenv, synced.name, imported=["beta/__init__.py"]):
        told = run("sync", script, "--json")
    assert (told.code, told.json["error"]["code"]) == (1, "environment-in-use")
    assert f"process {os.getpid()}" in told.json["error"]["message"]


def test_a_lock_that_is_held_too_long_is_an_error(
    run: Run, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Context().store.lock(sync(script).name)
    monkeypatch.setenv("SCRIPTENV_LOCK_TIMEOUT", "1.1")
    with exclusively_held(lock):
        told = run("sync", script, "--json")
        assert (told.code, told.json["error"]["code"]) == (1, "lock-timeout")
        assert "Waiting for another change" in run("sync", script).err


def test_an_interrupt_is_an_error(script: Path) -> None:
    lock = Context().store.lock(sync(script).name)
    with exclusively_held(lock):
        process = subprocess.Popen(
            [*PROGRAM, "sync", script, "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        assert "Waiting" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert json.loads(out)["error"]["code"] == "interrupted"


def test_status_of_a_block_that_cannot_be_read_says_so_although_an_environment_stands(
    run: Run, script: Path
) -> None:
    sync(script)
    script.write_text(commented("dependencies = ["))
    assert run("status", script, "--json").code == 2


# What reaches a terminal


def test_control_characters_of_a_name_reach_no_terminal(run: Run, script: Path) -> None:
    nasty = script.with_name("a\x1b]0;title\x07\x1b[31m\r\nb.py")
    script.rename(nasty)
    shown = [run("status", nasty), run("sync", nasty), run("status", nasty), run("list")]
    shown += [run("find", nasty), run("sync", nasty, "--python", "3.\x1b[31m99")]
    nasty.write_text(commented('dependencies = ["\\u001b[31m"]\nx = 1'))
    shown += [run("status", nasty)]
    nasty.unlink()
    shown += [run("status", nasty), run("\x1b[31m"), run("list", "--\x1b[31m")]
    for each in shown:
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", each.out + each.err), each
    assert "\\x1b[31m" in shown[0].out


def test_a_name_that_is_no_text_can_be_shown(run: Run, script: Path) -> None:
    odd = script.with_name(os.fsdecode(b"\xff.py"))
    try:
        script.rename(odd)
    except OSError:
        pytest.skip("the file system takes text alone")
    for words in (("sync", odd), ("status", odd), ("list",), ("find", odd.with_name("x"))):
        assert run(*words).code in {0, 2}
    assert run("sync", odd, "--json").json["source"] == str(odd)


def on_a_terminal(*words: str | Path) -> str:
    main, other = pty.openpty()
    with subprocess.Popen([*PROGRAM, *words], stdout=other, stderr=other) as process:
        os.close(other)
        shown = b""
        # Linux ends the reading of a terminal that nobody writes to any more with an error.
        while True:
            try:
                read = os.read(main, 4096)
            except OSError:
                break
            if not read:
                break
            shown += read
        process.wait()
    os.close(main)
    return shown.decode()


def test_colours_are_for_terminals_alone(script: Path) -> None:
    assert "\x1b[31m\x1b[1merror" in on_a_terminal("find", script)
    assert "\x1b" not in call("find", script).stderr


def test_a_reader_that_goes_away_is_no_error(script: Path) -> None:
    sync(script)
    with subprocess.Popen(
        [*PROGRAM, "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""


# The three ways in


@pytest.mark.usefixtures("home")
def test_the_three_ways_in_are_the_same() -> None:
    programs = (
        [sys.executable, "-m", "ipy_scriptenv"],
        ["jupyter-scriptenv"],
        ["jupyter", "scriptenv"],
    )
    for words, code in (
        (["--version"], 0),
        (["list", "--json"], 0),
        (["find", "no-such-file", "--json"], 2),
        (["no-such-verb"], 2),
    ):
        answers = [
            subprocess.run([*program, *words], check=False, capture_output=True, text=True)
            for program in programs
        ]
        assert {each.returncode for each in answers} == {code}
        assert len({(each.stdout, each.stderr) for each in answers}) == 1


@pytest.mark.parametrize("verb", [None, *VERBS])
def test_help_reads_well(run: Run, verb: str | None) -> None:
    words = [] if verb is None else [verb]
    helped = run(*words, "--help")
    assert (helped.code, helped.err) == (0, "")
    assert helped.out.startswith(f"Usage: jupyter scriptenv {' '.join(words)}")
    assert max(map(len, helped.out.splitlines())) <= 100
    assert run(*words, "-h").out == helped.out
    expected = VERBS if verb is None else ("--json",)
    assert all(word in helped.out for word in expected)


def test_no_verb_is_described_by_half_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told = call("--help").stdout
    assert max(map(len, told.splitlines())) <= 80
    listed = told.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert len(listed) == len(cli.command_line.commands)
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


def test_the_version_is_told(run: Run) -> None:
    assert run("--version").out == f"jupyter-scriptenv, version {__version__}\n"


def test_heavy_modules_are_imported_only_where_they_are_used() -> None:
    heavy = ("IPython", "ipykernel", "jupyter_client", "nbclient", "nbformat", "zmq")
    question = (
        f"import sys, ipy_scriptenv.cli; print([each for each in {heavy} if each in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", question], check=True, capture_output=True, text=True
    )
    assert answer.stdout == "[]\n"
