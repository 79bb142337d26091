"""Whatever ends an operation, nothing goes on for nobody: no uv, no build, and no lock is kept."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from ipy_scriptenv.errors import InstallFailed
from ipy_scriptenv.locks import is_held
from ipy_scriptenv.store import Store
from tests.conftest import Home
from tests.kernels import block, opened, wait_until, write_notebook
from tests.stage import (
    PROGRAM,
    block_of,
    environment_of,
    state_of,
    sync,
    write_project,
    write_script,
)

STUBBORN = """
import os, pathlib, signal, subprocess, sys, time

def build_wheel(directory, config_settings=None, metadata_directory=None):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    told = pathlib.Path(__file__).with_name("pids")
    told.with_name("pids.new").write_text(f"{os.getpid()} {child.pid}")
    told.with_name("pids.new").rename(told)
    time.sleep(1000)
"""
"""A build backend that goes on, has a child that goes on, and does not heed SIGTERM."""

WAITING = """
BEFORE = build_wheel

def build_wheel(directory, config_settings=None, metadata_directory=None):
    import time
    while not (HERE / "go").exists():
        time.sleep(0.05)
    return BEFORE(directory) if (HERE / "go").read_text() else 1 / 0
"""
"""The end of a backend that waits for the file `go`, and fails where that is empty."""

SOURCES = 'slow = { path = "slow" }\nlocal = { path = "other" }'


class Building:
    """A script whose environment is never complete: a package of it is built for ever.

    :param path: the script; it declares another package too, whose build waits
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folder = path.parent
        slow = write_project(self._folder / "slow")
        (slow / "backend.py").write_text(STUBBORN)
        project = slow / "pyproject.toml"
        project.write_text(project.read_text().replace('"local"', '"slow"'))
        with (write_project(self._folder / "other") / "backend.py").open("a") as backend:
            backend.write(WAITING)
        write_script(path, "slow", "local", uv=f"[tool.uv.sources]\n{SOURCES}")

    def let_other(self, words: str) -> None:
        """Let the other build end: well, or with an error where *words* is empty."""
        go = self._folder / "other" / "go"
        go.with_name("go.new").write_text(words)
        go.with_name("go.new").rename(go)

    def processes(self) -> list[psutil.Process]:
        """Wait until the build goes on; give its process and that of its child."""
        told = self._folder / "slow" / "pids"
        wait_until(told.exists, what="the build")
        pids = [int(pid) for pid in told.read_text().split()]
        told.unlink()
        return [psutil.Process(pid) for pid in pids]


@pytest.fixture
def building(script: Path, monkeypatch: pytest.MonkeyPatch) -> Building:
    # So many builds at once, on however few processors.
    monkeypatch.setenv("UV_CONCURRENT_BUILDS", "2")
    return Building(script)


@contextlib.contextmanager
def ended(building: Building, running: list[psutil.Process]) -> Iterator[None]:
    """Leave nothing running behind a test, whatever it shows; say so where something was left."""
    try:
        yield
        assert [each for each in running if goes_on(each)] == []
        store = Store(environment_of(building.path).parent.parent)
        assert not is_held(store.lock(environment_of(building.path).name))
    finally:
        for each in running:
            with contextlib.suppress(psutil.Error):
                each.kill()


def goes_on(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.usefixtures("lean_home")
def test_a_build_that_fails_ends_the_others(building: Building) -> None:
    """They are left alone by uv, and the next sync would wait for them."""
    calling = subprocess.Popen(
        [*PROGRAM, "sync", building.path, "--json"], stdout=subprocess.PIPE, text=True
    )
    with ended(building, building.processes()):
        building.let_other("")
        out, _ = calling.communicate(timeout=60)
        assert json.loads(out)["error"]["code"] == InstallFailed.code


@pytest.mark.usefixtures("lean_home")
@pytest.mark.parametrize(
    "numbers",
    [[signal.SIGTERM], [signal.SIGHUP], [signal.SIGINT, signal.SIGINT]],
    ids=["SIGTERM", "SIGHUP", "SIGINT-twice"],
)
def test_a_signal_to_the_command_line_alone_ends_all_that_it_has_started(
    building: Building, numbers: list[signal.Signals]
) -> None:
    """As `timeout`, a closed terminal and a service's stop send it."""
    calling = subprocess.Popen(
        [*PROGRAM, "sync", building.path, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    running = building.processes()
    uv = psutil.Process(calling.pid).children()
    with ended(building, [*uv, *running]):
        for number in numbers:
            calling.send_signal(number)
            wait_until(lambda: not any(map(goes_on, uv)), what="the end of uv")
        out, _ = calling.communicate(timeout=60)
        assert json.loads(out)["error"]["code"] == "interrupted"
        assert calling.returncode == 1
        assert state_of(building.path) == "missing"


def let_go_of_answer(host: subprocess.Popen[str], building: Building) -> None:
    assert host.stdout is not None
    host.stdout.close()
    building.let_other("it has ended well")


def be_told_to_end(host: subprocess.Popen[str], _building: Building) -> None:
    assert host.stdout is not None
    host.terminate()
    *_, last = host.stdout
    assert json.loads(last)["error"]["name"] == "Interrupted"


@pytest.mark.usefixtures("lean_home")
@pytest.mark.parametrize("happen", [let_go_of_answer, be_told_to_end])
def test_a_host_that_cannot_go_on_ends_its_uv_first(
    building: Building, happen: Callable[[subprocess.Popen[str], Building], None]
) -> None:
    environment = sync(write_script(building.path)).path
    asker = {"uuid": "", "fresh": True, "python": "", "kernel": "", "loaded": {}}
    request = {
        "protocol": 1,
        "op": "sync",
        "environment": str(environment),
        "folder": str(building.path.parent),
        "given": True,
        "block": block_of("slow", "local", uv=f"[tool.uv.sources]\n{SOURCES}"),
        "asker": {**asker, "loaded": {"environment": [], "layer": []}},
    }
    host = subprocess.Popen(
        [sys.executable, "-P", "-m", "ipy_scriptenv.host"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert host.stdin is not None
    host.stdin.write(json.dumps(request) + "\n")
    host.stdin.flush()
    with ended(building, [psutil.Process(host.pid), *building.processes()]):
        happen(host, building)
        host.wait(60)
    host.stdin.close()


def test_an_impatient_user_of_a_notebook_gets_an_answer_and_nothing_goes_on(
    offline_home: Home, building: Building
) -> None:
    path = write_notebook(building.path.with_suffix(".ipynb"), "1")
    building.let_other("it has ended well")
    with opened(offline_home, path) as kernel:
        # By hand: it ends in few words, where Python would show how it is made.
        request = kernel.send_code("!pip install ./slow")
        running = building.processes()
        kernel.interrupt()
        assert "Traceback" not in kernel.collect(request).stdout
        wait_until(lambda: not any(map(goes_on, running)), what="the end of the build")

        toml = f"[tool.uv.sources]\n{SOURCES}"
        request = kernel.send_code(block("slow", "local", more=toml))
        running = building.processes()
        for _ in range(20):
            os.kill(kernel.pid, signal.SIGINT)
            time.sleep(0.001)
        assert kernel.collect(request).ename == "Interrupted"
        wait_until(lambda: not any(map(goes_on, running)), what="the end of the build")


def test_an_interrupted_run_of_a_notebook_keeps_what_it_gave_and_ends_its_kernel(
    offline_home: Home,  # noqa: ARG001 - it sets the stage
    script: Path,
) -> None:
    waiting = "import os, pathlib, time\npathlib.Path('new').write_text(str(os.getpid()))\n"
    waiting += "os.rename('new', 'pid')\ntime.sleep(1000)"
    path = write_notebook(script.with_suffix(".ipynb"), "print('after hours')", waiting)
    output, told = path.with_name("b.ipynb"), path.with_name("pid")
    calling = subprocess.Popen(
        [*PROGRAM, "execute", path, "-o", output, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    wait_until(told.exists, what="the second cell")
    kernel = psutil.Process(int(told.read_text()))
    calling.send_signal(signal.SIGINT)
    out, _ = calling.communicate(timeout=60)
    assert json.loads(out)["error"]["code"] == "interrupted"
    assert "after hours" in output.read_text()
    wait_until(lambda: not goes_on(kernel), what="the end of the kernel")
