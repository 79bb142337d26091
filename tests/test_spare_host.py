"""A host that waits for the first cell: there in time, never in the way, and gone in the end."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import Home
from tests.kernels import Kernel, block, opened, wait_until, write_notebook


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


def waiting(kernel: Kernel) -> psutil.Process:
    return wait_until(lambda: spares(kernel), what="a host that waits")[0]


def test_the_first_cell_asks_the_host_that_waits_and_the_next_change_another(
    offline_home: Home, path: Path
) -> None:
    with opened(offline_home, path) as kernel:
        first = waiting(kernel)
        done = kernel.execute("import alpha; print(alpha.__version__)")
        assert done.shown_text.strip() == "1.0"
        assert not first.is_running() or first.status() == psutil.STATUS_ZOMBIE
        second = waiting(kernel)
        assert second.pid != first.pid
        added = block("alpha==1.0", "pkg-01")
        assert kernel.execute(f"{added}\nimport pkg_01").status == "ok"
        last = waiting(kernel)
    wait_until(lambda: not psutil.pid_exists(last.pid), what="the end of the host that waits")


def test_none_waits_where_nothing_is_to_be_done(offline_home: Home, tmp_path: Path) -> None:
    with opened(offline_home, write_notebook(tmp_path / "work" / "nb.ipynb", "1")) as kernel:
        assert kernel.execute("1").status == "ok"
        time.sleep(1)
        assert spares(kernel) == []


def test_none_waits_where_nobody_wants_one(
    offline_home: Home, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTENV_SPARE_HOST", "0")
    with opened(offline_home, path) as kernel:
        time.sleep(1)
        assert spares(kernel) == []
        assert kernel.execute("import alpha").status == "ok"
        time.sleep(1)
        assert spares(kernel) == []


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
        assert not first.is_running() or first.status() == psutil.STATUS_ZOMBIE
