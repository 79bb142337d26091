"""A process group that does one thing, and its end by a signal at a chosen moment."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psutil

from ipy_scriptenv import cli, environments
from ipy_scriptenv.environments import Context

__all__ = ["FAREWELL", "PATIENCE", "START", "Ended", "Moment", "run"]

START = "start"
"""The word for what a kernel's launch does; all others are verbs of the command line."""

# A process that has everything imported forks the ones that are killed: they are at work at once.
_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload([__name__])

PATIENCE = 120.0
"""Seconds that a process group has to do its work, or to end when it was told to; many, because
a slow machine is no crash."""

FAREWELL = 60.0
"""Seconds that what was killed, and what it has left, has to be gone."""

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When a signal comes.

    :param seconds: after the work began
    :param step: before the work's step of that number; then *seconds* says nothing
    """

    seconds: float = 0.0
    step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a process group ended.

    :param code: exit code of its head; negative: the signal that ended it; ``None``: it hung
    :param seconds: from the beginning of its work to its end
    :param steps: what its head did, in order; empty where it could not tell
    :param orphans: command lines of those of the group that lived on
    """

    code: int | None
    seconds: float
    steps: tuple[str, ...]
    orphans: tuple[str, ...]


def run(words: Sequence[str], end: tuple[Moment, signal.Signals] | None = None) -> Ended:
    """Do what *words* say in a process group of its own, and send the whole of it a signal.

    :param words: a verb of the command line with its arguments, or :data:`START` and a source
    :param end: when the signal comes, and which; ``None``: nobody is harmed
    """
    ours, theirs = _FORKING.Pipe()
    step = end[0].step if end else None
    by = end[1] if end else signal.SIGKILL
    process = _FORKING.Process(
        target=_work, args=(tuple(words), dict(os.environ), step, by, theirs)
    )
    process.start()
    theirs.close()
    assert process.pid is not None
    with _ended(process):
        _told(process, ours, PATIENCE)
        began = time.monotonic()
        steps = None
        if end is not None and step is None:
            steps = _told(process, ours, end[0].seconds)
            if process.exitcode is None:
                _signal(process.pid, by)
        if steps is None:
            steps = _told(process, ours, PATIENCE)
        process.join(PATIENCE)
        took = time.monotonic() - began
        orphans = _who_lives_on(process.pid)
        return Ended(
            code=process.exitcode, seconds=took, steps=tuple(steps or ()), orphans=tuple(orphans)
        )


@contextlib.contextmanager
def _ended(process: ForkServerProcess) -> Iterator[None]:
    """See to it that nobody of the group is there any more, whatever happens."""
    assert process.pid is not None
    try:
        yield
    finally:
        _signal(process.pid, signal.SIGKILL)
        process.kill()
        process.join()


def _told(process: ForkServerProcess, channel: Connection, seconds: float) -> list[str] | None:
    """Wait for what a process tells; ``None`` if it ends, or the time does, before it tells."""
    wait([channel, process.sentinel], seconds)
    with contextlib.suppress(EOFError, OSError):
        if channel.poll():
            told: list[str] = channel.recv()
            return told
    return None


def _signal(group: int, by: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, by)


def _who_lives_on(group: int) -> list[str]:
    """Name those of a process group that are there when all have had time to end."""
    end = time.monotonic() + FAREWELL
    while (found := _members(group)) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def _members(group: int) -> list[str]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()) or process.name())
    return found


def _work(
    words: tuple[str, ...],
    variables: Mapping[str, str],
    step: int | None,
    by: signal.Signals,
    channel: Connection,
) -> None:
    """Do the work as the head of a process group, as a terminal would have started it."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(variables)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    steps: list[str] = []

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if _is_step(event, arguments):
            steps.append(f"{event} {_shown(arguments)}")
            if step is not None and len(steps) == step + 1:
                os.killpg(0, by)

    sys.addaudithook(hear)
    channel.send(["at work"])
    try:
        if words[0] == START:
            environments.start(environments.locate(words[1]), context=Context(), wait=PATIENCE)
        else:
            cli.main(words)
    finally:
        channel.send(steps[:])


def _is_step(event: str, arguments: tuple[Any, ...]) -> bool:
    """Say whether files are about to change, or a process is to be started.

    What is inside a folder that goes as a whole does not count: the hits would fall there alone.
    """
    if event == "os.mkdir":
        return not os.path.lexists(arguments[0])
    if event == "shutil.rmtree":
        return os.path.lexists(arguments[0])
    if event == "open":
        path, _, flags = arguments
        return isinstance(path, (str, Path)) and bool((flags or 0) & _WRITING)
    if event in {"os.remove", "os.rmdir"}:
        return bool(arguments[1] == -1 and os.path.lexists(arguments[0]))
    return event in {"os.chmod", "os.rename", "subprocess.Popen"}


def _shown(arguments: tuple[Any, ...]) -> str:
    paths = [str(each) for each in arguments if isinstance(each, (str, Path))]
    return " → ".join("/".join(Path(path).parts[-2:]) for path in paths[:2])
