"""The contract, *While kernels run* and *Before a cell runs*: rows that no other test names."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import inspect
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from uv import find_uv_bin

from ipy_scriptenv import environments, processes
from ipy_scriptenv.environments import Asker, Context
from ipy_scriptenv.environments.tools import run_tool
from ipy_scriptenv.errors import EnvironmentInUse, LockTimeout, RestartNeeded, ScriptEnvError
from ipy_scriptenv.interpreters import host_python
from ipy_scriptenv.kernel_side.live import LiveLock
from ipy_scriptenv.kernels.layer import find_layer, layer_name
from ipy_scriptenv.locks import is_held
from tests.conftest import Home, Layers
from tests.index.build import Distribution, hash_locked
from tests.kernels import (
    Kernel,
    block,
    environment_of,
    install_generic,
    online,
    opened,
    pip_list,
    unasked,
    wait_until,
    wheel,
    write_notebook,
)
from tests.kernels import record_of as json_record_of
from tests.kernels import started as started_kernel
from tests.rounds.replace_rounds import EXPECTED, MINOR, first_cell, with_console
from tests.stage import (
    block_of,
    call,
    exclusively_held,
    installed,
    pretend_layer,
    record_of,
    running_kernel,
    start,
    sync,
    write_script,
)

HOST = f"{sys.version_info[0]}.{sys.version_info[1]}"
ALPHA = "alpha/__init__.py"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a notebook on disk that declares nothing."""
    return write_notebook(tmp_path / "work" / "nb.ipynb", "")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder / "a.py"


@pytest.fixture
def other(home: Home, layers: Layers, pythons: dict[str, Path]) -> str:
    """Give the minor version of another Python than the host's, whose layer stands."""
    if MINOR not in pythons:
        pytest.skip(f"there is no Python {MINOR}")
    layers.link(home, pythons[MINOR])
    return MINOR


def lock_of(home: Home, environment: Path) -> Path:
    return home.scriptenv / "locks" / f"{environment.name}.lock"


def live(home: Home, environment: Path) -> Path:
    return home.scriptenv / "locks" / f"{environment.name}.kernels"


def ran(kernel: Kernel, name: str) -> bool:
    """Say whether a variable is there; asked as no user does, so that nothing is synced."""
    return kernel.execute(f"assert {name!r} in globals()", silent=True).status == "ok"


# Locks


def test_locks_the_exclusive_one_is_held_by_start_sync_and_every_other_change_and_uv_inherits_it(
    lean_home: Home, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making, completing, changing in place, repairing, and the kernel's own ``pip``."""
    environment = environment_of(lean_home, write_script(script, "alpha<2"))
    lock = lock_of(lean_home, environment)
    seen: list[str] = []

    def listening(run: Callable[..., Any], argv: Sequence[str], **options: Any) -> Any:
        verb = Path(argv[0]).stem == "uv" and argv[1]
        if verb in ("venv", "sync", "pip"):
            seen.append(str(verb))
            assert is_held(lock), argv
            (descriptor,) = options["inherit"]
            assert os.fstat(descriptor).st_ino == lock.stat().st_ino, argv
        return run(argv, **options)

    for name in ("run", "run_visibly"):
        door = getattr(processes, name)
        monkeypatch.setattr(
            processes, name, lambda argv, door=door, **options: listening(door, argv, **options)
        )
    start(script)
    sync(script)
    write_script(script, "alpha<2", "nspkg-one")
    with running_kernel(lean_home.scriptenv, environment.name):
        sync(script)
    (environment / "pyvenv.cfg").unlink()
    start(script)
    assert run_tool(environment, "pip", ["install", "nspkg-two"]) == 0
    assert set(seen) == {"venv", "sync", "pip"}
    assert not is_held(lock)


def test_locks_of_kernels_are_one_for_each_for_its_life_and_tell_process_layer_imports_and_busy(
    offline_home: Home, path: Path
) -> None:
    """*In use* means that one of these is locked."""
    environment = sync(write_notebook(path, block("alpha==1.0", "beta"))).path
    layer = json_record_of(environment)["kernel"]
    folder = live(offline_home, environment)

    def told() -> dict[int, dict[str, Any]]:
        found = [json.loads(each.read_text()) for each in folder.iterdir() if is_held(each)]
        return {each["pid"]: each for each in found}

    def in_use() -> bool:
        return bool(environments.status(environments.locate(path), context=Context()).in_use)

    assert not in_use()
    with opened(offline_home, path) as first, opened(offline_home, path) as second:
        assert set(told()) == {first.pid, second.pid}
        assert first.execute("import alpha").status == "ok"
        assert {each["kernel"] for each in told().values()} == {layer}
        assert told()[first.pid]["imported"] == [ALPHA]
        assert told()[second.pid]["imported"] == []
        request = second.send_code("import time\nprint('now', flush=True)\ntime.sleep(1000)")
        second.wait_for_text(request, "now")
        assert told()[second.pid]["busy"] is True
        assert told()[first.pid]["busy"] is False
        second.interrupt()
        second.collect(request)
        wait_until(lambda: told()[second.pid]["busy"] is False)
        os.kill(first.pid, 9)
        wait_until(lambda: set(told()) == {second.pid})
        assert in_use()
    wait_until(lambda: not in_use())


def test_locks_whoever_reads_what_a_kernel_tells_finds_the_old_or_the_new_and_never_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel of which nothing is known would count as one that has imported nothing."""
    path = tmp_path / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    lock = LiveLock(str(path), descriptor, "layer")
    many, few = [f"package_{number}/__init__.py" for number in range(9)], [ALPHA]
    lock.tell(many)
    seen = []

    def looking(call: Callable[..., Any]) -> Callable[..., Any]:
        def look(*arguments: Any) -> Any:
            done = call(*arguments)
            seen.append(json.loads(path.read_text())["imported"])
            return done

        return look

    with monkeypatch.context() as patch:
        for name in ("write", "ftruncate", "lseek"):
            patch.setattr(os, name, looking(getattr(os, name)))
        lock.tell(few)
        lock.tell(many)
    assert many in seen
    assert all(each in (few, many) for each in seen)

    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        lock.tell(few)
    assert json.loads(path.read_text())["imported"] == many
    os.close(descriptor)


# Changes


GONE = ("bin/python", "scriptenv.json", "pyvenv.cfg")


@pytest.mark.parametrize("damage", ["scriptenv.changing", *GONE])
def test_changes_a_mark_that_is_found_later_and_what_is_gone_mean_build_anew_under_kernels_too(
    lean_home: Home, script: Path, damage: str
) -> None:
    """Such a repair is built beside and renamed, also where a change would go in place."""
    first = sync(write_script(script, "alpha<2"))
    before = first.path.stat().st_ino
    if damage in GONE:
        (first.path / damage).unlink()
    else:
        (first.path / damage).touch()
    write_script(script, "alpha<2", "nspkg-one")
    with running_kernel(lean_home.scriptenv, first.name, imported=[ALPHA]):
        assert sync(script).action == "rebuilt"
    assert first.path.stat().st_ino != before
    assert installed(first.path) == {"alpha==1.1", "nspkg-one==1.0"}
    assert not (first.path / "scriptenv.changing").exists()


# Who is asked to restart?


def test_restart_what_another_kernel_has_imported_is_environment_in_use_naming_its_process(
    offline_home: Home, path: Path
) -> None:
    """To the asking kernel as well; additions of either go in, and what is refused is pending."""
    environment = environment_of(offline_home, write_notebook(path, block("alpha==1.0")))
    with opened(offline_home, path) as first, opened(offline_home, path) as second:
        assert first.execute("import alpha\nmine = 1").status == "ok"
        assert second.execute("mine = 2").status == "ok"
        refused = second.execute(block("alpha==1.1") + "touched = True")
        assert refused.ename == "EnvironmentInUse"
        assert str(first.pid) in refused.traceback
        assert "alpha" in refused.traceback
        assert not ran(second, "touched")
        assert pip_list(environment) == {"alpha": "1.0"}
        assert json_record_of(environment)["pending"] == 'dependencies = ["alpha==1.1"]\n'
        added = second.execute(block("alpha==1.0", "nspkg-one") + "import nspkg.one\nmine")
        assert added.result == "2", added.traceback
        also = first.execute("import nspkg.one\nalpha.__version__, mine")
        assert also.result == "('1.0', 1)", also.traceback


def test_restart_a_kernel_in_which_a_cell_runs_now_may_import_anything_at_any_moment(
    offline_home: Home, path: Path
) -> None:
    write_notebook(path, block("alpha==1.0"))
    environment = environment_of(offline_home, path)
    with opened(offline_home, path) as kernel:
        assert kernel.execute("x = 1").status == "ok"
        request = kernel.send_code("import time\nprint('now', flush=True)\ntime.sleep(1000)")
        kernel.wait_for_text(request, "now")
        write_notebook(path, block("alpha==1.1"))
        told = json.loads(call("sync", path, "--json").stdout)
        assert told["error"]["code"] == "environment-in-use"
        assert str(kernel.pid) in told["error"]["message"]
        # What only adds goes in all the same.
        write_notebook(path, block("alpha==1.0", "nspkg-one"))
        assert json.loads(call("sync", path, "--json").stdout)["action"] == "updated"
        kernel.interrupt()
        assert kernel.collect(request).ename == "KeyboardInterrupt"
        write_notebook(path, block("alpha==1.1", "nspkg-one"))
        assert json.loads(call("sync", path, "--json").stdout)["action"] == "updated"
        assert pip_list(environment) == {"alpha": "1.1", "nspkg-one": "1.0"}


@pytest.fixture
def comms(tmp_path: Path, offline: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Offer an older ``comm``, which every kernel imports from the layer; give its version."""
    version, found = "0.2.2", metadata.distribution("comm")
    files = {
        str(file): Path(str(file.locate())).read_text("utf-8").replace(found.version, version)
        for file in found.files or ()
        if file.suffix == ".py"
    }
    wheel(tmp_path / "wheels", Distribution(name="comm", version=version, files=files))
    monkeypatch.setenv("UV_FIND_LINKS", f"{offline},{tmp_path / 'wheels'}")
    return version


def test_restart_a_loaded_version_of_the_layer_that_is_not_the_locked_one_is_restart_needed(
    offline_home: Home, path: Path, comms: str
) -> None:
    """Although it satisfies the block; before a cell of the user the kernel replaces itself."""
    script = write_script(path.with_name("a.py"), "comm")
    # What other tests have fetched would be taken from the cache, in the newest version.
    command = [find_uv_bin(), "lock", "--quiet", "--no-cache", "--script", str(script)]
    subprocess.run(command, check=True)
    lock = script.with_name("a.py.lock").rename(path.with_name("nb.ipynb.lock"))
    assert f'version = "{comms}"' in lock.read_text()
    code = block("comm") + "import comm\ncomm.__version__"
    with opened(offline_home, path) as kernel:
        assert kernel.execute("mine = 1").status == "ok"
        refused = kernel.execute(code)
        assert refused.ename == "RestartNeeded", refused.result
        assert "comm" in refused.traceback
        assert ran(kernel, "mine")
        kernel.restart()
        assert kernel.execute(code).result == repr(comms)
    path.with_name("fresh.ipynb").write_text(path.read_text())
    lock.rename(path.with_name("fresh.ipynb.lock"))
    with opened(offline_home, path.with_name("fresh.ipynb")) as kernel:
        done = kernel.execute(code)
        assert done.result == repr(comms), done.traceback


@pytest.mark.parametrize("need", ["another Python", "ipykernel inside"])
@pytest.mark.parametrize("fresh", [True, False])
def test_restart_what_needs_another_python_or_kernel_is_environment_in_use_if_others_are_at_home(
    *, lean_home: Home, script: Path, pythons: dict[str, Path], need: str, fresh: bool
) -> None:
    """Pending as well, and nothing is changed; alone, a kernel is asked to restart instead."""
    if MINOR not in pythons:
        pytest.skip(f"there is no Python {MINOR}")
    pretend_layer(lean_home.scriptenv, pythons[MINOR])
    (script.parent / "wheels").mkdir()
    hollow = Distribution(name="ipykernel", version="6.29.5", requires=("traitlets",))
    wheel(script.parent / "wheels", hollow)
    toml = (
        block_of("alpha<2", requires_python=f"=={MINOR}.*")
        if need == "another Python"
        else block_of("alpha<2", "ipykernel", uv='find-links = ["wheels"]')
    )
    first = sync(write_script(script, "alpha<2"))
    before = first.path.stat().st_ino

    def ask(uuid: str, *, fresh: bool) -> None:
        base, kernel = first.record.python.base, first.record.kernel
        asker = Asker(uuid=uuid, fresh=fresh, python=base, kernel=kernel)
        sync(script, block=toml, given=True, asker=asker)

    with running_kernel(lean_home.scriptenv, first.name) as uuid:
        with (
            running_kernel(lean_home.scriptenv, first.name),
            pytest.raises(EnvironmentInUse) as refused,
        ):
            ask(uuid, fresh=fresh)
        assert f"process {os.getpid()}" in str(refused.value)
        assert record_of(first.path).pending == toml
        if not fresh:
            with pytest.raises(RestartNeeded):
                ask(uuid, fresh=False)
            assert record_of(first.path).pending == toml
    assert first.path.stat().st_ino == before
    assert installed(first.path) == {"alpha==1.1"}


def test_restart_before_a_cell_of_the_user_has_run_the_kernel_replaces_itself_under_a_console(
    offline_home: Home, tmp_path: Path, other: str
) -> None:
    assert other == MINOR
    install_generic(offline_home)
    shown = with_console(tmp_path)
    assert [each.splitlines()[-1:] for each in shown] == [[each.rstrip()] for each in EXPECTED]


def test_restart_where_replacing_cannot_be_it_asks(
    offline_home: Home, path: Path, other: str
) -> None:
    """As on Windows, where a process cannot become another program: no streams are kept there."""
    with opened(offline_home, path) as kernel:
        # What should have become of it is tried, and fails: then it keeps what is its own.
        assert unasked(kernel, FULL) == ""
        assert kernel.execute(first_cell(other)).ename == "RestartNeeded"
        assert unasked(kernel, HANDED_ON) == "False"
        unable = "get_ipython().kernel.streams = None"
        assert kernel.execute(unable, store_history=False).status == "ok"
        for code in (first_cell(other), "touched = True"):
            refused = kernel.execute(code)
            assert refused.ename == "RestartNeeded"
            assert "Restart the kernel" in refused.traceback
        assert not ran(kernel, "touched")
        assert "estart" in kernel.execute("%scriptenv status").shown_text
        kernel.restart()
        done = kernel.execute(first_cell(other))
        assert done.shown_text == EXPECTED[0], done.traceback


FULL = """\
import os
def execve(*_):
    raise OSError(12, "Cannot allocate memory")
os.execve = execve
"""
"""Has a kernel that tries to become another program fail."""

HANDED_ON = "print(os.get_inheritable(get_ipython().kernel.completion.lock.descriptor))"
"""Asks a kernel whether the programs that it runs keep its live lock."""


@online
def test_restart_where_the_connection_is_encrypted_and_the_new_kernel_cannot_keep_that_it_asks(
    ready_home: Home, path: Path, layers: Layers, pythons: dict[str, Path]
) -> None:
    """The newest ipykernel for Python 3.9 cannot."""
    if "3.9" not in pythons:
        pytest.skip("there is no Python 3.9")
    layers.link(ready_home, pythons["3.9"])
    variables = {"JPY_SESSION_NAME": str(path)}
    name = install_generic(ready_home)
    with started_kernel(name, env=variables, transport_encryption="required") as kernel:
        assert kernel.client.curve_publickey
        refused = kernel.execute(block(python="==3.9.*") + "touched = True")
        assert refused.ename == "RestartNeeded"
        assert "encrypt" in refused.traceback
        assert kernel.execute("touched = True").ename == "RestartNeeded"
        assert not ran(kernel, "touched")


# A start that finds the environment being changed


def test_a_start_where_no_kernel_can_run_waits_for_at_most_30_seconds_then_explains(
    offline_home: Home, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test shortens them."""
    assert inspect.signature(environments.start).parameters["wait"].default == 30
    defaults = environments.start.__kwdefaults__ or {}
    monkeypatch.setitem(defaults, "wait", 1.0)
    environment = sync(write_notebook(path, block("alpha==1.0"))).path
    (environment / "pyvenv.cfg").unlink()
    with (
        exclusively_held(lock_of(offline_home, environment)) as lock,
        opened(offline_home, path) as kernel,
    ):
        request = kernel.send_code("touched = True")
        kernel.wait_for_text(request, "Waiting")
        fcntl.flock(lock, fcntl.LOCK_UN)
        explained = kernel.collect(request)
        assert explained.ename == "RestartNeeded"
        kernel.restart()
        assert kernel.execute("import alpha\nalpha.__version__").result == "'1.0'"


# One sync at a time


def test_every_wait_can_be_interrupted_that_for_another_process_too(
    offline_home: Home, path: Path
) -> None:
    environment = environment_of(offline_home, path)
    with opened(offline_home, path) as kernel:
        with exclusively_held(lock_of(offline_home, environment)):
            for _ in range(2):
                request = kernel.send_code(block("alpha==1.0") + "touched = True")
                kernel.wait_for_text(request, "Waiting")
                kernel.interrupt()
                assert kernel.collect(request).ename == "Interrupted"
            assert not ran(kernel, "touched")
        done = kernel.execute("import alpha\nalpha.__version__")
        assert done.result == "'1.0'", done.traceback

        # At the very end of a sync, where the cell was about to run: nobody takes it for running.
        assert unasked(kernel, INTERRUPT_AT_THE_END) == ""
        late = kernel.execute(block("alpha==1.0", "nspkg-one") + "touched = True")
        assert late.ename == "Interrupted"
        assert not ran(kernel, "touched")
        (lock,) = live(offline_home, environment).iterdir()
        assert json.loads(lock.read_text())["busy"] is False


INTERRUPT_AT_THE_END = """\
def publish(kind, content, kernel=get_ipython().kernel, wanted=["clear_output"]):
    if kind in wanted:
        wanted.remove(kind)
        raise KeyboardInterrupt
    kernel.send_response(kernel.iopub_socket, kind, content)
get_ipython().kernel._publish = publish
"""
"""Have the kernel be interrupted when it takes away what it has shown of a sync."""


# What another process has changed


@pytest.fixture
def counted(tmp_path: Path) -> Callable[[Path], Callable[[], int]]:
    """Give a function that has an environment's kernels ask a host that counts how often it is."""
    program, asked = tmp_path / "host", tmp_path / "asked"
    program.write_text(f'#!/bin/sh\necho >> {asked}\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)

    def count(environment: Path) -> Callable[[], int]:
        record = json_record_of(environment)
        host = {**record["hosts"][0], "python": str(program)}
        (environment / "scriptenv.json").write_text(json.dumps(record | {"hosts": [host]}))
        asked.write_text("")
        return lambda: len(asked.read_text().splitlines())

    return count


def test_after_a_change_by_another_process_status_tells_it_and_the_next_cell_asks_a_host_once(
    offline_home: Home, path: Path, counted: Callable[[Path], Callable[[], int]]
) -> None:
    """Whether this kernel is still the right one; what is new can be imported at once.

    One line of `status` tells it at once: the record is looked at before each execution.
    """
    write_notebook(path, block("alpha==1.0"))
    environment = environment_of(offline_home, path)
    with opened(offline_home, path) as kernel:
        assert kernel.execute("import alpha").status == "ok"
        assert kernel.execute("import nspkg.one").ename == "ModuleNotFoundError"
        times = counted(environment)
        assert kernel.execute("x = 1").status == "ok"
        assert times() == 0, "nothing that matters has changed"
        assert "Another process" not in kernel.execute("%scriptenv status").shown_text
        write_notebook(path, block("alpha==1.0", "nspkg-one"))
        assert call("sync", path).returncode == 0
        told = kernel.execute("%scriptenv status").shown_text
        assert told.count("Another process has changed") == 1
        times = counted(environment)
        assert kernel.execute("import nspkg.one\nnspkg.one.NUMBER").result == "1"
        assert times() == 1
        times = counted(environment)
        assert kernel.execute("x = 2").status == "ok"
        assert times() == 0
        told = kernel.execute("%scriptenv status").shown_text
        assert told.count("Another process has changed") == 1

        # A record that was damaged by hand is a host's to tell of: cells run on.
        (environment / "scriptenv.json").write_text("{}")
        assert kernel.execute("1 + 1").result == "2"
        assert kernel.execute("%scriptenv sync").ename == "NoEnvironment"
        assert kernel.execute("1 + 1").result == "2"


def test_while_the_mark_stands_a_cell_waits_for_the_change(offline_home: Home, path: Path) -> None:
    write_notebook(path, block("alpha==1.0"))
    environment = environment_of(offline_home, path)
    mark = environment / "scriptenv.changing"
    with opened(offline_home, path) as kernel:
        assert kernel.execute("import alpha").status == "ok"
        with exclusively_held(lock_of(offline_home, environment)):
            mark.touch()
            request = kernel.send_code("print('after')")
            kernel.wait_for_text(request, "Waiting")
            assert "after" not in kernel.outputs(request).stdout
            mark.unlink()
        assert kernel.collect(request).shown_text == "after\n"
        # Where nobody works any more, the change was cut short: it is repaired before the cell.
        mark.touch()
        done = kernel.execute("alpha.__version__")
        assert done.result == "'1.0'", done.traceback
        assert not mark.exists()


def test_no_cell_runs_past_a_restart_that_is_needed(offline_home: Home, path: Path) -> None:
    with opened(offline_home, path) as kernel:
        assert kernel.execute(block("alpha==1.0") + "import alpha").status == "ok"
        for code in (block("alpha==1.1") + "touched = True", "touched = True", "touched = True"):
            refused = kernel.execute(code)
            assert refused.ename == "RestartNeeded"
            assert "alpha" in refused.traceback
        assert not ran(kernel, "touched")
        kernel.restart()
        assert kernel.execute("import alpha\nalpha.__version__").result == "'1.1'"


# Before a cell runs: what a start may do


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], Path | None]]:
    """Give every process that this one starts from now on: its words, and where it runs."""
    seen: list[tuple[list[str], Path | None]] = []
    popen = subprocess.Popen

    class Listening(popen):  # type: ignore[misc,valid-type]
        def __init__(self, argv: Sequence[str], **options: Any) -> None:
            cwd = options.get("cwd")
            seen.append(([str(word) for word in argv], None if cwd is None else Path(cwd)))
            super().__init__(argv, **options)

    monkeypatch.setattr(subprocess, "Popen", Listening)
    return seen


def test_before_a_cell_runs_nothing_is_resolved_installed_or_run_beside_the_source(
    *,
    lean_home: Home,
    script: Path,
    pythons: dict[str, Path],
    programs: list[tuple[list[str], Path | None]],
) -> None:
    """At a first start, at one with another block, in a repair, and for another Python."""
    pretend_layer(lean_home.scriptenv, pythons.get(MINOR, Path(sys.executable)))
    environment = start(write_script(script, "alpha<2")).path
    start(write_script(script, "no-such-thing", uv="no-such-setting = 1"))
    (environment / "pyvenv.cfg").unlink()
    start(script)
    if MINOR in pythons:
        start(write_script(script, "alpha", requires_python=f"=={MINOR}.*"))
    assert programs
    for words, folder in programs:
        if Path(words[0]).stem == "uv":
            assert words[1] == "venv" or words[1:3] == ["python", "list"], words
            assert {"--no-config", "--no-python-downloads"} <= set(words)
        else:
            assert words[1:3] == ["-I", "-S"], "an interpreter is asked what it is"
        assert folder is not None
        assert not script.is_relative_to(folder) or folder == Path(folder.anchor), words
        assert not folder.is_relative_to(script.parent), words
    assert installed(environment) == set()


@pytest.fixture
def small_layer(
    home: Home, tmp_path: Path, offline: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Give a function that makes a list for the layer of one hollow wheel, and gives its folder."""
    monkeypatch.setenv("UV_CACHE_DIR", str(home.path / "cache"))
    folder = tmp_path / "layer-wheels"

    def make(suffix: str | None = None) -> Path:
        file = wheel(folder, Distribution(name="ipykernel", version="99.0"))
        right = hash_locked(file)
        listing = tmp_path / "layer.txt"
        listing.write_text(right if suffix is None else f"ipykernel==99.0{suffix}\n")
        monkeypatch.setenv("SCRIPTENV_LAYER_LOCK", str(listing))
        monkeypatch.setenv("UV_FIND_LINKS", str(offline))
        return folder

    return make


def layer_is_there(home: Home) -> bool:
    return (home.scriptenv / "kernels-v1" / layer_name(host_python())).exists()


def test_before_a_cell_runs_the_layer_comes_from_the_users_own_index_never_the_blocks_or_a_folders(
    home: Home, script: Path, small_layer: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = small_layer()
    for folder in (script.parent, script.parent.parent):
        (folder / "uv.toml").write_text(f'find-links = ["{wheels}"]\n')
        (folder / "pyproject.toml").write_text(f'[tool.uv]\nfind-links = ["{wheels}"]\n')
    write_script(script, uv=f'find-links = ["{wheels}"]')
    monkeypatch.chdir(script.parent)
    with pytest.raises(ScriptEnvError) as refused:
        start(script)
    assert "ipykernel" in str([each.message for each in refused.value.problems])
    assert not layer_is_there(home)
    configuration = home.path / "config" / "uv" / "uv.toml"
    configuration.parent.mkdir(parents=True)
    configuration.write_text(f'find-links = ["{wheels}"]\n')
    monkeypatch.delenv("UV_FIND_LINKS")
    start(script)
    assert layer_is_there(home)


@pytest.mark.parametrize(
    "suffix", ["", f" --hash=sha256:{'0' * 64}"], ids=["no hash", "another hash"]
)
def test_before_a_cell_runs_the_layer_is_locked_by_hashes(
    *,
    home: Home,
    script: Path,
    small_layer: Callable[..., Path],
    suffix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UV_FIND_LINKS", str(small_layer(suffix)))
    with pytest.raises(ScriptEnvError) as refused:
        start(write_script(script))
    assert "hash" in str([each.message for each in refused.value.problems]).lower()
    assert not layer_is_there(home)


def test_before_a_cell_runs_the_layer_is_made_of_wheels_only(
    *,
    home: Home,
    script: Path,
    tmp_path: Path,
    index: Path,
    small_layer: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A source distribution would run its own code while it is built."""
    small_layer()
    marker = tmp_path / "marker"
    monkeypatch.setenv("EVIL_MARKER", str(marker))
    evil = hashlib.sha256((index / "evil_sdist-1.0.tar.gz").read_bytes()).hexdigest()
    (tmp_path / "layer.txt").write_text(f"evil-sdist==1.0 --hash=sha256:{evil}\n")
    with pytest.raises(ScriptEnvError):
        start(write_script(script))
    assert not marker.exists()
    assert not layer_is_there(home)


@pytest.mark.usefixtures("offline")
def test_before_a_cell_runs_a_start_waits_for_the_layer_then_gives_up_and_the_building_goes_on(
    home: Home, script: Path, small_layer: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_FIND_LINKS", str(small_layer()))
    write_script(script)
    context = Context()
    context.store.prepare()
    assert inspect.signature(environments.start).parameters["wait"].default == 30
    name = layer_name(host_python())
    with exclusively_held(home.scriptenv / "locks" / f"layer-{name}.lock"):
        began = time.monotonic()
        with pytest.raises(LockTimeout) as refused:
            start(script, wait=1.0)
        assert time.monotonic() - began >= 1.0
        assert "still being prepared" in str(refused.value)
        assert find_layer(context.store, name) is None
    wait_until(lambda: find_layer(context.store, name) is not None, what="the layer")
    assert start(script).path.exists()


# The explaining kernel


@pytest.fixture
def unfetchable(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Have uv fetch interpreters from nowhere; give the folder that it makes when it tries."""
    folder = home.path / "fetched"
    monkeypatch.setenv("UV_PYTHON_INSTALL_MIRROR", (home.path / "mirror").as_uri())
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(folder))
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "automatic")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_the_explaining_kernel_first_tries_what_may_be_tried_by_then_with_progress(
    offline_home: Home, path: Path, unfetchable: Path
) -> None:
    """It fetches an interpreter, which no start does; nothing is built for it, and it is ours."""
    write_notebook(path, block(python=f"!={HOST}.*"))
    with opened(offline_home, path) as kernel:
        assert not unfetchable.exists()
        assert kernel.execute("1", silent=True).status == "ok"
        assert kernel.execute("1", store_history=False).status == "ok"
        assert not unfetchable.exists(), "nobody has run a cell"
        assert Path(f"/proc/{kernel.pid}/exe").resolve() == Path(sys.executable).resolve()
        failed = kernel.execute("1")
        assert failed.ename == "NoPython"
        assert any("Fetching Python" in each for each in failed.progress)
        assert [each["msg_type"] for each in failed.shown] == ["error"]
        assert "could be fetched" in failed.traceback
        assert unfetchable.exists()
        assert not environment_of(offline_home, path).exists()
