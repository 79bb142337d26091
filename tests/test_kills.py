"""SIGKILL at any moment, to anybody: one more sync, and the environment works.

Three random moments each: while an environment is made, while new content is built beside the
old, and while it is changed in place under a running kernel; the whole process group is killed, the
host alone (uv lives on, and keeps the lock), or uv alone. And the host alone at every second of its
steps, the odd ones or the even ones, because some of them are over in no time.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psutil
import pytest

from ipy_scriptenv import cli, environments
from ipy_scriptenv.environments import Context
from ipy_scriptenv.layout import CHANGING
from ipy_scriptenv.locks import is_held
from tests.conftest import Home
from tests.kernels import wait_until
from tests.stage import (
    environment_of,
    installed,
    record_rows,
    running_kernel,
    start,
    sync,
    write_source,
)

CREATION, BESIDE, IN_PLACE = "creation", "beside", "in place"
GROUP, HOST, UV = "group", "host", "uv"
MOMENTS = 3

# How many packages there are where one of these is declared.
PACKAGES = {"pile": 25, "many-files": 3, "alpha": 1, "nspkg-one": 1}

# A process that has everything imported forks the ones that are killed: they are at work at once.
FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload([__name__])


WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def work(path: str, variables: Mapping[str, str], steps: int | None = None) -> None:
    """Do what ``jupyter-scriptenv sync`` does, as the head of a process group.

    :param steps: how many steps it may take before it kills itself; ``None``: all
    """
    os.setsid()
    os.environ.clear()
    os.environ.update(variables)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    if steps is not None:
        count_down(steps)
    cli.main(["sync", path, "--json"])


def count_down(steps: int) -> None:
    left = steps

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if is_step(event, arguments):
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.addaudithook(hear)


def is_step(event: str, arguments: tuple[Any, ...]) -> bool:
    """Say whether something changes in the home, or a process is started."""
    if event == "os.mkdir":
        return not os.path.lexists(arguments[0])
    if event == "shutil.rmtree":
        return os.path.lexists(arguments[0])
    if event == "open":
        return bool((arguments[2] or 0) & WRITING) and arguments[0] != os.devnull
    return event in {"os.chmod", "os.rename", "subprocess.Popen"}


@contextlib.contextmanager
def working(source: Path, steps: int | None = None) -> Iterator[ForkServerProcess]:
    process = FORKING.Process(target=work, args=(str(source), dict(os.environ), steps))
    process.start()
    try:
        yield process
        process.join(60)
        assert process.exitcode is not None
    finally:
        process.kill()


def uv_of(host: int) -> psutil.Process | None:
    with contextlib.suppress(psutil.Error):
        return next((each for each in psutil.Process(host).children() if "uv" in each.name()), None)
    return None


def has_ended(process: ForkServerProcess) -> bool:
    return process.exitcode is not None


def kill(process: ForkServerProcess, victim: str) -> bool:
    """Kill; say whether there was somebody to be killed."""
    assert process.pid is not None
    if has_ended(process):
        return False
    if victim == GROUP:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    elif victim == HOST:
        process.kill()
    else:
        while (uv := uv_of(process.pid)) is None:
            if has_ended(process):
                return False
        with contextlib.suppress(psutil.Error):
            uv.kill()
    process.join(60)
    return process.exitcode not in {0, None}


def sources(folder: Path, stage: str) -> Iterator[Path]:
    """Give notebooks that ask for something new each time; new ones where none is to stand."""
    number = 0
    while True:
        path = folder / (f"{number}.ipynb" if stage == CREATION else "a.ipynb")
        dependencies = ("many-files", "beta") if number % 2 else ("pile",)
        yield write_source(path, *dependencies)
        number += 1


@pytest.mark.parametrize("victim", [GROUP, HOST, UV])
@pytest.mark.parametrize("stage", [CREATION, BESIDE, IN_PLACE])
def test_after_a_kill_one_more_sync_gives_a_working_environment(
    *, lean_home: Home, tmp_path: Path, stage: str, victim: str
) -> None:
    seed = random.SystemRandom().getrandbits(32)
    moments = random.Random(seed)  # noqa: S311 - a seed that is told lets a failure be looked into
    counts: Counter[str] = Counter()
    notebooks = sources(tmp_path, stage)
    with contextlib.ExitStack() as stack:
        name = sync(next(notebooks)).name
        if stage == IN_PLACE:
            stack.enter_context(running_kernel(lean_home.scriptenv, name))
        longest = unharmed(next(notebooks))
        while counts["killed"] < MOMENTS:
            source = next(notebooks)
            environment = environment_of(source)
            with working(source) as process:
                began = time.monotonic()
                time.sleep(moments.uniform(0, longest))
                if kill(process, victim):
                    counts["killed"] += 1
                else:
                    counts["too late"] += 1
                    longest = min(longest, time.monotonic() - began)
            counts["marked"] += (environment / CHANGING).exists()
            counts["left over"] += bool([*environment.parent.glob(".*")])
            sync(source)
            assert_works(environment, source)
        sync(source)
        assert not [*environment.parent.glob(".*")]
    sys.stdout.write(f"{stage}, {victim}: {dict(counts)} (seed {seed})\n")


@pytest.mark.parametrize("stage", [CREATION, BESIDE, IN_PLACE])
def test_after_a_kill_at_a_step_a_start_and_a_sync_give_a_working_environment(
    lean_home: Home, tmp_path: Path, stage: str
) -> None:
    steps, rounds = random.SystemRandom().randrange(2), 0
    with contextlib.ExitStack() as stack:
        if stage == IN_PLACE:
            name = sync(write_source(tmp_path / "a.ipynb")).name
            stack.enter_context(running_kernel(lean_home.scriptenv, name))
        while True:
            path = tmp_path / (f"{steps}.ipynb" if stage == CREATION else "a.ipynb")
            source = write_source(path, "alpha" if rounds % 2 else "nspkg-one")
            with working(source, steps) as process:
                process.join(60)
            start(source, wait=100)
            sync(source)
            assert_works(environment_of(source), source)
            if process.exitcode == 0:
                break
            assert process.exitcode == -signal.SIGKILL
            steps, rounds = steps + 2, rounds + 1
    assert steps > 10
    sys.stdout.write(f"{stage}: {steps} steps, every second one\n")


def unharmed(source: Path) -> float:
    """Give the seconds that a sync takes here and now when nobody kills it."""
    with working(source) as process:
        began = time.monotonic()
        process.join(60)
        return time.monotonic() - began


def declared(source: Path) -> str:
    return source.read_text().partition('[\\"')[2].partition('\\"')[0]


def assert_works(environment: Path, source: Path) -> None:
    rows = record_rows(environment)
    assert {path for path, _ in rows if not path.exists()} == set()
    assert {path for path, size in rows if size and path.stat().st_size != size} == set()
    assert len(installed(environment)) == PACKAGES[declared(source)]
    assert not (environment / CHANGING).exists()
    status = environments.status(environments.locate(source), context=Context())
    assert status.state == "in-sync"
    home = environment.parent.parent
    # What was thrown away is deleted in the background.
    wait_until(lambda: not [*(home / "building-v1").glob("*")], what="an empty folder of builds")
    assert [path.name for path in (home / "work-v1").glob("[!.]*")] == ["uv.toml"]
    assert not is_held(home / "locks" / f"{environment.name}.lock")
