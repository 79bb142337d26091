"""The contract, *Which Python?*: rows that ``test_python_choice.py`` leaves open."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from ipy_scriptenv import processes
from ipy_scriptenv.errors import NoPython
from ipy_scriptenv.record import Python
from tests.conftest import Home
from tests.stage import (
    pretend_layer,
    record_of,
    running_kernel,
    start,
    sync,
    throw_away_base,
    write_script,
)

HOST = f"{sys.version_info[0]}.{sys.version_info[1]}"

Verb = Callable[[Path], Python]


@pytest.fixture(autouse=True)
def home(lean_home: Home, pythons: dict[str, Path]) -> Home:
    """Pretend that there are layers for all Pythons: which one is chosen is what is looked at."""
    for minor, python in pythons.items():
        if minor != HOST:
            pretend_layer(lean_home.scriptenv, python)
    return lean_home


@pytest.fixture
def others(pythons: dict[str, Path]) -> list[str]:
    """Name two Pythons that are not the host's."""
    found = sorted((minor for minor in pythons if minor != HOST), key=Version)
    if len(found) < 2:
        pytest.skip(f"there are no two other Pythons than {HOST}")
    return found[-2:]


@pytest.fixture
def script(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder / "a.py"


def at_start(path: Path) -> Python:
    return record_of(start(path).path).python


def at_sync(path: Path) -> Python:
    return sync(path).record.python


BOTH = pytest.mark.parametrize("verb", [at_start, at_sync])


# 1. `--python` of this call, 3. the request of an earlier one


def test_which_python_1_the_request_of_this_call_comes_before_an_earlier_one(
    script: Path, others: list[str]
) -> None:
    write_script(script, requires_python=">=3.9")
    for minor in (*others, others[0]):
        python = sync(script, python=minor).record.python
        assert (python.minor, python.request) == (minor, minor)


@BOTH
def test_which_python_3_an_earlier_request_is_kept_until_it_contradicts_requires_python(
    script: Path, others: list[str], verb: Verb
) -> None:
    """From then on it is forgotten: it does not come back when nothing contradicts it any more."""
    minor = others[0]
    sync(write_script(script), python=minor)
    write_script(script, requires_python=f">={minor}")
    assert (verb(script).minor, verb(script).request) == (minor, minor)
    write_script(script, requires_python=f"!={minor}.*")
    assert verb(script).request is None
    write_script(script, requires_python=">=3.9")
    assert (verb(script).minor, verb(script).request) == (HOST, None)


# 4. the interpreter of the host


@BOTH
def test_which_python_4_the_host_s_is_the_one_behind_its_virtual_environment(
    script: Path, verb: Verb
) -> None:
    base = verb(write_script(script)).base
    question = "import sys; print(sys.prefix == sys.base_prefix, sys.version_info[:2])"
    told = subprocess.run([base, "-I", "-c", question], capture_output=True, text=True, check=True)
    assert told.stdout == f"True {sys.version_info[:2]}\n"


# Only CPython 3.9 and newer is taken


@pytest.mark.parametrize(
    ("implementation", "version"),
    [("pypy", "3.11.9"), ("graalpy", "3.12.1"), ("cpython", "3.8.18")],
)
def test_only_cpython_3_9_and_newer_is_taken(
    script: Path, tmp_path: Path, implementation: str, version: str
) -> None:
    python = tmp_path / "python"
    answer = f'["{version}", "{implementation}", ".so", "x86_64", true]'
    python.write_text(f"#!/bin/sh\necho '{answer}'\n")
    python.chmod(0o755)
    with pytest.raises(NoPython) as refused:
        sync(write_script(script), python=str(python))
    assert f"{implementation} {version}" in str(refused.value)
    assert "CPython 3.9" in str(refused.value)


def test_a_python_older_than_3_9_is_not_taken_by_its_version_either(script: Path) -> None:
    """There may be one on this machine."""
    for request in ("3.8", "python3.8", "2.7", "<3.9"):
        with pytest.raises(NoPython):
            sync(write_script(script), python=request)


# An interpreter that was upgraded at its place


@BOTH
def test_an_interpreter_that_was_upgraded_at_its_place_is_asked_again_and_built_anew(
    *, script: Path, tmp_path: Path, pythons: dict[str, Path], others: list[str], verb: Verb
) -> None:
    old, new = others
    python = tmp_path / "current" / "python"
    python.parent.mkdir()
    python.symlink_to(pythons[old])
    first = sync(write_script(script, "beta"), python=str(python))
    assert first.record.python.minor == old
    before = first.path.stat().st_ino
    python.unlink()
    python.symlink_to(pythons[new])
    found = verb(script)
    assert (found.minor, found.base, found.request) == (new, str(python), str(python))
    assert first.path.stat().st_ino != before
    question = "import sys; print('%d.%d' % sys.version_info[:2])"
    told = subprocess.run(
        [first.path / "bin" / "python", "-c", question], capture_output=True, text=True, check=True
    )
    assert told.stdout == f"{new}\n"


@BOTH
def test_an_interpreter_that_has_the_same_version_after_an_upgrade_keeps_its_environment(
    script: Path, tmp_path: Path, verb: Verb
) -> None:
    python = throw_away_base(tmp_path / "base")
    first = sync(write_script(script, "beta"), python=str(python))
    before = first.path.stat().st_ino
    os.utime(python, (1, 1))
    assert verb(script) == first.record.python
    assert first.path.stat().st_ino == before


# The user's and the system's configuration of uv


@pytest.fixture(params=["the user's", "the system's"])
def configure(
    request: pytest.FixtureRequest, home: Home, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], None]:
    """Give a function that writes a configuration of uv."""
    folder = home.path / "config"
    if request.param == "the system's":
        folder = home.path / "system"
        monkeypatch.setenv("XDG_CONFIG_DIRS", str(folder))

    def write(text: str) -> None:
        (folder / "uv").mkdir(parents=True)
        (folder / "uv" / "uv.toml").write_text(text)

    return write


def test_the_configuration_of_uv_counts_in_a_sync_and_not_before_a_cell_runs(
    *,
    home: Home,
    script: Path,
    others: list[str],
    configure: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether it is the user's or the system's: both wants only interpreters that uv installed."""
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(home.path / "none"))
    configure('python-preference = "only-managed"\npython-downloads = "never"\n')
    minor = others[-1]
    write_script(script, requires_python=f"=={minor}.*")
    with pytest.raises(NoPython):
        sync(script)
    assert at_start(script).minor == minor


@pytest.fixture
def mirror(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Have uv fetch interpreters from a server that has none; give what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.delenv("UV_OFFLINE")
    monkeypatch.delenv("UV_PYTHON_DOWNLOADS", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("UV_PYTHON_INSTALL_MIRROR", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(home.path / "none"))
    yield asked
    server.shutdown()
    server.server_close()
    thread.join()


def hide_pythons(script: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Leave no Python on this machine for a script that uv could fetch one for."""
    monkeypatch.setenv("PATH", "/nowhere")
    return write_script(script, requires_python=f"!={HOST}.*")


def test_in_a_sync_uv_may_fetch_an_interpreter(
    script: Path, mirror: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_pythons(script, monkeypatch)
    with pytest.raises(NoPython):
        start(script)
    assert mirror == []
    with pytest.raises(NoPython) as refused:
        sync(script)
    assert "none could be fetched" in str(refused.value)
    assert mirror


@pytest.mark.parametrize("allowed", ["never", "manual"])
def test_in_a_sync_uv_may_fetch_an_interpreter_as_far_as_its_configuration_lets_it(
    *,
    script: Path,
    mirror: list[str],
    configure: Callable[[str], None],
    allowed: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """*manual* means: only by the user's own ``uv python install``, which a cell is not."""
    hide_pythons(script, monkeypatch)
    configure(f'python-downloads = "{allowed}"\n')
    with pytest.raises(NoPython):
        sync(script)
    assert mirror == []


# Where uv runs, and what it may write to


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of uv."""

    words: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]

    def option(self, name: str) -> str:
        return self.words[self.words.index(name) + 1]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Give all calls of uv that this process makes from now on."""
    made: list[Call] = []
    run = processes.run

    def listening(argv: Sequence[str], **options: Any) -> processes.Finished:
        if Path(argv[0]).stem == "uv":
            made.append(Call(words=tuple(argv[1:]), cwd=options["cwd"], env=options["env"]))
        return run(argv, **options)

    monkeypatch.setattr(processes, "run", listening)
    return made


def test_no_call_of_uv_that_can_write_targets_an_interpreter_outside_our_folder(
    *, home: Home, script: Path, others: list[str], calls: list[Call]
) -> None:
    """Making, completing, changing in place, repairing, building anew; uv runs in our folder."""
    start(write_script(script, "alpha<2"))
    environment = sync(script).path
    write_script(script, "alpha<2", "nspkg-one")
    with running_kernel(home.scriptenv, environment.name):
        sync(script)
    (environment / "pyvenv.cfg").unlink()
    sync(script)
    (environment / "bin" / "python").unlink()
    start(script)
    sync(script, python=others[0])
    sync(script, python=f"python{others[1]}")

    def is_ours(path: str) -> bool:
        return Path(path).is_relative_to(home.scriptenv)

    verbs = {call.words[0] for call in calls}
    assert verbs == {"venv", "sync", "python"}, "another one has to be looked at here"
    assert all(call.cwd.is_relative_to(home.scriptenv) for call in calls)
    for call in calls:
        if call.words[0] == "venv":
            assert is_ours(call.words[-1]), call
            assert Path(call.option("--python")).is_absolute(), call
        elif call.words[0] == "sync":
            assert is_ours(call.option("--python")), call
            assert is_ours(call.option("--script")), call
            assert is_ours(call.env["VIRTUAL_ENV"]), call
            assert "--active" in call.words
        else:
            assert call.words[1] in ("list", "find"), call


def test_before_a_cell_runs_pythons_are_looked_for_without_project_configuration_or_download(
    *, script: Path, others: list[str], calls: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By range, and by a name that an earlier ``--python`` gave."""
    environment = sync(write_script(script), python=f"python{others[1]}").path
    record = environment / "scriptenv.json"
    record.write_text(record.read_text().replace(f'"{record_of(environment).python.base}"', '"/x"'))
    monkeypatch.setenv("PATH", "bin", prepend=os.pathsep)
    monkeypatch.setenv("UV_PYTHON", "3.99")
    monkeypatch.setenv("UV_PROJECT", str(script.parent))
    calls.clear()
    assert at_start(script).minor == others[1]
    start(write_script(script.with_name("b.py"), requires_python=f"=={others[0]}.*"))
    found = [call for call in calls if call.words[0] == "python"]
    assert {call.words[1] for call in found} == {"find", "list"}
    for call in found:
        assert {"--no-config", "--no-python-downloads"} <= set(call.words)
        assert call.words[1] == "list" or {"--no-project", "--system"} <= set(call.words)
        assert all(Path(entry).is_absolute() for entry in call.env["PATH"].split(os.pathsep))
        assert not {"UV_PYTHON", "UV_PROJECT", "VIRTUAL_ENV"} & set(call.env)
