"""The one place where processes are started, watched and ended."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

__all__ = ["Cancel", "Finished", "replace", "run", "run_visibly"]

_GRACE = 5.0
"""Seconds that a process has to end by itself before it is killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A process that has ended.

    :param code: exit code; negative: the signal that ended it
    :param cancelled: whether it was ended because its :class:`Cancel` was set
    """

    code: int
    out: str
    err: str
    cancelled: bool = False


class Cancel:
    """A switch that ends the process it was given to, from any thread, once and for all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self.is_set = False

    def set(self) -> None:
        """End the process that runs now, if one does, and every one that is started later."""
        with self._lock:
            self.is_set = True
            if self._process is not None:
                _terminate(self._process)

    def watch(self, process: subprocess.Popen[str] | None) -> None:
        """Take the process to end, ``None`` for none; called by :func:`run`."""
        with self._lock:
            self._process = process
            if self.is_set and process is not None:
                _terminate(process)


def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    on_line: Callable[[str], None] | None = None,
    inherit: Sequence[int] = (),
    cancel: Cancel | None = None,
) -> Finished:
    """Run a process to its end, without input.

    :param on_line: gets each line of standard error as it comes, without its line end
    :param inherit: file descriptors that the process keeps open, such as a lock's (POSIX only)
    :param cancel: ends the process when it is set
    :raises OSError: if it cannot be started
    """
    process = subprocess.Popen(
        list(argv),
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        pass_fds=tuple(inherit) if sys.platform != "win32" else (),
    )
    out: list[str] = []
    err: list[str] = []
    # Both are there, because pipes were asked for.
    stdout, stderr = cast("IO[str]", process.stdout), cast("IO[str]", process.stderr)
    reader = threading.Thread(target=_collect, args=(stdout, out), daemon=True)
    reader.start()
    try:
        if cancel is not None:
            cancel.watch(process)
        _collect(stderr, err, on_line)
        code = process.wait()
    except BaseException:
        _terminate_and_wait(process)
        raise
    finally:
        if cancel is not None:
            cancel.watch(None)
        reader.join()
        stdout.close()
        stderr.close()
    return Finished(
        code=code,
        out="".join(out),
        err="".join(err),
        cancelled=cancel is not None and cancel.is_set,
    )


def run_visibly(argv: Sequence[str], *, env: Mapping[str, str], inherit: Sequence[int] = ()) -> int:
    """Run a process whose input and output are this one's; give its exit code."""
    process = subprocess.Popen(
        list(argv), env=dict(env), pass_fds=tuple(inherit) if sys.platform != "win32" else ()
    )
    try:
        return process.wait()
    except BaseException:
        _terminate_and_wait(process)
        raise


def replace(argv: Sequence[str], *, env: Mapping[str, str]) -> int:
    """Become another program; where that is impossible (Windows), run it and give its exit code."""
    if sys.platform == "win32":
        return subprocess.call(list(argv), env=dict(env))
    return os.execve(argv[0], list(argv), dict(env))


def _collect(
    stream: IO[str], into: list[str], on_line: Callable[[str], None] | None = None
) -> None:
    for line in stream:
        into.append(line)
        if on_line is not None:
            on_line(line.rstrip("\r\n"))


def _terminate(process: subprocess.Popen[Any]) -> None:
    with contextlib.suppress(OSError):
        process.terminate()


def _terminate_and_wait(process: subprocess.Popen[Any]) -> None:
    _terminate(process)
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
