"""A host that waits for the first cell: there in time, never in the way, and gone in the end."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.conftest import Home
from tests.kernels import (
    Kernel,
    block,
    environment_of,
    opened,
    unasked,
    wait_until,
    write_notebook,
)


@pytest.fixture(autouse=True)
def _as_usual(offline_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - it sets the variable
    monkeypatch.delenv("SCRIPTENV_SPARE_HOST")


def spares(kernel: Kernel) -> list[psutil.Process]:
    """Give the hosts that wait for this kernel to ask."""
    found = []
    for child in psutil.Process(kernel.pid).children():
        with contextlib.suppress(psutil.Error):
            if "--spare" in child.cmdline():
                found.append(child)
    return found


def has_ended(process: psutil.Process) -> bool:
    """Say whether a process has ended, whoever is to take note of that."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def is_known_to_uv(environment: Path) -> bool:
    """Say whether uv has asked an environment's interpreter about itself, and kept the answer."""
    kept = Path(os.environ["UV_CACHE_DIR"]).glob("interpreter-v*/*/*.msgpack")
    return any(bytes(environment) in each.read_bytes() for each in kept)


def waiting(kernel: Kernel) -> psutil.Process:
    return wait_until(lambda: spares(kernel), what="a host that waits")[0]


def test_the_first_cell_asks_the_host_that_waits_and_the_next_change_another(
    offline_home: Home, path: Path
) -> None:
    with opened(offline_home, path) as kernel:
        first = waiting(kernel)
        environment = environment_of(offline_home, path)
        wait_until(lambda: is_known_to_uv(environment), what="uv, which gets to know the Python")
        done = kernel.execute("import alpha; print(alpha.__version__)")
        assert done.shown_text.strip() == "1.0"
        assert has_ended(first)
        second = waiting(kernel)
        assert second.pid != first.pid
        added = block("alpha==1.0", "pkg-01")
        assert kernel.execute(f"{added}\nimport pkg_01").status == "ok"
        last = waiting(kernel)
    wait_until(lambda: has_ended(last), what="the end of the host that waits")


NONE_COMES = "print(get_ipython().kernel.completion.spare._timer)"
"""Asks a kernel whether it is about to start a host; it prints `None` if not."""


def test_none_waits_where_nothing_is_to_be_done(offline_home: Home, tmp_path: Path) -> None:
    with opened(offline_home, write_notebook(tmp_path / "work" / "nb.ipynb", "1")) as kernel:
        assert kernel.execute("1").status == "ok"
        assert unasked(kernel, NONE_COMES) == "None"
        assert spares(kernel) == []


def test_none_waits_where_nobody_wants_one(
    offline_home: Home, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTENV_SPARE_HOST", "0")
    with opened(offline_home, path) as kernel:
        assert unasked(kernel, NONE_COMES) == "None"
        assert kernel.execute("import alpha").status == "ok"
        assert unasked(kernel, NONE_COMES) == "None"
        assert spares(kernel) == []


def test_a_forked_process_does_not_keep_the_host_that_waits_from_hearing_of_an_end(
    offline_home: Home, path: Path
) -> None:
    """It may outlive the kernel, or an interrupt: the host hears of both by its pipe's end."""
    with opened(offline_home, path) as kernel:
        pipe = Path(f"/proc/{waiting(kernel).pid}/fd/0").readlink()
        child = int(unasked(kernel, FORK))
        held = {each.readlink() for each in Path(f"/proc/{child}/fd").iterdir()}
        assert pipe in {each.readlink() for each in Path(f"/proc/{kernel.pid}/fd").iterdir()}
        assert pipe not in held
        os.kill(child, signal.SIGKILL)


FORK = """\
import os, time
there, told = os.pipe()
child = os.fork()
if not child:
    os.write(told, b"x")
    time.sleep(1000)
_ = os.read(there, 1)
print(child)
"""


def test_one_that_was_killed_costs_the_cell_nothing(offline_home: Home, path: Path) -> None:
    with opened(offline_home, path) as kernel:
        os.kill(waiting(kernel).pid, signal.SIGKILL)
        done = kernel.execute("import alpha; print(alpha.__version__)")
        assert done.shown_text.strip() == "1.0"


def test_variables_that_the_user_sets_reach_the_host(offline_home: Home, path: Path) -> None:
    with opened(offline_home, path) as kernel:
        first = waiting(kernel)
        asked = kernel.execute("import os; os.environ['UV_NO_INDEX'] = ''", store_history=False)
        assert asked.status == "ok"
        assert kernel.execute("import alpha").status == "ok"
        assert has_ended(first)
